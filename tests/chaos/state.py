"""What the store holds of the generation that serves, read past every proxy."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from redis.asyncio import Redis

from contracts.deliveries import decode
from contracts.partition import SHARDS, shard
from contracts.topics import ACTIVITY
from runtime import keys
from runtime.generations import Reader, current
from runtime.ledger import Mark
from runtime.records import RecordStore
from runtime.store import mget, text
from tests.chaos.past import Kept

PAGE = 2_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a topic's effects are in the store."""

    marks: tuple[tuple[Mark | None, ...], ...]
    """By partition, by shard."""

    def reached(self, log: int, ends: dict[int, int]) -> bool:
        """Whether every shard holds what lies before these offsets of this log."""
        return all(
            mark is not None and (mark.log, mark.offset) >= (log, end)
            for partition, end in ends.items()
            if end > 0
            for mark in self.marks[partition]
        )


async def progress(redis: Redis, topic: str, partitions: int, ledger: str) -> Progress:
    """Read a topic's watermarks of that name; raises RedisError or OSError."""
    fields = [str(partition) for partition in range(partitions)]
    by_shard = await Reader(redis, topic).answers(
        lambda pipe, shard, generation: pipe.hmget(keys.marks(shard, ledger, generation), fields)
    )
    return Progress(
        tuple(
            tuple(None if row[p] is None else Mark.parse(text(row[p])) for row in by_shard)
            for p in range(partitions)
        )
    )


async def earliest_timer(redis: Redis, partitions: int) -> float:
    """When the next silence timer of all is due, infinity for none."""
    dues = [due for _, _, due in await _timers(redis, partitions, 0)]
    return min(dues, default=float("inf"))


async def timers(redis: Redis, partitions: int) -> dict[str, list[tuple[int, float]]]:
    """(partition, due) of each user in the index."""
    found: dict[str, list[tuple[int, float]]] = {}
    for partition, user_id, due in await _timers(redis, partitions, -1):
        found.setdefault(user_id, []).append((partition, due))
    return found


async def _timers(redis: Redis, partitions: int, last: int) -> list[tuple[int, str, float]]:
    """(partition, user, due) of each index's entries up to the `last`, earliest first."""
    found = []
    reader = Reader(redis, ACTIVITY)

    def ask(partition: int, pipe: Any, shard: int, generation: int) -> None:
        pipe.zrange(keys.timers(shard, partition, generation), 0, last, withscores=True)

    for partition in range(partitions):
        by_shard = await reader.answers(functools.partial(ask, partition))
        for entries in by_shard:
            found += [
                (partition, member.decode(), due)
                for member, due in cast("list[tuple[bytes, float]]", entries)
            ]
    return found


async def waiting_commands(redis: Redis, partitions: int) -> int:
    """Commands that were read from their log and not done."""
    async with redis.pipeline(transaction=False) as pipe:
        for shard in range(SHARDS):
            for partition in range(partitions):
                pipe.zcard(keys.commands(shard, partition))
        return sum(await pipe.execute())


async def waiting_deliveries(redis: Redis, channels: Collection[str]) -> int:
    """Deliveries that are not over."""
    async with redis.pipeline(transaction=False) as pipe:
        for shard in range(SHARDS):
            for channel in channels:
                pipe.zcard(keys.delivery_queue(shard, channel))
        return sum(await pipe.execute())


async def deliveries(redis: Redis, wanted: Collection[tuple[str, str]]) -> dict[str, str]:
    """State of each delivery that is there, by row id. wanted: (user, row id)."""
    found: dict[str, str] = {}
    ordered = sorted(wanted)
    for start in range(0, len(ordered), PAGE):
        page = ordered[start : start + PAGE]
        values = await mget(redis, [keys.delivery(shard(user), name) for user, name in page])
        for (_, name), value in zip(page, values, strict=True):
            if value is not None:
                found[name] = decode(value).state
    return found


async def records(redis: Redis) -> dict[str, np.void]:
    """(RECORD) of everybody the store knows, by user; raises StoreUnavailable."""
    generation = await current(redis, ACTIVITY)
    names = {
        keys.user_of(key)
        async for key in redis.scan_iter(match=keys.any_record(generation), count=PAGE)
    }
    users = sorted(names)
    found: dict[str, np.void] = {}
    for start in range(0, len(users), PAGE):
        page = users[start : start + PAGE]
        found |= zip(page, await RecordStore(redis, generation).load(page), strict=True)
    return found


async def kept(redis: Redis, partitions: int) -> Kept:
    """Everything the history service keeps; raises RedisError or OSError."""
    generation = await current(redis, ACTIVITY)
    trails = await _users_of(redis, "ebb:{??}:h:*", 3)
    lists = await _users_of(redis, f"ebb:{{??}}:{generation}:ev:*", 4)
    values: list[bytes | None] = []
    for start in range(0, len(trails), PAGE):
        values += await mget(redis, [keys.trail(user) for user in trails[start : start + PAGE]])
    hashes = [
        *(keys.population(partition) for partition in range(partitions)),
        *(
            keys.tally(shard, partition)
            for shard in range(SHARDS)
            for partition in range(partitions)
        ),
    ]
    async with redis.pipeline(transaction=False) as pipe:
        for user in lists:
            pipe.lrange(keys.timeline(user, generation), 0, -1)
        for name in hashes:
            pipe.hgetall(name)
        answers: list[Any] = await pipe.execute()
    return Kept(
        trails={u: value for u, value in zip(trails, values, strict=True) if value is not None},
        counts={
            name: {text(each): value for each, value in fields.items()}
            for name, fields in zip(hashes, answers[len(lists) :], strict=True)
            if fields
        },
        timelines=dict(zip(lists, answers, strict=False)),
    )


async def _users_of(redis: Redis, pattern: str, parts: int) -> list[str]:
    """The users who have a key of the pattern, who stand behind so many colons."""
    found = {
        key.split(b":", parts)[parts].decode()
        async for key in redis.scan_iter(match=pattern, count=PAGE)
    }
    return sorted(found)
