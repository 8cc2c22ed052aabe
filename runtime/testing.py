"""In-memory doubles of Redis, the ledger and the publisher, with the real ones' semantics.

`FakeRedis` answers the few commands our readers use, so RecordStore, TimerIndex, DeadLetters and
the like run on it unchanged; `FakeLedger` does to it what `save.lua` does to Redis.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio import Redis

from contracts.errors import Refused, StoreUnavailable
from contracts.partition import SHARDS
from runtime import generations, keys
from runtime.kafka import Message, Publisher
from runtime.ledger import Effects, Mark, Marks, Operation, mark_fields, marks_in


@dataclass(slots=True)
class FakeRecord:
    """A Kafka record as handlers see it."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def record(
    value: bytes | None,
    *,
    key: str | bytes | None = "user",
    partition: int = 0,
    offset: int = 0,
    timestamp: int = 0,
    headers: Sequence[tuple[str, bytes]] = (),
) -> FakeRecord:
    """Make a record; a text key is encoded."""
    raw_key = key.encode() if isinstance(key, str) else key
    return FakeRecord(partition, offset, timestamp, raw_key, value, headers)


@dataclass(slots=True)
class RedisState:
    """Everything a FakeRedis holds."""

    strings: dict[str, bytes] = field(default_factory=dict)
    lifetimes_ms: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, dict[str, bytes]] = field(default_factory=dict)
    zsets: dict[str, dict[bytes, float]] = field(default_factory=dict)
    lists: dict[str, list[bytes]] = field(default_factory=dict)


