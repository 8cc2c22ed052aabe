"""Records that can never be processed: parked with their reason, never lost, never in the way.

A single bad record is parked and passed. A long run of them from several keys is rather our
mistake (a wrong schema, a bad deploy) than theirs: the worker then waits for a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis

from contracts.times import EARLIEST_MS, LATEST_MS, from_ms
from contracts.topics import cloud_event_headers, dead_letter
from runtime import keys
from runtime.handler import Record
from runtime.health import Health
from runtime.kafka import Message, Publisher
from runtime.ledger import Mark
from runtime.redis_errors import redis_errors
from runtime.store import text

RUN_RECORDS = 100
RUN_KEYS = 3
MAX_LETTER_BYTES = 900_000
"""Room for the headers we add below the megabyte a broker takes by default."""


@dataclass(frozen=True, slots=True)
class BadLetter:
    """A record that could not be used, and why."""

    record: Record
    reason: str


@dataclass(slots=True)
class Run:
    """How many records in a row were bad, and from which keys."""

    length: int = 0
    keys: set[bytes | None] = field(default_factory=set)

    def good(self) -> None:
        """A good record ends the run."""
        self.length = 0
        self.keys.clear()

    def bad(self, key: bytes | None) -> None:
        """A bad record makes it longer."""
        self.length += 1
        if len(self.keys) < RUN_KEYS:
            self.keys.add(key)

    @property
    def tripped(self) -> bool:
        """Whether the run is long and broad enough that a person has to look."""
        return self.length >= RUN_RECORDS and len(self.keys) >= RUN_KEYS


class DeadLetters:
    """The dead-letter topic of one source topic."""

    def __init__(self, publisher: Publisher, redis: Redis, topic: str, health: Health) -> None:
        self._publisher = publisher
        self._redis = redis
        self._topic = topic
        self._health = health

    async def park(self, partition: int, log: int, letters: Sequence[BadLetter]) -> None:
        """Publish the records with reason and place, keys and values as they came."""
        await self._publisher.publish(
            dead_letter(self._topic), partition, [self._message(log, letter) for letter in letters]
        )

    async def hold(self, partition: int, mark: Mark) -> None:
        """Stop the partition at `mark` until a person accepts, whoever owns it."""
        with redis_errors("holding a partition"):
            await self._redis.hset(keys.held(self._topic), str(partition), str(mark))

    async def held(self, partition: int) -> bool:
        """Whether the partition waits for a person; says so in the health."""
        about = f"dead letters of partition {partition}"
        with redis_errors("looking for accepted dead letters"):
            held = await self._redis.hexists(keys.held(self._topic), str(partition))
        if held:
            self._health.waits(
                about,
                f"{RUN_RECORDS} bad records in a row went to {dead_letter(self._topic)}: look at "
                "them (`ebbtide dead-letters list`), then `ebbtide dead-letters accept`",
            )
        else:
            self._health.goes_on(about)
        return bool(held)

    def _message(self, log: int, letter: BadLetter) -> Message:
        record = letter.record
        place = f"{log}:{record.partition}:{record.offset}"
        # Whatever a producer made up must not stop the parking of it: -1, or the year 50,000.
        time = min(max(record.timestamp, EARLIEST_MS), LATEST_MS - 1)
        headers = [
            *cloud_event_headers(
                event_id=place,
                source=f"/ebbtide/{self._topic}",
                kind=f"ebbtide.{dead_letter(self._topic)}",
                time=from_ms(time).isoformat(),
            ),
            ("ebbtide-reason", letter.reason.encode()),
            ("ebbtide-source", f"{self._topic}:{place}".encode()),
        ]
        if _size(record) > MAX_LETTER_BYTES:
            headers.append(("ebbtide-left-out", b"too large to park: read it at its source"))
            return Message((record.key or b"")[:_KEY_BYTES], None, time, headers)
        originals = [(f"original-{name}", value or b"") for name, value in record.headers]
        return Message(record.key, record.value, time, [*headers, *originals])


_KEY_BYTES = 1_000


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


async def accept(redis: Redis, topic: str) -> dict[int, Mark]:
    """Let every held partition go on; returns which were held, and where."""
    with redis_errors("accepting dead letters"):
        held = await redis.hgetall(keys.held(topic))
        if held:
            await redis.hdel(keys.held(topic), *held)
    return {int(partition): Mark.parse(text(mark)) for partition, mark in held.items()}
