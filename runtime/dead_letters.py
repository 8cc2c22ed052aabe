"""Records that can never be processed: parked with their reason, never lost, never in the way.

A single bad record is parked and passed. A long run of them from several keys is rather our
mistake (a wrong schema, a bad deploy) than theirs: the worker then waits for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from redis.asyncio import Redis

from contracts.topics import dead_letter
from runtime import keys
from runtime.handler import Record
from runtime.health import Health
from runtime.kafka import Publisher
from runtime.ledger import Effects, Mark
from runtime.letters import BadLetter, pack
from runtime.redis_errors import redis_errors
from runtime.store import text

Item = TypeVar("Item")

RUN_RECORDS = 100
RUN_KEYS = 3


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


def told_apart(
    records: Iterable[Record], read: Callable[[Record], Item | BadLetter], run: Run
) -> tuple[list[tuple[Record, Item]], list[BadLetter], bool]:
    """What could be read, with its record, what could not, and whether a run of that tripped."""
    good: list[tuple[Record, Item]] = []
    letters: list[BadLetter] = []
    tripped = False
    for record in records:
        item = read(record)
        if not isinstance(item, BadLetter):
            run.good()
            good.append((record, item))
            continue
        letters.append(item)
        run.bad(record.key)
        if run.tripped:
            tripped = True
            run.good()
    return good, letters, tripped


class DeadLetters:
    """The dead-letter topic of one source topic."""

    def __init__(self, publisher: Publisher, redis: Redis, topic: str, health: Health) -> None:
        self._publisher = publisher
        self._redis = redis
        self._topic = topic
        self._health = health

    async def park(self, partition: int, log: int, letters: Sequence[BadLetter]) -> None:
        """Publish the records with reason and place, keys, values and headers as they came."""
        messages = [message for letter in letters for message in pack(self._topic, log, letter)]
        await self._publisher.publish(dead_letter(self._topic), partition, messages)

    def hold(self, effects: Effects, partition: int, mark: Mark) -> None:
        """Let a save that passes a run of bad records also stop the partition behind it, at `mark`.

        In the same save, because a worker that died between the two would never come back to it.
        """
        effects.index(keys.held(self._topic), f"{partition}@{mark}", partition)

    async def held(self, partition: int) -> bool:
        """Whether the partition waits for a person; says so in the health."""
        about = f"dead letters of partition {partition}"
        with redis_errors("looking for accepted dead letters"):
            held = await self._redis.zrange(
                keys.held(self._topic), partition, partition, byscore=True
            )
        if held:
            self._health.waits(
                about,
                f"{RUN_RECORDS} bad records in a row went to {dead_letter(self._topic)}: look at "
                "them (`ebbtide dead-letters list`), then `ebbtide dead-letters accept`",
            )
        else:
            self._health.goes_on(about)
        return bool(held)


async def accept(redis: Redis, topic: str, partition: int | None = None) -> dict[int, Mark]:
    """Let held partitions, or that one, go on; returns which were held, and where."""
    with redis_errors("accepting dead letters"):
        low, high = ("-inf", "+inf") if partition is None else (partition, partition)
        held = await redis.zrange(keys.held(topic), low, high, byscore=True)
        if held:
            await redis.zrem(keys.held(topic), *held)
    places = [text(cast("bytes", member)).split("@") for member in held]
    return {int(number): Mark.parse(mark) for number, mark in places}


async def accept_at(redis: Redis, topic: str, partition: int, held: str) -> bool:
    """Let a partition go on that waits at this place (log:offset); False where it does not."""
    with redis_errors("accepting dead letters"):
        return bool(await redis.zrem(keys.held(topic), f"{partition}@{held}"))


async def held_at(redis: Redis, topic: str, partition: int) -> str | None:
    """Where a partition waits for a person (log:offset)."""
    with redis_errors("looking for held partitions"):
        found = await redis.zrange(keys.held(topic), partition, partition, byscore=True)
    return text(cast("bytes", found[0])).split("@")[1] if found else None
