"""Watermarks: where in the log each shard's effects end, moved together with the effects.

Each (topic, partition, shard) has a mark in Redis, "log:next offset". A save checks that the marks
are the ones this worker expects, and that its generation still serves, and then writes effects and
new marks in one script; otherwise it writes nothing and raises Refused. Exactly once follows from
this rule alone: whoever was killed, rolled back or taken over starts again at the stored marks.

On a Redis Cluster a script reaches one shard only, so a save is sixteen of them. Some may be
written and others not; the marks of the shards then differ, and reading starts at the lowest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from itertools import chain
from typing import Final, Protocol, cast

import msgspec
from redis.asyncio import Redis

from contracts.errors import Refused
from contracts.partition import SHARDS
from runtime import arrivals, generations, keys
from runtime.arrivals import Arrived
from runtime.generations import ServingKey
from runtime.redis_errors import redis_errors
from runtime.store import shard_groups
from runtime.together import Together

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
    generation: int = keys.FIRST
    """Whose marks they are."""
    arrived: tuple[Arrived, ...] = ()
    """By shard, what of the records sent home it holds; () before anything was stored."""

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

    def like(self, other: Marks) -> bool:
        """Whether both are of one generation and at the same place in every shard."""
        return (self.generation, self.stored) == (other.generation, other.stored)

    def moved_to(self, mark: Mark, arrived: Mapping[int, Arrived] | None = None) -> Marks:
        """All shards at `mark`, but one that is further along in the same log stays there.

        arrived: by shard, where more has arrived.
        """
        moved = tuple(_later(stored, mark) for stored in self.stored)
        if not arrived:
            return replace(self, stored=moved)
        before = self.arrived or ({},) * len(self.stored)
        after = tuple(arrived.get(shard, known) for shard, known in enumerate(before))
        return replace(self, stored=moved, arrived=after)


Operation = tuple[str, Sequence[str], Sequence[str | bytes | int | float]]
"""A letter (see save.lua), the keys it is done to, all of one shard, and its arguments."""

_TEXT: Final = b"\xdb"
"""How msgpack begins a text whose length takes four bytes."""

AT_ONCE: Final = 1_000
"""Keys or members of one operation: Lua's stack bounds what a script can name at once."""


_PARTITIONS_AT_ONCE: Final = 256
_KEYS_TOGETHER: Final = 2_000
"""Of one script, for all partitions in it; a larger one would keep Redis to itself for long."""


@dataclass(slots=True)
class Effects:
    """What a batch writes besides its watermark; every key belongs to one shard.

    Done in the order of the calls.
    """

    operations: list[Operation] = field(default_factory=list)
    arrived: Mapping[int, Arrived] = field(default_factory=dict)
    """By shard, what it holds of the records sent home, where that has changed."""

    def put(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        """Set a string, with a lifetime if given."""
        self.put_all((key,), (value,), ttl_ms)

    def put_all(
        self, names: Sequence[str], values: Sequence[bytes], ttl_ms: int | None = None
    ) -> None:
        """Set as many strings of one shard."""
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE], values[start : start + AT_ONCE]
            if ttl_ms is None:
                self.operations.append(("S", *some))
            else:
                self.operations.append(("X", some[0], (ttl_ms, *some[1])))

    def delete(self, key: str) -> None:
        """Remove a key."""
        self.operations.append(("D", (key,), ()))

    def index(self, key: str, member: str | bytes, score: float | None) -> None:
        """Put a member into a sorted set at `score`, or take it out for None."""
        self.index_all(key, (member,), (score,))

    def index_all(
        self, key: str, members: Sequence[str | bytes], scores: Sequence[float | None]
    ) -> None:
        """Put members into a sorted set at their scores, or take out those without; each once."""
        for start in range(0, len(members), AT_ONCE):
            some = list(
                zip(scores[start : start + AT_ONCE], members[start : start + AT_ONCE], strict=True)
            )
            placed: list[str | bytes | float] = []
            for score, member in some:
                if score is not None:
                    placed += (score, member)
            if placed:
                self.operations.append(("Z", (key,), placed))
            if len(placed) < 2 * len(some):
                gone = [member for score, member in some if score is None]
                self.operations.append(("R", (key,), gone))

    def keep_highest(self, key: str, count: int) -> None:
        """Trim a sorted set to its `count` highest members."""
        self.operations.append(("T", (key,), (count,)))

    def append(self, key: str, values: Sequence[bytes], *, keep: int, ttl_ms: int) -> None:
        """Add to the end of a list, of which the last `keep` values stay for `ttl_ms` and longer.

        Trimmed when it has grown by a quarter more; goes within twice `ttl_ms` after the last.
        """
        for start in range(0, len(values), AT_ONCE):
            self.operations.append(("L", (key,), (keep, ttl_ms, *values[start : start + AT_ONCE])))

    def fields(self, key: str, values: Mapping[str, bytes | None]) -> None:
        """Set fields of a hash, or take out those without a value."""
        told = [(name, value) for name, value in values.items() if value is not None]
        for start in range(0, len(told), AT_ONCE):
            pairs = [each for pair in told[start : start + AT_ONCE] for each in pair]
            self.operations.append(("H", (key,), pairs))
        gone = [name for name, value in values.items() if value is None]
        for start in range(0, len(gone), AT_ONCE):
            self.operations.append(("F", (key,), gone[start : start + AT_ONCE]))

    def all_operations(self, topic: str, marks: Marks) -> list[Operation]:
        """The operations, and those that store what arrived beside the marks."""
        return self.operations + [
            (
                "H",
                (keys.marks(shard, topic, marks.generation),),
                (arrived_field(marks.partition), arrivals.pack(arrived)),
            )
            for shard, arrived in self.arrived.items()
        ]


