"""How long an event takes to its score, and to its alert, at a fixed rate of arrivals.

Open loop: the moments are drawn beforehand, an event's Kafka timestamp is the moment it was due,
and its latency runs from there to the moment a consumer of the last topic has the record in hand.
So a worker that stalls is charged for what had to wait (coordinated omission: Tene, "How NOT to
Measure Latency", 2013).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.stream.load import event, preload, user_name
from bench.stream.stand import Stand, worker
from contracts.topics import ACTIVITY, ALERTS, SCORES
from runtime import kafka

CANCELLATIONS: Final = 0.02
"""Share of arrivals that cancel a subscription: each is one alert, at once."""
WARM_SECONDS: Final = 1.0
"""Of the arrivals: sent, and not counted."""
PROBES: Final = 64
"""Enough to reach every partition."""
PATIENCE_SECONDS: Final = 20.0
READY_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Waits:
    """Milliseconds from the moment events were due."""

    p50: float
    p99: float
    p999: float
    count: int
    missing: int
    """Events nobody heard of again within the patience."""


class _Place(msgspec.Struct):
    offset: int
    partition: int


class _Score(msgspec.Struct):
    user_id: str
    position: _Place


class _Alert(msgspec.Struct):
    user_id: str


def latencies(
    stand: Stand, *, users: int, per_second: float, seconds: float, seed: int, partitions: int = 8
) -> tuple[Waits, Waits]:
    """Event to score and event to alert; the store keeps the users it has."""
    asyncio.run(preload(stand, iter(()), partitions=partitions))
    with ExitStack() as stack:
        workers = [
            stack.enter_context(worker(stand, "scorer")),
            stack.enter_context(worker(stand, "alerts")),
        ]
        deadline = time.monotonic() + READY_SECONDS
        while not all(each.is_ready() for each in workers):
            if time.monotonic() > deadline:
                raise RuntimeError("\n".join(w.child.log.read_text() for w in workers))
            time.sleep(0.1)
        load = _Arrivals(users, per_second, seconds, seed)
        return asyncio.run(_measured(stand, load, partitions))


async def _measured(stand: Stand, load: _Arrivals, partitions: int) -> tuple[Waits, Waits]:
    producer = AIOKafkaProducer(
        bootstrap_servers=stand.bootstrap, acks="all", partitioner=kafka.murmur2_partitioner
    )
    await producer.start()
    taps = [await _tap(stand, topic, partitions) for topic in (SCORES, ALERTS)]
    listening = [
        asyncio.ensure_future(load.hear_scores(taps[0])),
        asyncio.ensure_future(load.hear_alerts(taps[1])),
    ]
    try:
        await load.warm(producer)
        await load.send(producer)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while load.waiting() and time.monotonic() < deadline:  # noqa: ASYNC110 - others fill it
            await asyncio.sleep(0.05)
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        for tap in taps:
            await tap.stop()
        await producer.stop()
    return load.waits()


async def _tap(stand: Stand, topic: str, partitions: int) -> AIOKafkaConsumer:
    # The embedded broker sits on new records for up to half of what a fetch may wait.
    tap = AIOKafkaConsumer(
        bootstrap_servers=stand.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=10
    )
    await tap.start()
    places = [TopicPartition(topic, p) for p in range(partitions)]
    tap.assign(places)
    await tap.seek_to_beginning(*places)
    return tap


class _Arrivals:
    """What was sent when, and what came back when."""

    def __init__(self, users: int, per_second: float, seconds: float, seed: int) -> None:
        random = np.random.default_rng(seed)
        count = int(per_second * (seconds + WARM_SECONDS))
        self._due = np.cumsum(random.exponential(1 / per_second, count))
        self._who = random.integers(0, users, count).tolist()
        # Everybody cancels once at most: later cancellations are no news.
        cancels = np.flatnonzero(random.random(count) < CANCELLATIONS)
        self._cancels = dict(zip(cancels.tolist(), range(users, users + len(cancels)), strict=True))
        self._sent: dict[tuple[int, int], tuple[str, float]] = {}
        """(partition, offset) to user and the moment due."""
        self._cancelled: dict[str, float] = {}
        self._heard: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        self._alerted: dict[str, float] = {}
        self._counts_from = 0.0

    async def warm(self, producer: AIOKafkaProducer) -> None:
        """Cancellations of people of their own, until their alerts are here: all is connected."""
        probes = [f"probe-{number}" for number in range(PROBES)]
        for number, user in enumerate(probes):
            at = int(time.time() * 1000)
            value = event(user, number, at, "subscription_cancelled")
            await producer.send_and_wait(ACTIVITY, value, key=user.encode(), timestamp_ms=at)
        deadline = time.monotonic() + READY_SECONDS
        while not all(user in self._alerted for user in probes):
            if time.monotonic() > deadline:
                raise RuntimeError("alerts do not come through")
            await asyncio.sleep(0.05)

    async def send(self, producer: AIOKafkaProducer) -> None:
        """Each event at its moment; returns when all are acknowledged."""
        start = time.time() + 0.2
        self._counts_from = start + WARM_SECONDS
        under_way = []
        for number, offset in enumerate(self._due.tolist()):
            due = start + offset
            if (wait := due - time.time()) > 0:
                await asyncio.sleep(wait)
            under_way.append(asyncio.ensure_future(self._send_one(producer, number, due)))
        await asyncio.gather(*under_way)

    async def _send_one(self, producer: AIOKafkaProducer, number: int, due: float) -> None:
        cancels = self._cancels.get(number)
        user = user_name(self._who[number] if cancels is None else cancels)
        kind = None if cancels is None else "subscription_cancelled"
        at = int(due * 1000)
        acknowledged = await producer.send(
            ACTIVITY, event(user, number, at, kind), key=user.encode(), timestamp_ms=at
        )
        place = await acknowledged
        self._sent[place.partition, place.offset] = (user, due)
        if cancels is not None:
            self._cancelled[user] = due

    async def hear_scores(self, tap: AIOKafkaConsumer) -> None:
        """Note when each score is there."""
        decoder = msgspec.json.Decoder(_Score)
        while True:
            fetched = await tap.getmany(timeout_ms=1_000)
            now = time.time()
            for records in fetched.values():
                for record in records:
                    score = decoder.decode(record.value)
                    self._heard[score.user_id].append((score.position.offset, now))

    async def hear_alerts(self, tap: AIOKafkaConsumer) -> None:
        """Note when each user's first alert is there."""
        decoder = msgspec.json.Decoder(_Alert)
        while True:
            fetched = await tap.getmany(timeout_ms=1_000)
            now = time.time()
            for records in fetched.values():
                for record in records:
                    self._alerted.setdefault(decoder.decode(record.value).user_id, now)

    def waiting(self) -> bool:
        """Whether something sent was not heard of yet."""
        if self._cancelled.keys() - self._alerted.keys():
            return True
        return any(self._score_of(user, offset) is None for (_, offset), (user, _) in
                   self._sent.items())  # fmt: skip

    def _score_of(self, user: str, offset: int) -> float | None:
        """When the first score was there that knows of the record (users have one partition)."""
        return next((at for known, at in self._heard[user] if known >= offset), None)

    def waits(self) -> tuple[Waits, Waits]:
        """Of events to scores, and of cancellations to alerts."""
        scored = [
            (due, self._score_of(user, offset))
            for (_, offset), (user, due) in self._sent.items()
            if due >= self._counts_from
        ]
        alerted = [
            (due, self._alerted.get(user))
            for user, due in self._cancelled.items()
            if due >= self._counts_from
        ]
        return _summed(scored), _summed(alerted)


def _summed(pairs: list[tuple[float, float | None]]) -> Waits:
    took = [(at - due) * 1000 for due, at in pairs if at is not None]
    p50, p99, p999 = np.percentile(took, [50, 99, 99.9]).tolist() if took else [float("nan")] * 3
    return Waits(p50, p99, p999, len(took), len(pairs) - len(took))
