"""How long an event takes to its score, and to its alert, at a fixed rate of arrivals.

Open loop: the moments are drawn beforehand, an event's Kafka timestamp is the moment it was due,
and its latency runs from there to the moment a consumer of the last topic has the record in hand.
So a worker that stalls is charged for what had to wait (coordinated omission: Tene, "How NOT to
Measure Latency", 2013).
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.stream.load import event, preload, user_name
from bench.stream.stand import Stand, worker
from contracts.partition import homes
from contracts.topics import ACTIVITY, ALERTS, SCORES
from runtime import kafka

CANCELLATIONS: Final = 0.02
"""Share of arrivals that cancel a subscription: each is one alert, at once."""
WARM_SECONDS: Final = 4.0
"""Of the arrivals: sent first, and told apart. Workers that just started meet some code, some
users and their dependencies for the first time."""
MAKING_SECONDS: Final = 20e-6
"""An event takes less to be made."""
PROBES: Final = 64
"""Enough to reach every partition."""
LINGER_MS: Final = 5
"""How long the producer waits for company: what Kafka's own producers do since 4.0 (KIP-1030)."""
BARE: Final = "bare"
"""The topic of events that nobody works on."""
PATIENCE_SECONDS: Final = 20.0
READY_SECONDS: Final = 60.0
BARE_SECONDS: Final = 0.5
"""Until the last events are there, too."""


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
) -> dict[str, Waits]:
    """Event to `score` and to `alert`, and both `while warming up`; the store keeps its users.

    First, without workers, event to a `bare consumer`: what the machine, its broker and the
    arrivals take for themselves.
    """
    bare = _alone(stand, _Arrivals(users, per_second, seconds, seed, partitions), partitions)
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
        load = _Arrivals(users, per_second, seconds, seed, partitions)
        with _no_collector():
            return bare | asyncio.run(_measured(stand, load, partitions))


@contextmanager
def _no_collector() -> Iterator[None]:
    gc.disable()  # a look at all that was sent and heard takes a tenth of a second
    try:
        yield
    finally:
        gc.enable()


def _alone(stand: Stand, load: _Arrivals, partitions: int) -> dict[str, Waits]:
    with _no_collector():
        return asyncio.run(_unworked(stand, load, partitions))


async def _unworked(stand: Stand, load: _Arrivals, partitions: int) -> dict[str, Waits]:
    await kafka.ensure_topics(stand.settings(partitions), [BARE])
    producer = _producer(stand)
    await producer.start()
    tap = await _tap(stand, (BARE,), partitions)
    listening = asyncio.ensure_future(load.hear_bare(tap))
    try:
        await load.send(producer, BARE)
        await asyncio.sleep(BARE_SECONDS)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await tap.stop()
        await producer.stop()
    return load.bare_waits()


def _producer(stand: Stand) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=stand.bootstrap,
        acks="all",
        partitioner=kafka.murmur2_partitioner,
        linger_ms=LINGER_MS,
    )


async def _measured(stand: Stand, load: _Arrivals, partitions: int) -> dict[str, Waits]:
    producer = _producer(stand)
    await producer.start()
    tap = await _tap(stand, (SCORES, ALERTS), partitions)
    listening = asyncio.ensure_future(load.hear(tap))
    try:
        await load.warm(producer)
        await load.send(producer)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while load.waiting() and time.monotonic() < deadline:  # noqa: ASYNC110 - others fill it
            await asyncio.sleep(0.05)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await tap.stop()
        await producer.stop()
    return load.waits()


async def _tap(stand: Stand, topics: Sequence[str], partitions: int) -> AIOKafkaConsumer:
    # The embedded broker sits on new records for up to half of what a fetch may wait.
    tap = AIOKafkaConsumer(
        bootstrap_servers=stand.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=10
    )
    await tap.start()
    places = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]
    tap.assign(places)
    await tap.seek_to_beginning(*places)
    return tap


