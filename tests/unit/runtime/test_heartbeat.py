"""What workers tell of themselves, and what is heard of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contracts.topics import ACTIVITY, SCORES
from contracts.workers import REMEMBERED_MS
from runtime import heartbeat, keys
from runtime.health import Health
from runtime.heartbeat import Heartbeat, standing
from runtime.metrics import WorkerMetrics
from runtime.testing import FakeRedis

KNOWN: dict[str, Any] = {
    "partition": 3,
    "stage": "fetching",
    "stage_seconds": 0.1,
    "still_seconds": 0.2,
    "moves": 9,
    "refusal": None,
    "log_time": 1_000,
    "position": 40,
    "highwater": 42,
    "last_stable_offset": 42,
    "lag": 2,
    "fetch_answered_ms": 999,
}


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now = 10_000

    def __call__(self) -> int:
        return self.now


def a_heart(clock: Clock) -> tuple[Heartbeat, WorkerMetrics, Health]:
    registry, health = CollectorRegistry(), Health()
    metrics = WorkerMetrics(registry, ACTIVITY)
    return Heartbeat("scorer", registry, health, now=clock), metrics, health


def test_rates_are_of_the_time_since_the_beat_before() -> None:
    """The first beat has none, and a total that stood still keeps the moment it last grew."""
    clock = Clock()
    heart, metrics, _ = a_heart(clock)
    metrics.records.labels(ACTIVITY).inc(10)
    assert ({}, 10) == (heart.beat().rates, heart.beat().totals["events"])
    metrics.records.labels(ACTIVITY).inc(30)
    metrics.records.labels(SCORES).inc(7)
    clock.now += 5_000
    later = heart.beat()
    assert (6.0, 1.4, 40) == (later.rates["events"], later.rates["records"], later.totals["events"])
    clock.now += 5_000
    last = heart.beat()
    assert (0.0, 15_000) == (last.rates["events"], last.grew_at["events"])


def test_partitions_are_told_while_they_are_watched() -> None:
    """Of several consumers of one process, each for as long as it runs."""
    heart, _, health = a_heart(Clock())
    health.waits("redis", "it is away")
    mine = standing(KNOWN, topic=ACTIVITY, ledger="", group="ebbtide-scorer")
    with heart.watching(lambda: [mine]):
        beat = heart.beat()
    assert ((mine,), "it is away") == (beat.partitions, beat.reasons["redis"])
    assert (3, 40, 42, ACTIVITY) == (mine.partition, mine.position, mine.highwater, mine.ledger)
    assert () == heart.beat().partitions


async def test_who_tells_is_heard_until_it_says_goodbye() -> None:
    """And how long ago is counted by the lifetime Redis has left for it."""
    redis = FakeRedis()
    heart, _, _ = a_heart(Clock())
    telling = asyncio.create_task(heart.run(redis.client))
    for _ in range(20):
        await asyncio.sleep(0)
    redis.state.lifetimes_ms[keys.worker(heart.id)] = REMEMBERED_MS - 7_000
    [heard] = await heartbeat.read(redis.client)
    assert (heart.id, 7.0) == (heard.beat.id, heard.seconds_ago)

    telling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await telling
    assert [] == await heartbeat.read(redis.client)
    assert {} == redis.state.zsets


async def test_it_ends_although_the_client_keeps_the_cancellation_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Redis' client may, which takes it for the end of a connection."""
    under_way = asyncio.Event()

    async def deaf(*_: object) -> None:
        under_way.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(heartbeat, "write", deaf)
    heart, _, _ = a_heart(Clock())
    telling = asyncio.create_task(heart.run(FakeRedis().client))
    await under_way.wait()
    telling.cancel()
    async with asyncio.timeout(1):
        await telling


async def test_what_a_newer_release_tells_is_passed_over() -> None:
    """Rather than hiding everybody else."""
    redis = FakeRedis()
    heart, _, _ = a_heart(Clock())
    await heartbeat.write(redis.client, heart.beat())
    await redis.zadd(keys.WORKERS, {"later": 1.0, "gone": 2.0})
    await redis.set(keys.worker("later"), b'{"id": 7}')
    assert [heart.id] == [heard.beat.id for heard in await heartbeat.read(redis.client)]


def test_events_are_counted_by_who_folds_them() -> None:
    """The history reads the same topic, and would count each a second time."""
    registry = CollectorRegistry()
    WorkerMetrics(registry, ACTIVITY).records.labels(ACTIVITY).inc(5)
    beat = Heartbeat("history", registry, Health()).beat()
    assert (5, None) == (beat.totals["records"], beat.totals.get("events"))
