"""One answer: stream, page and `ebbtide score` agree wherever they speak of the same moment."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from httpx2 import ASGITransport, AsyncClient

from contracts.activity import FoldRules
from contracts.scores import ChurnScore, decode_score
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, SESSION_GAP_MS, from_ms, to_ms
from contracts.topics import ACTIVITY, CLOCK_HEADER, CLOCK_KEY, SCORES
from ebbtide.cli import main
from ingest_api.app import create_app
from ingest_api.log import KafkaLog
from ingest_api.records import RedisUsers
from ingest_api.settings import GatewaySettings
from model.artefact import FULL_GRAPH, INPUTS_GRAPH, Model, load, save
from model.calibration import Calibration, apply
from model.candidates import CANDIDATES, Candidate, fitted
from model.classifier import opened
from model.compiling import compiled_alike
from model.contributions import additive
from model.dataset import Rows, draw_moments, replay
from model.event_log import event_log
from model.features import FEATURES
from model.reasons import Explainer
from model.simulator import Population, simulate
from model.training import TrainingSettings, usable_window
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
)
from tests.servers import KafkaServer, RedisServer

USERS = 10
CROSSINGS = 5
TOLERANCE = 1e-6


def history() -> list[dict[str, Any]]:
    """Two weeks of users of several habits, all of whom come on the last day."""
    random = np.random.default_rng(5)
    made: list[dict[str, Any]] = []
    for number in range(USERS):
        days = sorted({0, *random.choice(14, 1 + number, replace=False).tolist()}, reverse=True)
        for k, day in enumerate(days):
            snapshot = k and day and (number + k) % 4 == 3
            event: dict[str, Any] = {
                "user_id": f"user-{number}",
                "event_id": f"{number}-{k}",
                "type": "snapshot" if snapshot else "page_view" if k else "signup",
                "occurred_at": NOON - day * DAY_MS - int(random.integers(0, HOUR_MS)),
                "pages_visited": int(random.integers(1, 30)) * (10 if snapshot else 1),
                "time_spent": float(random.integers(0, 600)) / 10,
            }
            if number % 3 == 0:
                event["is_logged_in"] = bool(k % 2)
            if number % 5 == 0 and not snapshot:
                event |= {"type": "purchase", "value": 19.9}
            made.append(event)
    return sorted(made, key=lambda event: event["occurred_at"])


@dataclass
class Answers:
    """The three that are asked."""

    client: AIOKafkaProducer
    reader: AIOKafkaConsumer
    """Of every score."""
    http: AsyncClient
    model: Model
    model_dir: Path
    folder: Path
    scores: list[ChurnScore] = field(default_factory=list)

    async def latest(self) -> dict[str, ChurnScore]:
        """The newest score of each user so far, as a consumer orders them."""
        for records in (await self.reader.getmany(timeout_ms=50)).values():
            self.scores += [decode_score(record.value) for record in records if record.value]
        self.scores.sort(key=lambda s: (s.position.log, s.position.offset, s.scored_at))
        return {score.user_id: score for score in self.scores}

    async def score_at(self, user_id: str, moment: int) -> ChurnScore:
        """The user's newest score, once it is as of that moment."""
        found: list[ChurnScore] = []

        async def there() -> bool:
            score = (await self.latest()).get(user_id)
            found[:] = [score] if score and to_ms(score.scored_at) == moment else []
            return bool(found)

        await eventually(there)
        return found[0]

    async def page_of(self, score: ChurnScore) -> dict[str, Any]:
        """The user's page, once it knows of the record the score knows of."""
        pages: list[dict[str, Any]] = []

        async def there() -> bool:
            answer = await self.http.get(f"/users/{score.user_id}")
            pages[:] = [answer.json()] if answer.status_code == 200 else []
            told = pages and (pages[0]["position"], pages[0]["score"]["as_of"])
            position = {name: getattr(score.position, name) for name in ("log", "offset")}
            position["partition"] = score.position.partition
            return told == (position, score.scored_at.isoformat().replace("+00:00", "Z"))

        await eventually(there)
        return pages[0]

    def offline(self, events: list[dict[str, Any]], as_of: int) -> dict[str, dict[str, str]]:
        """`ebbtide score` of the events in a file, as a person runs it: rows by user."""
        log, out = self.folder / "log.jsonl", self.folder / "scores.csv"
        log.write_text("".join(json.dumps(event) + "\n" for event in events))
        words = ["--as-of", from_ms(as_of).isoformat(), "--model", str(self.model_dir)]
        assert 0 == main(["score", "--events", str(log), *words, "--out", str(out)])
        with out.open(newline="") as file:
            return {row["user_id"]: row for row in csv.DictReader(file)}

    async def agree(self, score: ChurnScore, events: list[dict[str, Any]]) -> None:
        """All three say the same of the score's user, position and moment."""
        page = await self.page_of(score)
        rows = await asyncio.to_thread(self.offline, events, to_ms(score.scored_at))
        row = rows[score.user_id]
        probability = score.churn_probability
        assert abs(probability - page["score"]["churn_probability"]) <= TOLERANCE
        assert abs(probability - float(row["churn_probability"])) <= TOLERANCE
        assert score.prediction == page["score"]["prediction"] == row["prediction"]
        assert self.model.origin == score.origin == page["score"]["origin"] == row["origin"]
        if score.reasons:
            told = page["explanation"]["reasons"]
            raising = [reason["text"] for reason in told if reason["contribution"] > 0]
            assert raising[: len(score.reasons)] == [reason.text for reason in score.reasons]

    async def tick(self, moment: int) -> None:
        """Bring the log's time there, in every partition."""
        for partition in range(PARTITIONS):
            await self.client.send(
                ACTIVITY, b"", key=CLOCK_KEY, partition=partition, timestamp_ms=moment,
                headers=[(CLOCK_HEADER, b"")],
            )  # fmt: skip
        await self.client.flush()