class FakeRedis:
    """A Redis in a few dictionaries. Lifetimes are noted, never acted upon."""

    def __init__(self) -> None:
        self.state = RedisState()

    @property
    def client(self) -> Redis:
        """Itself under the type that readers ask for."""
        return cast("Redis", self)

    def backup(self) -> RedisState:
        """Return a copy of everything, for `restore`."""
        return deepcopy(self.state)

    def restore(self, backup: RedisState) -> None:
        """Hold what `backup` holds, as a Redis that was rolled back would."""
        self.state = deepcopy(backup)

    # Writes, as the ledger and tests do them.

    async def set(
        self, key: str, value: bytes | int | str, px: int | None = None, *, nx: bool = False
    ) -> bool | None:
        if nx and key in self.state.strings:
            return None
        self.state.strings[key] = _bytes(value)
        self.state.lifetimes_ms.pop(key, None)
        if px is not None:
            self.state.lifetimes_ms[key] = px
        return True

    async def incr(self, key: str) -> int:
        number = int(self.state.strings.get(key, b"0")) + 1
        self.state.strings[key] = _bytes(number)
        return number

    async def delete(self, *names: str) -> int:
        there = 0
        for name in names:
            state = self.state
            kinds = (state.strings, state.hashes, state.zsets, state.lists)
            there += sum(kind.pop(name, None) is not None for kind in kinds)
            self.state.lifetimes_ms.pop(name, None)
        return there

    async def hset(
        self,
        name: str,
        key: str | None = None,
        value: object = None,
        mapping: Mapping[str, object] | None = None,
    ) -> None:
        fields = self.state.hashes.setdefault(name, {})
        for item, content in [*((mapping or {}).items()), *([(key, value)] if key else [])]:
            fields[str(item)] = _bytes(content)

    async def hdel(self, name: str, *fields: str | bytes) -> int:
        stored = self.state.hashes.get(name, {})
        gone = [stored.pop(_bytes(item).decode(), None) for item in fields]
        if not stored:
            self.state.hashes.pop(name, None)
        return sum(value is not None for value in gone)

    async def zadd(self, name: str, mapping: Mapping[str | bytes, float]) -> None:
        members = self.state.zsets.setdefault(name, {})
        for member, score in mapping.items():
            members[_bytes(member)] = float(score)

    async def zremrangebyscore(self, name: str, low: float | str, high: float | str) -> None:
        gone = [m for m, score in self._ranked(name) if float(low) <= score <= float(high)]
        await self.zrem(name, *gone)

    async def zrem(self, name: str, *members: str | bytes) -> int:
        there = self.state.zsets.get(name, {})
        gone = [there.pop(_bytes(member), None) for member in members]
        if not self.state.zsets.get(name, True):
            del self.state.zsets[name]
        return len(gone) - gone.count(None)

    async def zremrangebyrank(self, name: str, first: int, last: int) -> None:
        ranked = [member for member, _ in self._ranked(name)]
        last = len(ranked) + last if last < 0 else last
        await self.zrem(name, *ranked[first : max(last + 1, first)])

    async def rpush(self, name: str, *values: bytes) -> int:
        stored = self.state.lists.setdefault(name, [])
        stored += values
        return len(stored)

    async def ltrim(self, name: str, start: int, end: int) -> None:
        assert start < 0
        assert end == -1
        self.state.lists[name] = self.state.lists[name][start:]

    async def pexpire(self, name: str, time: int) -> None:
        self.state.lifetimes_ms[name] = time

    # Reads, as the runtime's readers do them.

    async def pttl(self, key: str) -> int:
        if key not in self.state.strings:
            return -2
        return self.state.lifetimes_ms.get(key, -1)

    async def hkeys(self, name: str) -> list[bytes]:
        return [item.encode() for item in self.state.hashes.get(name, {})]

    async def info(self, section: str) -> dict[str, Any]:
        if section == "server":
            return {"redis_version": "7.4.1"}
        return {"used_memory": 1_048_576, "maxmemory": 0}

    async def zrandmember(self, name: str, count: int) -> list[bytes]:
        return [member for member, _ in self._ranked(name)][:count]

    async def get(self, key: str) -> bytes | None:
        return self.state.strings.get(key)

    async def mget(self, names: Sequence[str]) -> list[bytes | None]:
        return [self.state.strings.get(name) for name in names]

    async def hget(self, name: str, key: str) -> bytes | None:
        return self.state.hashes.get(name, {}).get(key)

    async def hmget(self, name: str, fields: Sequence[str]) -> list[bytes | None]:
        return [self.state.hashes.get(name, {}).get(item) for item in fields]

    async def hgetall(self, name: str) -> dict[bytes, bytes]:
        return {item.encode(): value for item, value in self.state.hashes.get(name, {}).items()}

    async def lrange(self, name: str, start: int, end: int) -> list[bytes]:
        stored = self.state.lists.get(name, [])
        first, last = (at if at >= 0 else len(stored) + at for at in (start, end))
        return stored[max(first, 0) : max(last + 1, 0)]

    async def hexists(self, name: str, key: str) -> bool:
        return key in self.state.hashes.get(name, {})

    async def zrange(  # noqa: PLR0917 - redis-py's own signature
        self,
        name: str,
        start: float | str,
        end: float | str,
        desc: bool = False,
        withscores: bool = False,
        byscore: bool = False,
        offset: int | None = None,
        num: int | None = None,
    ) -> list[Any]:
        ranked = self._ranked(name)
        if byscore:
            low, high = (end, start) if desc else (start, end)
            ranked = [entry for entry in ranked if float(low) <= entry[1] <= float(high)]
            ranked = ranked[::-1] if desc else ranked
            if num is not None and num >= 0:
                ranked = ranked[offset or 0 : (offset or 0) + num]
        else:
            ranked = ranked[::-1] if desc else ranked
            first, last = (
                int(at) if int(at) >= 0 else len(ranked) + int(at) for at in [start, end]
            )
            ranked = ranked[max(first, 0) : max(last + 1, 0)]
        return list(ranked) if withscores else [member for member, _ in ranked]

    async def zcard(self, name: str) -> int:
        return len(self.state.zsets.get(name, {}))

    async def zcount(self, name: str, low: float | str, high: float | str) -> int:
        at_least, at_most = _bound(low), _bound(high)
        return sum(
            (score > at_least[0] if at_least[1] else score >= at_least[0])
            and (score < at_most[0] if at_most[1] else score <= at_most[0])
            for _, score in self._ranked(name)
        )

    async def zscan(
        self, name: str, cursor: int = 0, count: int | None = None
    ) -> tuple[int, list[tuple[bytes, float]]]:
        ranked = self._ranked(name)
        after = cursor + (count or 10)
        return (after if after < len(ranked) else 0), ranked[cursor:after]

    def register_script(self, script: str) -> Callable[..., Awaitable[int]]:
        """The scripts that readers use, by hand: of those, `settle.lua` only."""
        assert "Moves one delivery to its next state" in script
        return self._settle

    async def _settle(self, keys: Sequence[str], args: Sequence[Any]) -> int:
        row, places, logs, before = keys[0], keys[1:4], keys[4:6], keys[6]
        expected, stored, ttl_ms, place, due, row_id, updated, kept = args
        if self.state.strings.get(row, b"") != expected:
            return 0
        await self.set(row, stored, px=ttl_ms or None)
        for number, name in enumerate(places, start=1):
            if number == place:
                await self.zadd(name, {row_id: due})
            else:
                await self.zrem(name, row_id)
        if before != logs[1]:
            await self.zrem(before, row_id)
        for name in logs:
            await self.zadd(name, {row_id: updated})
            await self.zremrangebyrank(name, 0, -1 - kept)
        return 1

    def pipeline(self, transaction: bool = True) -> _Pipeline:
        return _Pipeline(self)

    def _ranked(self, name: str) -> list[tuple[bytes, float]]:
        """Members with scores, lowest first, equal scores by member: Redis' order."""
        members = self.state.zsets.get(name, {})
        return sorted(members.items(), key=lambda entry: (entry[1], entry[0]))


