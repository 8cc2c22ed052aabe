"""Watermarks: where in the log each shard's effects end, moved together with the effects.

Each (topic, partition, shard) has a mark in Redis, "log:next offset". A save checks that the marks
are the ones this worker expects and then writes effects and new marks in one script; otherwise it
writes nothing and raises Refused. Exactly once follows from this rule alone: whoever was killed,
rolled back or taken over starts again at the stored marks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Protocol

from redis.asyncio import Redis

from contracts.errors import Refused
from contracts.partition import SHARDS
from runtime import keys
from runtime.redis_errors import redis_errors

_SAVE_LUA = files("runtime").joinpath("save.lua").read_text()


@dataclass(frozen=True, slots=True)
class Mark:
    """The next record whose effects a shard does not hold yet."""

    log: int
    offset: int

    def __str__(self) -> str:
        return f"{self.log}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Mark:
        log, _, offset = text.partition(":")
        return cls(int(log), int(offset))


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one partition in all shards, as stored; None where a shard has none."""

    partition: int
    stored: tuple[Mark | None, ...]
    clock_ms: int = 0
    """The partition clock they were last saved with (the earliest of all shards), 0 for none."""

    def start(self, log: int, beginning: int) -> int:
        """Offset reading starts at: the lowest mark in `log`, its beginning where one is absent."""
        return min(self.next_offset(shard, log, beginning) for shard in range(len(self.stored)))

    def next_offset(self, shard: int, log: int, beginning: int = 0) -> int:
        """First offset of `log` whose effects the shard does not hold."""
        mark = self.stored[shard]
        return mark.offset if mark is not None and mark.log == log else beginning

    def newest_log(self) -> int:
        """Highest log number among the marks, 0 when there are none."""
        return max((mark.log for mark in self.stored if mark is not None), default=0)

    def moved_to(self, mark: Mark) -> Marks:
        """All shards at `mark`, but one that is further along in the same log stays there."""
        moved = tuple(_later(stored, mark) for stored in self.stored)
        return Marks(self.partition, moved, self.clock_ms)


@dataclass(slots=True)
class Effects:
    """What a batch writes besides its watermark; every key belongs to one shard."""

    operations: list[tuple[str, str, tuple[str | bytes | int | float, ...]]] = field(
        default_factory=list
    )

    def put(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        """Set a string, with a lifetime if given."""
        if ttl_ms is None:
            self.operations.append(("S", key, (value,)))
        else:
            self.operations.append(("X", key, (value, ttl_ms)))

    def delete(self, key: str) -> None:
        """Remove a key."""
        self.operations.append(("D", key, ()))

    def index(self, key: str, member: str | bytes, score: float | None) -> None:
        """Put a member into a sorted set at `score`, or take it out for None."""
        if score is None:
            self.operations.append(("R", key, (member,)))
        else:
            self.operations.append(("Z", key, (score, member)))

    def keep_highest(self, key: str, count: int) -> None:
        """Trim a sorted set to its `count` highest members."""
        self.operations.append(("T", key, (count,)))


class Ledger(Protocol):
    """What services need of the watermarks; `runtime.testing` has the in-memory twin."""

    async def marks(self, partition: int) -> Marks:
        """Read the stored marks; raises StoreUnavailable."""
        ...

    async def save(self, expected: Marks, to: Mark, clock_ms: int, effects: Effects) -> Marks:
        """Write effects and marks together and return the new marks.

        clock_ms: the partition clock to store beside the mark; 0 leaves the stored one.
        Raises Refused when other marks are stored, StoreUnavailable when Redis does not answer
        (the write may or may not have happened; the next one finds out).
        """
        ...


class RedisLedger:
    """The Ledger of one topic in Redis."""

    def __init__(self, redis: Redis, topic: str) -> None:
        self._redis = redis
        self._marks_keys = [keys.marks(shard, topic) for shard in range(SHARDS)]
        self._script = redis.register_script(_SAVE_LUA)

    async def marks(self, partition: int) -> Marks:
        with redis_errors("reading watermarks"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in self._marks_keys:
                    pipe.hmget(key, [str(partition), f"clock:{partition}"])
                answers = await pipe.execute()
        clock_ms = min(int(clock or 0) for _, clock in answers)
        return _marks(partition, [mark for mark, _ in answers], clock_ms)

    async def save(self, expected: Marks, to: Mark, clock_ms: int, effects: Effects) -> Marks:
        names = list(self._marks_keys)
        places: dict[str, int] = {}
        operations: list[str | bytes | int | float] = []
        for letter, key, arguments in effects.operations:
            place = places.get(key)
            if place is None:
                names.append(key)
                place = places[key] = len(names)
            operations += (letter, place, *arguments)
        moved = expected.moved_to(to)
        head = (SHARDS, expected.partition, f"clock:{expected.partition}", clock_ms)
        marks = ["" if mark is None else str(mark) for mark in (*expected.stored, *moved.stored)]
        with redis_errors("saving a batch"):
            stored = await self._script(keys=names, args=[*head, *marks, *operations])
        if stored:
            raise Refused(
                f"partition {expected.partition}: expected {_range(expected)}, "
                f"Redis holds {_range(_marks(expected.partition, stored))}"
            )
        return moved


def _marks(partition: int, values: Iterable[bytes | None], clock_ms: int = 0) -> Marks:
    marks = tuple(Mark.parse(value.decode()) if value else None for value in values)
    return Marks(partition, marks, clock_ms)


def _later(stored: Mark | None, mark: Mark) -> Mark:
    if stored is not None and stored.log == mark.log and stored.offset > mark.offset:
        return stored
    return mark


def _range(marks: Marks) -> str:
    distinct = sorted({"none" if mark is None else str(mark) for mark in marks.stored})
    return distinct[0] if len(distinct) == 1 else f"{distinct[0]}..{distinct[-1]}"
