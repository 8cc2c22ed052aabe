"""A user's journey through the whole product: activity in, scores and alerts out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts.partition import home
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from contracts.topics import ACTIVITY, ALERTS, SCORES
from ebbtide.feed.kafka import kafka_sink
from runtime.settings import ServiceSettings
from tests.e2e.conftest import Ebbtide
from tests.integration.pipeline import NOON, eventually

PARTITIONS = 8
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


async def test_a_user_who_stops_coming_is_told_of_and_resolved_on_return(
    on_stream_clock: Ebbtide,
) -> None:
    """Events by HTTP and Kafka; silence opens an alert without any event; somebody takes it on,
    which who follows the alerts is told of; a return resolves it."""
    async with httpx2.AsyncClient(base_url=on_stream_clock.url, timeout=60) as http:
        by_http = [
            visit("ada", NOON + day * DAY_MS + i * MINUTE_MS) for day in range(10) for i in range(3)
        ]
        answer = await http.post("/events", json=by_http)
        assert (202, {"accepted": 30, "rejected": []}) == (answer.status_code, answer.json())
        by_kafka = [visit("ada", NOON + (10 + day) * DAY_MS) for day in range(5)]
        await produce(on_stream_clock, by_kafka)

        async def counted() -> bool:
            answer = await http.get("/users/ada")
            return answer.status_code == 200 and answer.json()["features"]["pages_visited"] == 70

        await eventually(counted)
        present = (await http.get("/users/ada")).json()
        assert "2025-06-29T12:00:00Z" == present["last_seen_at"]
        assert present["score"]["churn_probability"] < 0.5

        last_seen = NOON + 14 * DAY_MS
        await tick_to(on_stream_clock, last_seen + HOUR_MS)
        await eventually(lambda: holds(http, lambda user: user["at_risk_at"] is not None))
        assert [] == await alerts_on_the_topic(on_stream_clock)

        await tick_to(on_stream_clock, last_seen + 60 * DAY_MS)
        await eventually(lambda: kinds_are(on_stream_clock, ["opened"]))
        [opened] = await alerts_on_the_topic(on_stream_clock)
        assert ("ada", "silence") == (opened["user_id"], opened["trigger"])
        assert opened["churn_probability"] >= opened["threshold"]
        silent = (await http.get("/users/ada")).json()
        assert silent["score"]["churn_probability"] > present["score"]["churn_probability"]
        ranked = (await http.get("/users", params={"order": "risk", "limit": 5})).json()
        assert "ada" == ranked["users"][0]["user_id"]

        async with asyncio.timeout(60), http.stream("GET", "/alerts/stream") as following:
            lines = following.aiter_lines()
            while not (await anext(lines)).startswith("id: "):
                pass  # with its first place it follows
            path = f"/alerts/{opened['alert_id']}/acknowledge"
            assert 202 == (await http.post(path, json={"actor": "grace"})).status_code
            while not (line := await anext(lines)).startswith("data: "):
                pass
        told = json.loads(line.removeprefix("data: "))
        assert ("acknowledged", "grace", opened["dedup_key"]) == (
            told["kind"], told["actor"], told["dedup_key"],
        )  # fmt: skip

        back = last_seen + 61 * DAY_MS
        await http.post("/events", json=[visit("ada", back + i * MINUTE_MS) for i in range(5)])
        await eventually(lambda: kinds_are(on_stream_clock, ["opened", "acknowledged", "resolved"]))
        _, _, resolved = await alerts_on_the_topic(on_stream_clock)
        assert opened["dedup_key"] == resolved["dedup_key"]
        for topic in (ACTIVITY, SCORES, ALERTS):
            await check_schema(on_stream_clock, topic)
        listed = (await http.get("/alerts")).json()
        assert ["resolved", "acknowledged", "opened"] == [
            alert["kind"] for alert in listed["alerts"] if alert["kind"] != "escalated"
        ]
    assert 0 == on_stream_clock.stop()


async def test_a_user_with_little_evidence_is_not_told_of(on_stream_clock: Ebbtide) -> None:
    """Two active days are too few for an alert, however long the silence."""
    async with httpx2.AsyncClient(base_url=on_stream_clock.url, timeout=60) as http:
        await http.post("/events", json=[visit("eve", NOON), visit("eve", NOON + DAY_MS)])
        await http.post("/events", json=[visit("kim", NOON + day * DAY_MS) for day in range(6)])
        await tick_to(on_stream_clock, NOON + 80 * DAY_MS)

        await eventually(lambda: kinds_are(on_stream_clock, ["opened"]))

    [alert] = await alerts_on_the_topic(on_stream_clock)
    assert "kim" == alert["user_id"]


def visit(user_id: str, at: int) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "type": "page_view",
        "occurred_at": at,
        "pages_visited": 2,
        "time_spent": 3.5,
        "is_logged_in": True,
    }


async def produce(running: Ebbtide, events: list[dict[str, Any]]) -> None:
    """As a customer's own producer would, keyed by user."""
    async with AIOKafkaProducer(bootstrap_servers=running.bootstrap, acks="all") as producer:
        for event in events:
            await producer.send_and_wait(
                ACTIVITY,
                json.dumps(event).encode(),
                key=event["user_id"].encode(),
                partition=home(event["user_id"], PARTITIONS),
                timestamp_ms=event["occurred_at"],
            )


async def tick_to(running: Ebbtide, moment_ms: int) -> None:
    settings = ServiceSettings(
        kafka_bootstrap_servers=running.bootstrap, kafka_idempotence=running.idempotence
    )
    async with kafka_sink(settings, source="/test") as sink:
        await sink.tick(moment_ms)


async def holds(http: httpx2.AsyncClient, condition: Callable[[dict[str, Any]], bool]) -> bool:
    return condition((await http.get("/users/ada")).json())


async def kinds_are(running: Ebbtide, kinds: list[str]) -> bool:
    return kinds == [alert["kind"] for alert in await alerts_on_the_topic(running)]


async def alerts_on_the_topic(running: Ebbtide) -> list[dict[str, Any]]:
    """What is on `churn-alert` so far, as any subscriber reads it, in order of time.

    But for escalations: how often a risk climbs after it opened is the model's to say.
    """
    told = [a for a in await on_the_topic(running, ALERTS) if a["kind"] != "escalated"]
    return sorted(told, key=lambda alert: alert["occurred_at"])


async def on_the_topic(running: Ebbtide, topic: str) -> list[dict[str, Any]]:
    """The messages of a topic so far; clock records carry none."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=running.bootstrap, auto_offset_reset="earliest"
    )
    async with consumer:
        found: list[dict[str, Any]] = []
        for _ in range(3):
            for batch in (await consumer.getmany(timeout_ms=300)).values():
                found += [json.loads(record.value) for record in batch if record.value]
    return found


async def check_schema(running: Ebbtide, topic: str) -> None:
    """What is on the wire is what the published schema says."""
    schema = json.loads((SCHEMAS / f"{topic}.schema.json").read_text())
    messages = await on_the_topic(running, topic)
    assert messages
    for message in messages:
        jsonschema.validate(message, schema)
