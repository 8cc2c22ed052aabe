"""How far the effects of topics have come, for people: read without being one of the workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from contracts.partition import SHARDS
from runtime import generations, keys
from runtime.ledger import Mark
from runtime.redis_errors import redis_errors
from runtime.store import text


@dataclass(frozen=True, slots=True)
class Watermark:
    """One partition."""

    log: int
    """Ebbtide's number of the topic's incarnation."""
    offset: int
    """Up to here every shard holds all effects."""
    clock_ms: int
    """How far time had come at the last save, 0 for unknown."""


async def of(redis: Redis, topic: str, ledger: str = "") -> dict[int, Watermark]:
    """By partition, of the generation that serves; none where nothing was ever saved.

    ledger: the name the watermarks are kept under, the topic's own where empty. Raises
    StoreUnavailable.
    """
    name = ledger or topic
    generation = await generations.current(redis, topic)
    with redis_errors("reading watermarks"):
        fields = await redis.hkeys(keys.marks(0, name, generation))
        numbers = sorted(int(text(each)) for each in fields if each.isdigit())
        if not numbers:
            return {}
        wanted = [str(number) for number in numbers] + [f"clock:{number}" for number in numbers]
        async with redis.pipeline(transaction=False) as pipe:
            for shard in range(SHARDS):
                pipe.hmget(keys.marks(shard, name, generation), wanted)
            answers: list[list[bytes | None]] = await pipe.execute()
    found = {}
    for place, number in enumerate(numbers):
        stored = [answer[place] for answer in answers]
        marks = [Mark.parse(each.decode()) for each in stored if each]
        newest = max(mark.log for mark in marks)
        clocks = [int(answer[place + len(numbers)] or 0) for answer in answers]
        # A shard without a mark in the newest log has all of it before itself.
        behind = len(marks) < SHARDS or any(mark.log < newest for mark in marks)
        offset = 0 if behind else min(mark.offset for mark in marks)
        found[number] = Watermark(newest, offset, min(clocks))
    return found


async def log_number(redis: Redis, topic: str, topic_id: str) -> int | None:
    """Ebbtide's number of an incarnation, None before a worker met it; raises StoreUnavailable."""
    generation = await generations.current(redis, topic)
    with redis_errors("looking up the log"):
        number = await redis.hget(keys.log(topic, generation), f"id:{topic_id}")
    return None if number is None else int(number)


@dataclass(frozen=True, slots=True)
class Timers:
    """The timers of one kind, of all users."""

    waiting: int
    earliest: dict[int, int]
    """By partition that has any, epoch ms: when the first of them is, or was, due."""


async def silence_timers(redis: Redis, topic: str, partitions: int) -> Timers:
    """Those of the generation that serves; raises StoreUnavailable."""
    generation = await generations.current(redis, topic)
    return await _timers(
        redis, partitions, lambda shard, number: keys.timers(shard, number, generation)
    )


async def alert_timers(redis: Redis, partitions: int) -> Timers:
    """Of alert episodes; raises StoreUnavailable."""
    return await _timers(redis, partitions, keys.alert_timers)


async def _timers(redis: Redis, partitions: int, key: Callable[[int, int], str]) -> Timers:
    places = [(shard, number) for number in range(partitions) for shard in range(SHARDS)]
    with redis_errors("looking at the timers"):
        async with redis.pipeline(transaction=False) as pipe:
            for place in places:
                pipe.zcard(key(*place))
                pipe.zrange(key(*place), 0, 0, withscores=True)
            answers: list[Any] = await pipe.execute()
    earliest: dict[int, int] = {}
    for (_, number), entry in zip(places, answers[1::2], strict=True):
        if entry:
            due = int(entry[0][1])
            earliest[number] = min(due, earliest.get(number, due))
    return Timers(sum(answers[::2]), earliest)


async def held(redis: Redis, topic: str) -> dict[int, Mark]:
    """Partitions that wait for a person, and where; raises StoreUnavailable."""
    with redis_errors("looking for held partitions"):
        members = await redis.zrange(keys.held(topic), 0, -1)
    places = [text(cast("bytes", member)).split("@") for member in members]
    return {int(number): Mark.parse(mark) for number, mark in places}
