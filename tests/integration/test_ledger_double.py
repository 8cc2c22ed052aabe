"""The in-memory ledger and the script in a real Redis do the same."""

from __future__ import annotations

from random import Random
from typing import cast

from contracts.errors import Refused
from contracts.partition import SHARDS
from runtime import keys
from runtime.ledger import Effects, Ledger, Mark, Marks, RedisLedger
from runtime.store import connect, text
from runtime.testing import FakeLedger, FakeRedis
from tests.servers import RedisServer

TOPIC = "things"
TAG = "ebb:{03}:"

Pairs = list[tuple[bytes, float]]


def some_effects(random: Random) -> Effects:
    """Any mix of operations on a few keys of each type."""
    effects = Effects()
    for _ in range(random.randrange(8)):
        string, ranked = f"{TAG}s{random.randrange(3)}", f"{TAG}z{random.randrange(3)}"
        match random.randrange(6):
            case 0:
                effects.put(string, random.randbytes(4))
            case 1:
                effects.put(string, random.randbytes(4), random.choice([10**8, 10**9]))
            case 2:
                effects.delete(random.choice([string, ranked]))
            case 3 | 4:
                score = random.choice([None, 0.0, 1.5, 2.0**53, 1_700_000_000_123.0])
                effects.index(ranked, random.choice("abcdé"), score)
            case 5:
                effects.keep_highest(ranked, random.randrange(3))
    if random.random() < 0.5:
        effects.arrived = {random.randrange(SHARDS): {"topic": {3: random.randrange(99)}}}
    return effects


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
    names = [f"{TAG}s{number}" for number in range(3)]
    strings = {name: v for name in names if (v := await redis.get(name)) is not None}
    assert fake_redis.state.strings == strings
    lasting = {k for k in strings if await redis.pttl(k) > 0}
    assert set(fake_redis.state.lifetimes_ms) == lasting
    for name in (f"{TAG}z{n}" for n in range(3)):
        ranked = cast("Pairs", await redis.zrange(name, 0, -1, withscores=True))
        twin = await fake_redis.zrange(name, 0, -1, withscores=True)
        assert [tuple(entry) for entry in twin] == [tuple(entry) for entry in ranked]
    stored = {text(k): v for k, v in (await redis.hgetall(keys.marks(7, TOPIC))).items()}
    assert fake_redis.state.hashes[keys.marks(7, TOPIC)] == stored
    await redis.aclose()
