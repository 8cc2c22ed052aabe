"""The walk through the timers when a model is new."""

from __future__ import annotations

from contracts.partition import shard
from runtime import keys
from runtime.testing import FakeRedis
from runtime.timers import TimerIndex
from scorer.activation import Activation

USERS = sorted(f"user-{number}" for number in range(50))


async def store() -> FakeRedis:
    redis = FakeRedis()
    for user_id in USERS:
        await redis.zadd(keys.timers(shard(user_id), 3), {user_id: 1.0})
    return redis


def activation(redis: FakeRedis, version: str = "m2", partition: int = 3) -> Activation:
    return Activation(redis.client, partition, TimerIndex(redis.client, partition), version, 0)


async def walked(one: Activation) -> list[str]:
    users = []
    while await one.pending():
        users += await one.page()
    return users


async def test_everybody_with_a_timer_is_met_once() -> None:
    """And the model counts as active afterwards, also for the next owner of the partition."""
    redis = await store()
    one = activation(redis)

    assert USERS == sorted(await walked(one))
    assert not await one.pending()
    assert [] == await walked(activation(redis))


async def test_a_walk_cut_short_begins_again() -> None:
    """The model is noted at the end only, so that a crash leaves nobody out."""
    redis = await store()
    first = activation(redis)
    assert await first.pending()
    await first.page()

    assert USERS == sorted(await walked(activation(redis)))


async def test_models_and_partitions_are_apart() -> None:
    """Another version walks again, another partition has its own users."""
    redis = await store()
    await walked(activation(redis))

    assert USERS == sorted(await walked(activation(redis, "m3")))
    assert [] == await walked(activation(redis, "m3", partition=4))


async def test_without_a_walk_there_is_no_page() -> None:
    """Asked before it is known whether the model is new."""
    assert [] == await activation(await store()).page()
