"""Reading what a holdout's experiment has shown so far, over all partitions and shards."""

from __future__ import annotations

import msgspec
from redis.asyncio import Redis

from contracts.partition import SHARDS
from contracts.topics import SCORES
from contracts.trials import Sums, decode_sums, total
from runtime import keys
from runtime.redis_errors import redis_errors
from runtime.store import mget


async def read(redis: Redis) -> Sums:
    """All sums together; raises StoreUnavailable. Bounded by rules and days, not by users."""
    with redis_errors("reading what a holdout has shown"):
        partitions = int(await redis.hget(keys.log(SCORES), "partitions") or 0)
        names = [
            keys.trials(shard, partition)
            for partition in range(partitions)
            for shard in range(SHARDS)
        ]
        values = await mget(redis, names) if names else []
    sums: Sums = {}
    for value in values:
        try:
            sums = total(decode_sums(value).items(), sums) if value is not None else sums
        except msgspec.MsgspecError:
            continue  # of another release
    return sums
