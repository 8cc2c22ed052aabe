"""The in-memory ledger and the script in a real Redis do the same."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from redis.asyncio import Redis

from contracts.errors import Refused
from contracts.partition import SHARDS
from runtime import keys
from runtime.ledger import AT_ONCE, Effects, Ledger, Mark, Marks, RedisLedger
from runtime.store import connect, text
from runtime.testing import FakeLedger, FakeRedis
from tests.servers import RedisServer

TOPIC = "things"
TAG = "ebb:{03}:"


def some_effects(random: Random) -> Effects:
    """Any mix of operations on a few keys of each type."""
    effects = Effects()
    for _ in range(random.randrange(8)):
        string, ranked = f"{TAG}s{random.randrange(3)}", f"{TAG}z{random.randrange(3)}"
        listed = f"{TAG}l{random.randrange(2)}"
        match random.randrange(9):
            case 8:
                values = [random.randbytes(2) for _ in range(random.randrange(1, 4))]
                effects.append(listed, values, keep=4, ttl_ms=random.choice([10**8, 10**9]))
            case 0:
                effects.put(string, random.randbytes(4))
            case 1:
                effects.put(string, random.randbytes(4), random.choice([10**8, 10**9]))
            case 2:
                effects.delete(random.choice([string, ranked, listed]))
            case 3 | 4:
                score = random.choice([None, 0.0, 1.5, 2.0**53, 1_700_000_000_123.0])
                effects.index(ranked, random.choice("abcdé"), score)
            case 5:
                effects.keep_highest(ranked, random.randrange(3))
            case 6:
                names = [f"{TAG}s{number}" for number in random.sample(range(3), 2)]
                ttl_ms = random.choice([None, 10**8])
                effects.put_all(names, [random.randbytes(4) for _ in names], ttl_ms)
            case 7:
                members = random.sample("abcdé", 3)
                effects.index_all(ranked, members, [random.choice([None, 1.5]) for _ in members])
    if random.random() < 0.5:
        effects.arrived = {random.randrange(SHARDS): {"topic": {3: random.randrange(99)}}}
    return effects


async def contents(redis: Redis) -> tuple[dict[str, bytes], list[list[Any]], list[list[bytes]]]:
    """The strings, sorted sets and lists that `some_effects` writes."""
    names = [f"{TAG}s{number}" for number in range(3)]
    strings = {name: v for name in names if isinstance(v := await redis.get(name), bytes)}
    ranked = [await entries(redis, f"{TAG}z{number}") for number in range(3)]
    lists = [await redis.lrange(f"{TAG}l{number}", 0, -1) for number in range(2)]
    return strings, ranked, lists


async def entries(redis: Redis, name: str) -> list[Any]:
    return [tuple(entry) for entry in await redis.zrange(name, 0, -1, withscores=True)]


async def answer(ledger: Ledger, expected: Marks, to: Mark, effects: Effects) -> Marks | str:
    try:
        return await ledger.save(expected, to, to.offset, effects)
    except Refused:
        return "refused"


async def test_both_ledgers_do_the_same(clean_redis: RedisServer) -> None:
    """Over 200 saves, a third of them from an old view, answers, marks and contents are equal."""
    random = Random(4)
    redis = connect(clean_redis.url)
    fake_redis = FakeRedis()
    real, fake = RedisLedger(redis, TOPIC), FakeLedger(fake_redis, TOPIC)
    views = [await fake.marks(0)]
    refused = 0
    for offset in range(200):
        expected = views[-1] if random.random() < 0.7 else random.choice(views)
        effects, to = some_effects(random), Mark(1, offset)

        outcome = await answer(fake, expected, to, effects)

        assert outcome == await answer(real, expected, to, effects)
        assert await fake.marks(0) == await real.marks(0)
        if isinstance(outcome, Marks):
            views.append(outcome)
        refused += outcome == "refused"

    assert 20 < refused < 100
    strings, ranked, lists = await contents(redis)
    assert (strings, ranked, lists) == await contents(fake_redis.client)
    assert any(lists)
    names = [*strings, *(f"{TAG}l{number}" for number in range(2))]
    lasting = {name for name in names if await redis.pttl(name) > 0}
    assert set(fake_redis.state.lifetimes_ms) == lasting
    stored = {text(k): v for k, v in (await redis.hgetall(keys.marks(7, TOPIC))).items()}
    assert fake_redis.state.hashes[keys.marks(7, TOPIC)] == stored
    await redis.aclose()


async def test_a_save_may_be_as_large_as_it_likes(clean_redis: RedisServer) -> None:
    """Many thousand users of one shard, more than a script can name at once, are all written."""
    redis = connect(clean_redis.url)
    ledger = RedisLedger(redis, TOPIC)
    numbers = range(9 * AT_ONCE + 1)
    effects = Effects()
    values = [b"\xff%d" % number for number in numbers]
    effects.put_all([f"{TAG}{number}" for number in numbers], values)
    effects.put_all([f"{TAG}{number}" for number in numbers if number % 2], values[1::2], 10**8)
    effects.index_all(
        f"{TAG}z", [f"user {number}" for number in numbers], [float(n) for n in numbers]
    )
    effects.index_all(f"{TAG}z", [f"user {n}" for n in numbers if n], [None] * (len(numbers) - 1))

    marks = await ledger.save(await ledger.marks(0), Mark(1, 1), 0, effects)

    assert marks == await ledger.marks(0)
    assert values == await redis.mget([f"{TAG}{number}" for number in numbers])
    assert [-1, True] == [await redis.pttl(f"{TAG}8"), await redis.pttl(f"{TAG}9") > 0]
    assert [(b"user 0", 0.0)] == await entries(redis, f"{TAG}z")
    await redis.aclose()


async def test_partitions_that_save_at_once_share_a_script_and_no_refusal(
    clean_redis: RedisServer,
) -> None:
    """Who comes from an old view is refused alone; of two about one partition the first counts."""
    redis = connect(clean_redis.url)
    ledger = RedisLedger(redis, TOPIC)
    views = [await ledger.marks(partition) for partition in range(3)]
    current = await ledger.save(views[1], Mark(1, 5), 0, Effects())
    before = await calls_of_scripts(redis)

    told = await asyncio.gather(
        *(
            answer(ledger, expected, Mark(1, offset), writing(f"{TAG}s{offset}"))
            for expected, offset in [
                (views[0], 10), (views[1], 20), (views[2], 30), (current, 40), (current, 50),
            ]
        )
    )  # fmt: skip

    assert 1 == await calls_of_scripts(redis) - before
    assert ["refused", "refused"] == [told[1], told[4]]
    stored = [await ledger.marks(partition) for partition in range(3)]
    moved_to = [outcome for outcome in told if isinstance(outcome, Marks)]
    moved_to = [moved_to[at] for at in (0, 2, 1)]
    assert all(known.like(moved) for known, moved in zip(stored, moved_to, strict=True))
    written = await redis.mget([f"{TAG}s{offset}" for offset in (10, 20, 30, 40, 50)])
    assert [b"x", None, b"x", b"x", None] == written
    assert [10, 40, 30] == [known.clock_ms for known in stored]
    await redis.aclose()


def writing(key: str) -> Effects:
    effects = Effects()
    effects.put(key, b"x")
    return effects


async def calls_of_scripts(redis: Redis) -> int:
    """How many scripts the server has run."""
    told = await redis.info("commandstats")
    return sum(told.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))
