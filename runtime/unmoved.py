"""Reading state together with the watermarks it belongs to: one round trip for many partitions.

A save is refused where somebody else has moved the marks, but only after what follows from the
state was published. So the marks are looked at behind the state, before anything is: from state
that another owner has taken further, or that Redis has taken back, nothing follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

from redis.asyncio import Redis

from contracts.errors import Refused
from contracts.partition import SHARDS
from runtime import generations, keys
from runtime.ledger import Marks
from runtime.redis_errors import redis_errors
from runtime.store import mget, shard_groups
from runtime.together import Together

STRINGS_TOGETHER: Final = 1_000
"""Of partitions that are read for in one round trip."""

Strings = list[bytes | None]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What one partition asks for."""

    names: Sequence[str]
    marks: Marks

    def size(self) -> int:
        return len(self.names)


class Unmoved:
    """Reads strings for the partitions of one topic, and whether their marks have stayed."""

    def __init__(self, redis: Redis, topic: str) -> None:
        self._redis = redis
        self._topic = topic
        self._one_server = len(shard_groups(redis)) == 1
        self._serving = generations.names(topic)
        self._reads = Together(self._read, size=_Wanted.size, most=STRINGS_TOGETHER)

    async def strings(self, names: Sequence[str], marks: Marks) -> Strings:
        """The strings of any shards' keys, in order, read while these marks stood.

        Raises Refused when other marks are stored or another generation serves, StoreUnavailable.
        """
        return await self._reads.ask(_Wanted(names, marks))

    async def _read(self, asked: Sequence[_Wanted]) -> list[Strings | Exception]:
        names = [name for wanted in asked for name in wanted.names]
        partitions = [str(wanted.marks.partition) for wanted in asked]
        expected = sorted({wanted.marks.generation for wanted in asked})
        with redis_errors("reading what watermarks stand for"):
            # On one server commands are done in the order of the pipeline; those for a cluster go
            # to several nodes, and to others where slots have moved.
            values = [] if self._one_server else await mget(self._redis, names)
            async with self._redis.pipeline(transaction=False) as pipe:
                if self._one_server:
                    pipe.mget([*names, *self._serving])
                else:
                    for name in self._serving:
                        pipe.get(name)
                for generation in expected:
                    for shard in range(SHARDS):
                        pipe.hmget(keys.marks(shard, self._topic, generation), partitions)
                answers: list[Any] = await pipe.execute()
        if self._one_server:
            values, answers[:1] = answers[0][: len(names)], answers[0][len(names) :]
        serving = generations.agreed(self._topic, answers[: len(self._serving)])
        at = len(self._serving)
        stored = {
            generation: list(zip(*answers[at + SHARDS * i :][:SHARDS], strict=True))
            for i, generation in enumerate(expected)
        }
        bounds = pairwise(accumulate(map(_Wanted.size, asked), initial=0))
        return [
            values[begin:end]
            if wanted.marks.generation == serving and _texts(wanted.marks) == stored[serving][place]
            else Refused("the store holds other watermarks than we left there")
            for place, (wanted, (begin, end)) in enumerate(zip(asked, bounds, strict=True))
        ]


def _texts(marks: Marks) -> tuple[bytes | None, ...]:
    """The marks as they are stored."""
    return tuple(None if mark is None else str(mark).encode() for mark in marks.stored)