class _Pipeline:
    """Commands kept back until `execute`, then run at once."""

    def __init__(self, redis: FakeRedis) -> None:
        self._redis = redis
        self._calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    async def __aenter__(self) -> _Pipeline:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._calls.clear()

    def __getattr__(self, command: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> _Pipeline:
            self._calls.append((command, args, kwargs))
            return self

        return call

    async def execute(self) -> list[Any]:
        calls, self._calls = self._calls, []
        return [
            await getattr(self._redis, command)(*args, **kwargs) for command, args, kwargs in calls
        ]


class FakeLedger:
    """The `Ledger` of one topic on a FakeRedis: refuses and writes exactly as `save.lua` does.

    `fails_before` and `fails_after` are raised once, by the next save, before or after it wrote:
    a worker that dies on either side of the write, or a Redis whose answer got lost.
    """

    def __init__(self, redis: FakeRedis, topic: str) -> None:
        self.redis = redis
        self.saves = 0
        self.fails_before: Exception | None = None
        self.fails_after: Exception | None = None
        self._topic = topic

    async def marks(self, partition: int) -> Marks:
        generation = await generations.current(self.redis.client, self._topic)
        fields = mark_fields(partition)
        stored = [await self.redis.hmget(key, fields) for key in self._marks_keys(generation)]
        return marks_in(stored, partition, generation)

    def _marks_keys(self, generation: int) -> list[str]:
        return [keys.marks(shard, self._topic, generation) for shard in range(SHARDS)]

    async def save(self, expected: Marks, to: Mark, clock_ms: int, effects: Effects) -> Marks:
        failure, self.fails_before = self.fails_before, None
        if failure is not None:
            raise failure
        try:
            stored = await self.marks(expected.partition)
        except StoreUnavailable as switching:
            raise Refused(f"partition {expected.partition}: {switching}") from None
        if not stored.like(expected):
            raise Refused(f"partition {expected.partition}: other marks are stored")
        for operation in effects.all_operations(self._topic, expected):
            await self._apply(operation)
        moved = expected.moved_to(to, effects.arrived)
        marks_keys = self._marks_keys(expected.generation)
        for key, mark in zip(marks_keys, moved.stored, strict=True):
            await self.redis.hset(key, str(expected.partition), str(mark))
            if clock_ms:
                await self.redis.hset(key, f"clock:{expected.partition}", clock_ms)
        self.saves += 1
        failure, self.fails_after = self.fails_after, None
        if failure is not None:
            raise failure
        return moved

    async def _apply(self, operation: Operation) -> None:  # noqa: PLR0912 - one for each letter
        letter, names, arguments = operation
        rest: Sequence[Any] = arguments
        match letter:
            case "S":
                for key, value in zip(names, rest, strict=True):
                    await self.redis.set(key, _bytes(value))
            case "X":
                for key, value in zip(names, rest[1:], strict=True):
                    await self.redis.set(key, _bytes(value), px=rest[0])
            case "D":
                await self.redis.delete(*names)
            case "Z":
                await self.redis.zadd(names[0], dict(zip(rest[1::2], rest[::2], strict=True)))
            case "R":
                await self.redis.zrem(names[0], *rest)
            case "H":
                pairs = dict(zip(rest[::2], rest[1::2], strict=True))
                await self.redis.hset(names[0], mapping=pairs)
            case "F":
                await self.redis.hdel(names[0], *rest)
            case "T":
                await self.redis.zremrangebyrank(names[0], 0, -1 - rest[0])
            case "L":
                if await self.redis.rpush(names[0], *map(_bytes, rest[2:])) >= rest[0] * 1.25:
                    await self.redis.ltrim(names[0], -rest[0], -1)
                if self.redis.state.lifetimes_ms.get(names[0], -1) < rest[1]:
                    await self.redis.pexpire(names[0], 2 * rest[1])
            case _:
                raise ValueError(f"unknown operation {letter} with {arguments!r}")


@dataclass(frozen=True, slots=True)
class Published:
    """A message and where it went."""

    topic: str
    partition: int
    message: Message


class FakePublisher(Publisher):
    """Keeps what is published. `fails` is raised once, by the next call, which keeps nothing."""

    def __init__(self, partitions: int = 1) -> None:
        self.published: list[Published] = []
        self.fails: Exception | None = None
        self._partitions = partitions

    async def partitions(self, topic: str) -> int:
        return self._partitions

    async def publish_at_once(
        self, topic: str, partition: int, messages: Iterable[Message]
    ) -> None:
        await self.publish(topic, partition, messages)

    async def publish(self, topic: str, partition: int, messages: Iterable[Message]) -> None:
        failure, self.fails = self.fails, None
        if failure is not None:
            raise failure
        self.published += [Published(topic, partition, message) for message in messages]

    def of(self, topic: str) -> list[Message]:
        """Messages published to one topic, in order."""
        return [entry.message for entry in self.published if entry.topic == topic]


def _bound(value: float | str) -> tuple[float, bool]:
    """A bound of a range of scores, and whether it lies outside of it."""
    text = str(value)
    return float(text.removeprefix("(")), text.startswith("(")


def _from_start(rank: int, count: int) -> int:
    return rank if rank >= 0 else count + rank


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