class _Arrivals:
    """What was sent when, and what came back when.

    All that can be made beforehand is: the measurement shares the machine with what it measures.
    """

    def __init__(
        self, users: int, per_second: float, seconds: float, seed: int, partitions: int
    ) -> None:
        random = np.random.default_rng(seed)
        count = int(per_second * (seconds + WARM_SECONDS))
        self._partitions = partitions
        self._due = np.cumsum(random.exponential(1 / per_second, count))
        who = random.integers(0, users, count).tolist()
        # Everybody cancels once at most: later cancellations are no news.
        cancels = np.flatnonzero(random.random(count) < CANCELLATIONS)
        self._cancels = dict(zip(cancels.tolist(), range(users, users + len(cancels)), strict=True))
        self._users = [user_name(self._cancels.get(i, who[i])) for i in range(count)]
        self._homes = homes(self._users, partitions).tolist()
        self._sent: dict[tuple[int, int], tuple[str, float]] = {}
        """(partition, offset) to user and the moment due."""
        self._cancelled: dict[str, float] = {}
        self._heard: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        self._alerted: dict[str, float] = {}
        self._read: dict[tuple[int, int], float] = {}
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

    async def send(self, producer: AIOKafkaProducer, topic: str = ACTIVITY) -> None:
        """Each event at its moment; returns when all are acknowledged."""
        start = time.time() + 0.2 + len(self._due) * MAKING_SECONDS
        moments = (start + self._due).tolist()
        values = [
            event(
                user,
                number,
                int(moments[number] * 1000),
                "subscription_cancelled" if number in self._cancels else None,
            )
            for number, user in enumerate(self._users)
        ]
        self._counts_from = start + WARM_SECONDS
        under_way = []
        for number, (due, value) in enumerate(zip(moments, values, strict=True)):
            if (wait := due - time.time()) > 0:
                await asyncio.sleep(wait)
            user = self._users[number]
            acknowledged = await producer.send(
                topic, value, key=user.encode(), partition=self._homes[number],
                timestamp_ms=int(due * 1000),
            )  # fmt: skip
            under_way.append((user, due, acknowledged))
            if number in self._cancels:
                self._cancelled[user] = due
        for user, due, acknowledged in under_way:
            place = await acknowledged
            self._sent[place.partition, place.offset] = (user, due)

    async def hear(self, tap: AIOKafkaConsumer) -> None:
        """Note when each score and each user's first alert is there."""
        score, alert = msgspec.json.Decoder(_Score), msgspec.json.Decoder(_Alert)
        while True:
            fetched = await tap.getmany(timeout_ms=1_000)
            now = time.time()
            for place, records in fetched.items():
                for record in records:
                    if place.topic == SCORES:
                        told = score.decode(record.value)
                        self._heard[told.user_id].append((told.position.offset, now))
                    else:
                        self._alerted.setdefault(alert.decode(record.value).user_id, now)

    async def hear_bare(self, tap: AIOKafkaConsumer) -> None:
        """Note when each event itself is there."""
        while True:
            fetched = await tap.getmany(timeout_ms=1_000)
            now = time.time()
            for place, records in fetched.items():
                self._read |= {(place.partition, record.offset): now for record in records}

    def bare_waits(self) -> dict[str, Waits]:
        """Of events to a consumer of their topic."""
        pairs = [(due, self._read.get(place)) for place, (_, due) in self._sent.items()]
        return {"bare consumer": _summed([pair for pair in pairs if pair[0] >= self._counts_from])}

    def waiting(self) -> bool:
        """Whether something sent was not heard of yet."""
        if self._cancelled.keys() - self._alerted.keys():
            return True
        return any(self._score_of(user, offset) is None for (_, offset), (user, _) in
                   self._sent.items())  # fmt: skip

    def _score_of(self, user: str, offset: int) -> float | None:
        """When the first score was there that knows of the record (users have one partition)."""
        return next((at for known, at in self._heard[user] if known >= offset), None)

    def waits(self) -> dict[str, Waits]:
        """Of events to scores, and of cancellations to alerts."""
        pairs = {
            "score": [
                (due, self._score_of(user, offset))
                for (_, offset), (user, due) in self._sent.items()
            ],
            "alert": [(due, self._alerted.get(user)) for user, due in self._cancelled.items()],
        }
        counted = {
            name: _summed([pair for pair in found if pair[0] >= self._counts_from])
            for name, found in pairs.items()
        }
        warming = {
            f"{name} while warming up": _summed(
                [pair for pair in found if pair[0] < self._counts_from]
            )
            for name, found in pairs.items()
        }
        return counted | warming


def _summed(pairs: list[tuple[float, float | None]]) -> Waits:
    took = [(at - due) * 1000 for due, at in pairs if at is not None]
    p50, p99, p999 = np.percentile(took, [50, 99, 99.9]).tolist() if took else [float("nan")] * 3
    return Waits(p50, p99, p999, len(took), len(pairs) - len(took))
