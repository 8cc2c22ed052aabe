"""Which generation of the records serves, for those who write it and for those who read it.

A rebuild makes the next generation beside the one that serves and then changes one key per shard
(`keys.serving`). A worker's save is refused from then on (`save.lua`); readers look at that key
together with what they read, so that nobody takes the emptied old generation for the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from contracts.errors import Refused, StoreUnavailable
from contracts.partition import SHARDS
from contracts.partition import shard as shard_of
from runtime import keys
from runtime.redis_errors import redis_errors
from runtime.store import mget

Ask = Callable[[Any, int, int], object]
"""Puts one command into a pipeline, given the shard and its generation."""

ServingKey = Callable[[int, str], str]
"""(shard, topic) to the key that names its generation."""


def number(stored: bytes | None) -> int:
    """The generation a stored value names."""
    return keys.FIRST if stored is None else int(stored)


async def each_serving(redis: Redis, topic: str) -> list[int]:
    """The generation each shard serves; raises StoreUnavailable."""
    with redis_errors("reading the generation"):
        values = await mget(redis, [keys.serving(shard, topic) for shard in range(SHARDS)])
    return [number(value) for value in values]


async def current(redis: Redis, topic: str, serving: ServingKey = keys.serving) -> int:
    """The generation to work on; raises StoreUnavailable while shards are switched to another."""
    with redis_errors("reading the generation"):
        return agreed(topic, await mget(redis, names(topic, serving)))


def names(topic: str, serving: ServingKey = keys.serving) -> list[str]:
    """The keys whose values `agreed` judges."""
    return [make(shard, topic) for make in (serving, keys.hold) for shard in range(SHARDS)]


def agreed(topic: str, values: Sequence[bytes | None]) -> int:
    """The generation to work on; raises StoreUnavailable while shards are switched to another."""
    generations = {number(value) for value in values[:SHARDS]}
    takes_over = {number(value) for value in values[SHARDS:] if value is not None}
    if len(generations) > 1:
        raise StoreUnavailable(
            f"the shards of {topic} serve different generations {sorted(generations)}: a rebuild "
            "is about to end, or was killed just then; if this stays, run `ebbtide rebuild` again"
        )
    if takes_over - generations:
        taking = max(takes_over)
        raise StoreUnavailable(f"a rebuild is about to end: generation {taking} takes over")
    return generations.pop()


class Reader:
    """Asks for what the generations that serve hold, and follows them when they change.

    `only`: the one generation to read; Refused is raised when another serves.
    """

    def __init__(self, redis: Redis, topic: str, only: int | None = None) -> None:
        self._redis = redis
        self._topic = topic
        self._only = only
        self._known = [only or keys.FIRST] * SHARDS

    async def strings(
        self, prefix: Callable[[int, int], str], user_ids: Sequence[str]
    ) -> list[bytes | None]:
        """The string each user has, whose key is a prefix of shard and generation, and the user."""
        shards = [shard_of(user_id) for user_id in user_ids]
        involved = sorted(set(shards))
        serving = [keys.serving(shard, self._topic) for shard in involved]
        while True:
            before = [prefix(shard, known) for shard, known in enumerate(self._known)]
            wanted = [before[at] + user_id for user_id, at in zip(user_ids, shards, strict=True)]
            values = await mget(self._redis, wanted + serving)
            if self._still(involved, values[len(wanted) :]):
                return values[: len(wanted)]

    async def answers(self, ask: Ask, shards: Sequence[int] = range(SHARDS)) -> list[Any]:
        """The answers of some shards to one command each."""
        return await self.to_each([(shard, ask) for shard in shards])

    async def to_each(self, asked: Sequence[tuple[int, Ask]]) -> list[Any]:
        """The answers to commands, each of them to a shard."""
        involved = sorted({shard for shard, _ in asked})
        while True:
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard, ask in asked:
                    ask(pipe, shard, self._known[shard])
                # Behind what is read: a generation that serves now has served until now.
                for shard in involved:
                    pipe.get(keys.serving(shard, self._topic))
                answers = await pipe.execute()
            if self._still(involved, answers[len(asked) :]):
                return answers[: len(asked)]

    def _still(self, shards: Sequence[int], stored: Sequence[bytes | None]) -> bool:
        """Whether what was asked is what serves; raises Refused where it has to be."""
        serving = [number(value) for value in stored]
        if serving == [self._known[shard] for shard in shards]:
            return True
        if self._only is not None:
            raise Refused(f"generation {max(serving)} serves, not {self._only}")
        for shard, generation in zip(shards, serving, strict=True):
            self._known[shard] = generation
        return False
