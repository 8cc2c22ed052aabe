"""Users drawn at random from all that have a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from redis.asyncio import Redis

from contracts.topics import ACTIVITY
from runtime import keys
from runtime.generations import Reader
from runtime.redis_errors import redis_errors
from runtime.store import text


@dataclass(frozen=True, slots=True)
class Drawn:
    """A simple random sample: every set of so many users was as likely."""

    population: int
    user_ids: Sequence[str]


async def draw(redis: Redis, count: int, rng: np.random.Generator) -> Drawn:
    """Up to `count` users, each at most once; raises StoreUnavailable.

    Costs Redis as much as there are users drawn, not as there are users.
    """
    reader = Reader(redis, ACTIVITY)
    with redis_errors("counting users"):
        sizes = await reader.answers(
            lambda pipe, shard, generation: pipe.zcard(keys.rank(shard, generation))
        )
    population = sum(sizes)
    if not population:
        return Drawn(0, ())
    # So many of each shard as a draw from all of them at once would have had.
    shares = rng.multivariate_hypergeometric(sizes, min(count, population))
    with redis_errors("drawing users"):
        drawn = await reader.answers(
            lambda pipe, shard, generation: pipe.zrandmember(
                keys.rank(shard, generation), int(shares[shard])
            )
        )
    return Drawn(population, [text(user) for answer in drawn for user in answer or ()])
