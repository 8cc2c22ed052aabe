"""One answer: the stream, the user's page and `ebbtide score` agree wherever they speak of the same."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import ASGITransport, AsyncClient

from contracts.scores import ChurnScore, decode_score
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, SESSION_GAP_MS, from_ms, to_ms
from contracts.topics import ACTIVITY, CLOCK_HEADER, CLOCK_KEY, SCORES
from ebbtide.cli import main
from ingest_api.app import create_app
from ingest_api.log import KafkaLog
from ingest_api.records import RedisUsers
from ingest_api.settings import GatewaySettings
from model.artefact import Model, load
from model.reasons import Explainer
from runtime.store import connect
from scorer.main import score_with
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    create_topic,
    eventually,
    producer,
    running,
    scorer_settings,
    send,
    whole_log,
)
from tests.servers import KafkaServer, RedisServer

USERS = 24
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def model(demo_model: Path) -> Model:
    return load(demo_model)


def history() -> list[dict[str, Any]]:
    """Two weeks of users of several habits; the last events of all lie within an hour."""
    random = np.random.default_rng(5)
    made: list[dict[str, Any]] = []
    for number in range(USERS):
        days = sorted({0, *random.choice(14, 1 + number % 9, replace=False).tolist()})
        moments = [NOON - day * DAY_MS - int(random.integers(0, HOUR_MS)) for day in days]
        for k, at in enumerate(sorted(moments)):
            kind = "snapshot" if (number + k) % 7 == 5 else "page_view"
            event: dict[str, Any] = {
                "user_id": f"user-{number}",
                "event_id": f"{number}-{k}",
                "type": kind if k else "signup",
                "occurred_at": at,
                "pages_visited": int(random.integers(1, 30)),
                "time_spent": float(random.integers(0, 600)) / 10,
            }
            if number % 3 == 0:
                event["is_logged_in"] = bool(k % 2)
            if number % 5 == 0 and kind != "snapshot":
                event |= {"type": "purchase", "value": 19.9}
            made.append(event)
    return sorted(made, key=lambda event: event["occurred_at"])


@asynccontextmanager
async def gateway(
    kafka: KafkaServer, redis: RedisServer, model: Model
) -> AsyncIterator[AsyncClient]:
    """A gateway on a stream clock, called in-process, on the real store."""
    settings = GatewaySettings(
        kafka_bootstrap_servers=kafka.bootstrap, redis_url=redis.url, partitions=PARTITIONS
    )
    client = connect(settings.redis_url)
    app = create_app(
        model=model, log=KafkaLog(settings), reader=RedisUsers(client), clock="stream"
    )
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://gateway") as http:
        yield http
    await client.aclose()


async def test_stream_page_and_offline_score_agree(
    clean_kafka: KafkaServer, clean_redis: RedisServer, model: Model, tmp_path: Path
) -> None:
    """For equal position and moment they give equal probabilities, of the active and the silent."""
    settings = scorer_settings(clean_kafka, clean_redis)
    events = history()
    last = {event["user_id"]: event["occurred_at"] for event in events}
    await create_topic(clean_kafka)
    explainer = Explainer(model)
    compared = {"activity": 0, "silence": 0}
    async with (
        running(lambda stop: score_with(model, settings, stop, explainer.reasons)),
        producer(clean_kafka) as client,
        gateway(clean_kafka, clean_redis, model) as http,
    ):

        async def tick(moment: int) -> None:
            for partition in range(PARTITIONS):
                await client.send(
                    ACTIVITY, b"", key=CLOCK_KEY, partition=partition, timestamp_ms=moment,
                    headers=[(CLOCK_HEADER, b"")],
                )  # fmt: skip
            await client.flush()

        async def latest() -> dict[str, ChurnScore]:
            """The newest score of each user, as a consumer orders them."""
            scores = [
                decode_score(r.value) for r in await whole_log(clean_kafka, SCORES) if r.value
            ]
            scores.sort(key=lambda s: (s.position.log, s.position.offset, s.scored_at))
            return {score.user_id: score for score in scores}

        async def compare(score: ChurnScore, offline: float) -> bool:
            """Compare when all three speak of one position and moment; whether they did."""
            page = (await http.get(f"/users/{score.user_id}")).json()
            position = (score.position.log, score.position.offset)
            told = (page["position"]["log"], page["position"]["offset"])
            if position != told or page["score"]["as_of"] != _iso(score):
                return False
            probability = page["score"]["churn_probability"]
            assert abs(score.churn_probability - probability) <= TOLERANCE
            assert abs(score.churn_probability - offline) <= TOLERANCE
            assert model.origin == score.origin == page["score"]["origin"]
            compared["silence" if score.trigger == "silence" else "activity"] += 1
            return True

        # Activity: every user's last event, before the next one moves the partition's clock.
        for count, event in enumerate(events, 1):
            await send(client, [event])
            if event["occurred_at"] != last[event["user_id"]]:
                continue
            user_id, at = event["user_id"], event["occurred_at"]

            async def heard(user_id: str = user_id, at: int = at) -> bool:
                score = (await latest()).get(user_id)
                return score is not None and to_ms(score.scored_at) >= at

            if event["type"] == "snapshot":
                continue
            await eventually(heard)
            offline = score_offline(events[:count], at, model, tmp_path)
            assert await compare((await latest())[user_id], offline[user_id])

        # Silence: bring time to each user's next crossing, to the millisecond.
        for _ in range(8):
            end = max(last.values()) + SESSION_GAP_MS + MINUTE_MS
            await tick(end)

            async def judged(end: int = end) -> bool:
                return all(score.crossings for score in (await latest()).values())

            await eventually(judged)
            ahead = [
                to_ms(crossing.at)
                for score in (await latest()).values()
                for crossing in score.crossings
                if crossing.at is not None and crossing.at > score.scored_at
            ]
            coming = [moment for moment in ahead if moment > end]
            if not coming:
                break
            last |= {"the clock": (moment := min(coming)) - SESSION_GAP_MS - MINUTE_MS}
            await tick(moment)

            async def reached(moment: int = moment) -> bool:
                return any(to_ms(s.scored_at) == moment for s in (await latest()).values())

            await eventually(reached)
            await asyncio.sleep(0)
            offline = score_offline(events, moment, model, tmp_path)
            for score in (await latest()).values():
                if to_ms(score.scored_at) == moment:
                    assert await compare(score, offline[score.user_id])

    assert compared["activity"] >= USERS // 2
    assert compared["silence"] >= 5


def score_offline(
    events: list[dict[str, Any]], as_of: int, model: Model, folder: Path
) -> dict[str, float]:
    """`ebbtide score` of the events in a file, as a person runs it."""
    log, out, kept = folder / "log.jsonl", folder / "scores.csv", folder / "model"
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    words = ["score", "--events", str(log), "--as-of", from_ms(as_of).isoformat()]
    assert 0 == main([*words, "--model", str(kept), "--out", str(out)])
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {model.origin} == {row["origin"] for row in rows}
    return {row["user_id"]: float(row["churn_probability"]) for row in rows}


def _iso(score: ChurnScore) -> str:
    return score.scored_at.isoformat().replace("+00:00", "Z")
