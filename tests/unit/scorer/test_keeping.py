"""What a save writes of users."""

from __future__ import annotations

import numpy as np

from contracts.partition import home, shard
from contracts.record import HAS_SCORE, blank_records
from contracts.times import NEVER
from contracts.topics import ACTIVITY
from runtime import keys
from runtime.ledger import Effects, Mark
from runtime.records import RecordStore
from runtime.testing import FakeLedger, FakeRedis
from scorer.keeping import keep

PARTITIONS = 3
GENERATION = 1


async def test_everybody_gets_their_own() -> None:
    """Record, timer, rank and worth of each of many users, of all shards and several partitions.

    Who has no score, or is gone, is in neither index; who has no money, not in that of worth.
    """
    users = [f"user é {number}" for number in range(200)]
    homes = [home(user_id, PARTITIONS) for user_id in users]
    records = blank_records(len(users))
    numbers = np.arange(len(users))
    records["facts"]["pages"] = numbers
    records["outlook"]["due"] = np.where(numbers % 7 == 0, NEVER, 1_000 + numbers)
    records["outlook"]["probability"] = 5_000 * numbers
    records["outlook"]["state"] = np.where(numbers % 5 == 0, 0, HAS_SCORE)
    records["facts"]["gaps"] = 2
    records["facts"]["value_cents"] = np.where(numbers % 2, 1_000 * numbers, 0)
    gone = numbers % 3 == 0
    redis = FakeRedis()
    ledger = FakeLedger(redis, ACTIVITY)
    for user_id in users:
        await redis.zadd(keys.rank(shard(user_id)), {user_id: 9.0})
    for user_id in users[1::2]:
        await redis.zadd(keys.worth(shard(user_id)), {user_id: 9.0})

    effects = Effects()
    keep(
        effects, users, records, generation=GENERATION, homes=homes, gone=gone, ttl_ms=77
    )  # fmt: skip
    await ledger.save(await ledger.marks(0), Mark(1, 1), 0, effects)

    assert records.tobytes() == (await RecordStore(redis.client).load(users)).tobytes()
    assert {keys.record(user_id): 77 for user_id in users} == redis.state.lifetimes_ms
    timers: dict[str, dict[bytes, float]] = {}
    ranks: dict[str, dict[bytes, float]] = {}
    for number, user_id in enumerate(users):
        if number % 7:
            of_home = keys.timers(shard(user_id), homes[number])
            timers.setdefault(of_home, {})[user_id.encode()] = 1_000.0 + number
        if number % 5 and number % 3:
            ranks.setdefault(keys.rank(shard(user_id)), {})[user_id.encode()] = number / 200
            if number % 2:
                worth = 5 * number**2
                ranks.setdefault(keys.worth(shard(user_id)), {})[user_id.encode()] = worth
    assert timers | ranks == redis.state.zsets


async def test_nobody_is_nothing() -> None:
    """No users, no operations."""
    effects = Effects()

    keep(
        effects, [], blank_records(0), generation=GENERATION, homes=[],
        gone=np.zeros(0, bool), ttl_ms=None,
    )  # fmt: skip

    assert [] == effects.operations