@asynccontextmanager
async def answering(
    kafka: KafkaServer, redis: RedisServer, model_dir: Path, folder: Path
) -> AsyncIterator[Answers]:
    """A scorer and a gateway on a stream clock, with a trained model."""
    model = load(model_dir)
    settings = GatewaySettings(
        kafka_bootstrap_servers=kafka.bootstrap, redis_url=redis.url, partitions=PARTITIONS
    )
    store = connect(settings.redis_url)
    app = create_app(model=model, log=KafkaLog(settings), reader=RedisUsers(store), clock="stream")
    explain = Explainer(model).reasons
    for topic in (ACTIVITY, SCORES):
        await create_topic(kafka, topic)
    reader = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await reader.start()
    try:
        reader.assign([TopicPartition(SCORES, number) for number in range(PARTITIONS)])
        async with (
            running(lambda stop: score_with(model, scorer_settings(kafka, redis), stop, explain)),
            producer(kafka) as client,
            AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as http,
        ):
            yield Answers(client, reader, http, model, model_dir, folder)
    finally:
        await reader.stop()
        await store.aclose()


@pytest.fixture(scope="module")
def taught() -> Rows:
    """Rows of a small population, enough to tell estimators apart."""
    rules = FoldRules()
    log = event_log(simulate(Population(users=150, days=100, seed=2)), rules)
    window = usable_window(log, TrainingSettings(horizon_days=10, active_days=20))
    return replay(log, draw_moments(log, window, 1_500, 0), rules)


@pytest.fixture(params=CANDIDATES, ids=lambda candidate: candidate.name)
def model_dir(
    request: pytest.FixtureRequest, taught: Rows, demo_model: Path, tmp_path: Path
) -> Path:
    """A folder with each kind of estimator there is, calibrated and compiled where possible."""
    candidate: Candidate = request.param
    directions = [feature.direction for feature in FEATURES]
    full = fitted(candidate, directions, 0, taught.features, taught.moments.label)
    if candidate.is_shipped:
        # Upwards, so that silence reaches the alert threshold, where scores carry reasons.
        full = apply(full, Calibration("sigmoid", 0.9, 1.5))
    demo = load(demo_model)
    inputs = opened(demo.inputs)
    manifest = msgspec.structs.replace(demo.manifest, candidate=candidate.name)
    graphs = {
        FULL_GRAPH: compiled_alike(full, taught.features),
        INPUTS_GRAPH: compiled_alike(inputs, taught.inputs),
    }
    made = {name: graph for name, graph in graphs.items() if graph is not None}
    assert candidate.is_shipped == (FULL_GRAPH in made)
    save(tmp_path / "model", manifest, full=full, inputs=inputs, graphs=made)
    return tmp_path / "model"


async def test_stream_page_and_offline_score_agree(
    clean_kafka: KafkaServer, clean_redis: RedisServer, model_dir: Path, tmp_path: Path
) -> None:
    """For equal position and moment they give equal probabilities: right after a visit, at the end
    of the session, and at the crossings of a silence."""
    events = history()
    last_visit = {event["user_id"]: number for number, event in enumerate(events)}
    async with answering(clean_kafka, clean_redis, model_dir, tmp_path) as answers:
        for number, event in enumerate(events):
            await send(answers.client, [event])
            if last_visit[event["user_id"]] == number:
                score = await answers.score_at(event["user_id"], event["occurred_at"])
                assert "activity" == score.trigger
                await answers.agree(score, events[: number + 1])

        session_end = events[-1]["occurred_at"] + SESSION_GAP_MS
        await answers.tick(session_end)
        score = await answers.score_at(events[-1]["user_id"], session_end)
        assert "silence" == score.trigger
        await answers.agree(score, events)

        await answers.tick(session_end + MINUTE_MS)
        moment = session_end + MINUTE_MS
        with_reasons = 0
        for _ in range(CROSSINGS):

            async def curves_known() -> bool:
                return all(score.crossings for score in (await answers.latest()).values())

            await eventually(curves_known)
            ahead = [
                (to_ms(crossing.at), score.user_id)
                for score in (await answers.latest()).values()
                for crossing in score.crossings
                if crossing.at is not None and to_ms(crossing.at) > moment
            ]
            # The higher the rung, the more there is to say: take every fourth crossing.
            moment, user_id = sorted(ahead)[min(len(ahead) - 1, len(ahead) // 4)]
            await answers.tick(moment)
            score = await answers.score_at(user_id, moment)
            await answers.agree(score, events)
            with_reasons += bool(score.reasons)
        assert bool(with_reasons) == (additive(opened(answers.model.full)) is not None)
