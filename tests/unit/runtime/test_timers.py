"""The timer index over all shards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.partition import shard
from contracts.times import NEVER
from runtime import keys
from runtime.testing import FakeRedis
from runtime.timers import TimerIndex, index_score

users = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 99), max_size=40)


async def index_of(due: dict[str, int], partition: int = 2) -> TimerIndex:
    redis = FakeRedis()
    for user_id, moment in due.items():
        await redis.zadd(keys.timers(shard(user_id), partition), {user_id: moment})
    return TimerIndex(redis.client, partition)


@given(users, st.integers(-1, 100), st.integers(1, 50))
async def test_due_are_the_earliest_of_all_shards(
    due: dict[str, int], clock: int, limit: int
) -> None:
    """Sorted by due time over the shards, none later than the clock, no more than asked for."""
    found = await (await index_of(due)).due(clock, limit)

    late = sorted(moment for moment in due.values() if moment <= clock)
    assert late[:limit] == [moment for _, moment in found]
    assert all(due[user_id] == moment for user_id, moment in found)
    assert len(found) == len({user_id for user_id, _ in found})


@given(users)
async def test_the_earliest_is_of_any_shard(due: dict[str, int]) -> None:
    """None without timers; other partitions' timers are not ours."""
    index = await index_of(due)
    assert min(due.values(), default=None) == await index.earliest()
    assert None is await (await index_of(due, partition=3)).earliest() or due


@given(st.integers(0, 2**53))
def test_a_due_time_survives_its_score(due: int) -> None:
    """A sorted set keeps doubles; milliseconds fit. NEVER is no entry at all."""
    assert due == int(index_score(due) or 0)
    assert None is index_score(NEVER)
