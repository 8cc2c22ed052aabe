"""Which generation serves, and who may write and read it."""

from __future__ import annotations

import pytest

from contracts.errors import Refused, StoreUnavailable
from contracts.partition import SHARDS, shard
from contracts.topics import ACTIVITY
from runtime import generations, keys, switching
from runtime.generations import Reader
from runtime.ledger import Effects, Mark
from runtime.testing import FakeLedger, FakeRedis


async def serve(redis: FakeRedis, generation: int) -> None:
    for at in range(SHARDS):
        await redis.set(keys.serving(at, ACTIVITY), b"%d" % generation)


async def test_a_fresh_redis_serves_the_first() -> None:
    """Without any key."""
    redis = FakeRedis()

    assert keys.FIRST == await generations.current(redis.client, ACTIVITY)
    assert [keys.FIRST] * SHARDS == await generations.each_serving(redis.client, ACTIVITY)


async def test_shards_of_different_generations_are_waited_for() -> None:
    """A cluster switches shard after shard; the reason names what helps if it stays so."""
    redis = FakeRedis()
    await redis.set(keys.serving(3, ACTIVITY), b"2")

    with pytest.raises(StoreUnavailable, match=r"\[1, 2\].*ebbtide rebuild"):
        await generations.current(redis.client, ACTIVITY)


async def test_a_save_of_an_old_generation_is_refused() -> None:
    """Also under the hold just before the switch, in which the new one may save."""
    redis = FakeRedis()
    ledger = FakeLedger(redis, ACTIVITY)
    marks = await ledger.marks(0)
    await redis.set(keys.hold(5, ACTIVITY), b"2")
    with pytest.raises(Refused):
        await ledger.save(marks, Mark(1, 1), 0, Effects())

    await redis.delete(keys.hold(5, ACTIVITY))
    await serve(redis, 2)
    with pytest.raises(Refused):
        await ledger.save(marks, Mark(1, 1), 0, Effects())
    assert 0 == ledger.saves

    assert 2 == (await ledger.marks(0)).generation
    await ledger.save(await ledger.marks(0), Mark(1, 1), 0, Effects())


async def test_a_reader_follows_the_switch_and_a_writer_is_refused() -> None:
    """Nobody takes the emptied old generation for the truth."""
    redis = FakeRedis()
    reader, writer = Reader(redis.client, ACTIVITY), Reader(redis.client, ACTIVITY, only=1)
    await redis.set(keys.record("ada", 1), b"old")
    assert [b"old"] == await reader.strings(keys.record_prefix, ["ada"])
    assert [b"old"] == await writer.strings(keys.record_prefix, ["ada"])

    await serve(redis, 2)
    await redis.delete(keys.record("ada", 1))
    await redis.set(keys.record("ada", 2), b"new")
    await redis.zadd(keys.rank(shard("ada"), 2), {"ada": 0.5})

    assert [b"new"] == await reader.strings(keys.record_prefix, ["ada"])
    with pytest.raises(Refused, match="generation 2 serves, not 1"):
        await writer.strings(keys.record_prefix, ["ada"])
    ranks = await Reader(redis.client, ACTIVITY).answers(
        lambda pipe, at, generation: pipe.zrange(keys.rank(at, generation), 0, -1)
    )
    assert [b"ada"] == [member for answer in ranks for member in answer]


async def test_no_generation_is_claimed_twice() -> None:
    """Each is higher than all that serve or were ever claimed."""
    redis = FakeRedis()

    claimed = [await switching.claim(redis.client, ACTIVITY) for _ in range(3)]

    assert [2, 3, 4] == claimed
    await serve(redis, 9)
    assert 10 == await switching.claim(redis.client, ACTIVITY)