def arrived_field(partition: int) -> str:
    """Where in a shard's marks a home partition keeps what was sent there."""
    return f"arrived:{partition}"


class Ledger(Protocol):
    """What services need of the watermarks; `runtime.testing` has the in-memory twin."""

    async def marks(self, partition: int) -> Marks:
        """Read the stored marks of the generation that serves; raises StoreUnavailable."""
        ...

    async def save(self, expected: Marks, to: Mark, clock_ms: int, effects: Effects) -> Marks:
        """Write effects and marks together and return the new marks.

        clock_ms: the partition clock to store beside the mark; 0 leaves the stored one.
        Raises Refused when other marks are stored or another generation serves, StoreUnavailable
        when Redis does not answer (the write may or may not have happened, for some shards or for
        all; the next one finds out).
        """
        ...


async def check_unmoved(ledger: Ledger, marks: Marks) -> None:
    """Raise Refused unless the stored marks are these: asked after state was loaded.

    The save would refuse, too, but only after what follows from the wrong state was published: from
    state that another owner has taken further, or that Redis has taken back.
    """
    stored = await ledger.marks(marks.partition)
    if not stored.like(marks):
        raise Refused("the store holds other watermarks than we left there")


class RedisLedger:
    """The Ledger of one topic in Redis.

    `serving` says which generation this ledger is of; a rebuild's is the one it makes. `name`: of
    the watermarks, where another service reads the same topic; empty: the topic.
    """

    def __init__(
        self, redis: Redis, topic: str, serving: ServingKey = keys.serving, name: str = ""
    ) -> None:
        self._redis = redis
        self._topic = topic
        self._name = name or topic
        self._serving = serving
        self._groups = shard_groups(redis)
        self._group_of = {shard: i for i, group in enumerate(self._groups) for shard in group}
        self._script = redis.register_script(_SAVE_LUA)
        self._known = keys.FIRST
        self._reads = Together(self._marks, most=_PARTITIONS_AT_ONCE)
        # On a cluster each script has a node of its own, and waits for no other.
        together = _KEYS_TOGETHER if len(self._groups) == 1 else 1
        self._saves = Together(self._run_script, size=_Call.size, most=together)

    async def marks(self, partition: int) -> Marks:
        return await self._reads.ask(partition)

    async def _marks(self, partitions: Sequence[int]) -> list[Marks]:
        # Both at once, for the generation has hardly ever changed.
        known = self._known
        self._known, found = await asyncio.gather(
            generations.current(self._redis, self._topic, self._serving),
            self._marks_of(partitions, known),
        )
        return found if known == self._known else await self._marks_of(partitions, self._known)

    async def marks_of(self, partition: int, generation: int) -> Marks:
        """Like `marks`, of a generation that may not be the one that serves."""
        return (await self._marks_of([partition], generation))[0]

    async def _marks_of(self, partitions: Sequence[int], generation: int) -> list[Marks]:
        fields = [name for partition in partitions for name in mark_fields(partition)]
        with redis_errors("reading watermarks"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in range(SHARDS):
                    pipe.hmget(keys.marks(shard, self._name, generation), fields)
                answers = await pipe.execute()
        width = len(fields) // len(partitions)
        return [
            marks_in([answer[at : at + width] for answer in answers], partition, generation)
            for partition, at in zip(partitions, range(0, len(fields), width), strict=True)
        ]

    async def save(self, expected: Marks, to: Mark, clock_ms: int, effects: Effects) -> Marks:
        moved = expected.moved_to(to, effects.arrived)
        parts = [_Part() for _ in self._groups]
        for operation in effects.all_operations(self._name, expected):
            parts[self._group_of[keys.shard_in(operation[1][0])]].add(operation)
        calls = [
            _Call(
                group,
                expected.generation,
                part.keys,
                [
                    *(str(expected.partition), f"clock:{expected.partition}", str(clock_ms)),
                    _texts(expected.stored[shard] for shard in group),
                    _texts(moved.stored[shard] for shard in group),
                    part.operations,
                ],
            )
            for group, part in zip(self._groups, parts, strict=True)
        ]
        with redis_errors("saving a batch"):
            # All of them, also after a failure: what is still on its way must not be overtaken.
            outcomes = await asyncio.gather(
                *(self._saves.ask(call) for call in calls), return_exceptions=True
            )
            refusals = set()
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
                refusals.add(outcome.decode())
            refusals.discard("")
        if refusals:
            raise Refused(f"partition {expected.partition}: {'; '.join(sorted(refusals))}")
        return moved

    async def _run_script(self, calls: Sequence[_Call]) -> list[bytes]:
        """What comes of each call: each is written or refused by itself."""
        if len({call.generation for call in calls}) > 1:  # they name other keys
            return [answer for call in calls for answer in await self._run_script([call])]
        group, generation = calls[0].group, calls[0].generation
        return cast(
            "list[bytes]",
            await self._script(
                keys=[
                    *self._fixed_keys(group, generation),
                    *chain.from_iterable(call.keys for call in calls),
                ],
                args=[
                    len(group),
                    generation,
                    msgspec.msgpack.encode([call.part for call in calls]),
                ],
            ),
        )

    def _fixed_keys(self, group: Sequence[int], generation: int) -> list[str]:
        topic = self._topic
        return [
            *(keys.marks(shard, self._name, generation) for shard in group),
            *(self._serving(shard, topic) for shard in group),
            *(keys.hold(shard, topic) for shard in group),
        ]


def mark_fields(partition: int) -> list[str]:
    """What `marks_in` needs of each shard's hash."""
    return [str(partition), f"clock:{partition}", arrived_field(partition)]


def marks_in(answers: Sequence[Sequence[bytes | None]], partition: int, generation: int) -> Marks:
    """The marks from what each shard holds in `mark_fields`."""
    return Marks(
        partition,
        tuple(Mark.parse(mark.decode()) if mark else None for mark, _, _ in answers),
        min(int(clock or 0) for _, clock, _ in answers),
        generation,
        tuple(arrivals.unpack(arrived) for _, _, arrived in answers),
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """What a save is to the shards of one group."""

    group: Sequence[int]
    generation: int
    keys: list[str]
    part: list[object]
    """As save.lua has it."""

    def size(self) -> int:
        return 1 + len(self.keys)


class _Part:
    """The operations for one group, and the keys that they take theirs from in turn."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.operations: list[tuple[str, int, list[str | float | msgspec.Raw]]] = []

    def add(self, operation: Operation) -> None:
        letter, names, arguments = operation
        self.keys += names
        words = [_text(each) if isinstance(each, bytes) else each for each in arguments]
        self.operations.append((letter, len(names), words))


def _text(value: bytes) -> msgspec.Raw:
    """Bytes as msgpack may say them to Lua: as a text, which there may hold any."""
    return msgspec.Raw(_TEXT + len(value).to_bytes(4, "big") + value)


def _texts(marks: Iterable[Mark | None]) -> list[str]:
    return ["" if mark is None else str(mark) for mark in marks]


def _later(stored: Mark | None, mark: Mark) -> Mark:
    if stored is not None and stored.log == mark.log and stored.offset > mark.offset:
        return stored
    return mark
