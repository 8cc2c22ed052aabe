"""Made-up activity: a preloaded topic, and arrivals at a fixed rate."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from aiokafka.admin import AIOKafkaAdminClient

from bench.stream.stand import Stand
from contracts.partition import home
from contracts.times import from_ms
from contracts.topics import ACTIVITY, SCORES
from runtime import kafka
from runtime.kafka import Message, Publisher

MINUTE_MS: Final = 60_000
_PLACES = ("Berlin", "Hamburg", "Lyon", "Porto", "Oslo", "Wien", "Gent", "Brno")
_DEVICES = ("mobile", "desktop", "tablet")
_TYPES = ("page_view", "page_view", "page_view", "search", "login", "purchase")


@dataclass(frozen=True)
class Crowd:
    """Who acts: `users` people, all alike (skew 0) or as Zipf's law with that exponent has it."""

    users: int
    skew: float = 0.0
    active: int | None = None
    """So many of them, evenly spread, instead of all."""

    def draw(self, count: int, random: np.random.Generator) -> np.ndarray:
        """(count,) numbers of users, below `users`."""
        if self.active is not None:
            return random.integers(0, self.active, count) * (self.users // self.active)
        if not self.skew:
            return random.integers(0, self.users, count)
        weights = 1.0 / np.arange(1, self.users + 1) ** self.skew
        return random.choice(self.users, count, p=weights / weights.sum())


def user_name(number: int) -> str:
    """As an application might call them."""
    return f"user-{number:08d}"


def event(user: str, number: int, at_ms: int, kind: str | None = None) -> bytes:
    """A JSON event of some 240 bytes."""
    stated = {
        "user_id": user,
        "type": kind or _TYPES[number % len(_TYPES)],
        "event_id": f"{number:016x}",
        "occurred_at": from_ms(at_ms).isoformat(),
        "pages_visited": 1 + number % 4,
        "time_spent": 0.25 * (number % 31),
        "is_logged_in": number % 3 > 0,
        "location": _PLACES[number % len(_PLACES)],
        "device_type": _DEVICES[number % len(_DEVICES)],
    }
    return json.dumps(stated, separators=(",", ":")).encode()


def events(
    crowd: Crowd, count: int, *, until_ms: int, span_ms: int = MINUTE_MS, seed: int = 7
) -> Iterator[Message]:
    """Events in log order whose log times end at `until_ms` and span `span_ms`."""
    drawn = crowd.draw(count, np.random.default_rng(seed)).tolist()
    for number, who in enumerate(drawn):
        at = until_ms - span_ms + number * span_ms // count
        user = user_name(who)
        yield Message(user.encode(), event(user, number, at), at)


async def preload(stand: Stand, messages: Iterator[Message], *, partitions: int) -> None:
    """Delete what there is and put the messages on a new topic."""
    await _delete(stand, (ACTIVITY, SCORES))
    await kafka.ensure_topics(stand.settings(partitions), [ACTIVITY, SCORES])
    await produce(stand, messages, partitions=partitions)


async def produce(stand: Stand, messages: Iterator[Message], *, partitions: int) -> None:
    """Put the messages on the topic, each at its home."""
    producer = kafka.producer(stand.settings(partitions))
    await producer.start()
    try:
        homes: dict[int, list[Message]] = {}
        for message in messages:
            place = home((message.key or b"").decode(), partitions)
            homes.setdefault(place, []).append(message)
        publisher = Publisher(producer)
        for partition, at_home in homes.items():
            for start in range(0, len(at_home), 20_000):
                await publisher.publish(ACTIVITY, partition, at_home[start : start + 20_000])
    finally:
        await producer.stop()


async def fresh_scores(stand: Stand, partitions: int) -> None:
    """An empty `churn-score`: another run's scores would fill the broker's memory."""
    await _delete(stand, (SCORES,))
    await kafka.ensure_topics(stand.settings(partitions), [SCORES])


async def _delete(stand: Stand, topics: Sequence[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stand.bootstrap)
    await admin.start()
    try:
        deadline = time.monotonic() + 30
        while there := set(topics) & set(await admin.list_topics()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"topics are not going away: {there}")
            await admin.delete_topics(sorted(there))
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
