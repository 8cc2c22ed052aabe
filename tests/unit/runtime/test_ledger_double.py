"""The in-memory ledger keeps the promises of the real one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Refused, StoreUnavailable
from contracts.partition import SHARDS
from runtime import keys
from runtime.ledger import Effects, Mark
from runtime.testing import FakeLedger, FakeRedis
from runtime.timers import TimerIndex

TOPIC = "things"


def ledger() -> FakeLedger:
    return FakeLedger(FakeRedis(), TOPIC)


async def test_a_save_moves_every_shard() -> None:
    """Marks start absent; after a save all shards hold the new one, other partitions none."""
    fake = ledger()
    before = await fake.marks(0)

    after = await fake.save(before, Mark(1, 5), 77, Effects())

    assert (None,) * SHARDS == before.stored
    assert (Mark(1, 5),) * SHARDS == after.stored == (await fake.marks(0)).stored
    assert (None,) * SHARDS == (await fake.marks(1)).stored
    assert {b"0": b"1:5", b"clock:0": b"77"} == await fake.redis.hgetall(keys.marks(0, TOPIC))


@pytest.mark.parametrize("shard", [0, 7, SHARDS - 1])
async def test_one_other_mark_refuses_everything(shard: int) -> None:
    """If a single shard holds another mark than expected, nothing at all is written."""
    fake = ledger()
    marks = await fake.save(await fake.marks(0), Mark(1, 5), 0, Effects())
    await fake.redis.hset(keys.marks(shard, TOPIC), "0", "1:4")
    before = fake.redis.backup()
    effects = Effects()
    effects.put("k", b"v")

    with pytest.raises(Refused):
        await fake.save(marks, Mark(1, 6), 0, effects)

    assert before == fake.redis.state


async def test_a_save_from_an_old_view_is_refused() -> None:
    """Of two owners that read the same marks, only the first writes."""
    fake = ledger()
    both = await fake.marks(0)
    await fake.save(both, Mark(1, 5), 0, Effects())

    with pytest.raises(Refused):
        await fake.save(both, Mark(1, 5), 0, Effects())


async def test_effects_are_applied_in_order() -> None:
    """Strings with and without lifetime, deletions, sorted sets and their trimming."""
    fake = ledger()
    effects = Effects()
    effects.put("short", b"1", 500)
    effects.put("long", b"1", 500)
    effects.put("long", b"2")
    effects.put("gone", b"1")
    effects.delete("gone")
    for member, score in [("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 2.0), ("b", 9.0)]:
        effects.index("z", member, score)
    effects.index("z", "a", None)
    effects.keep_highest("z", 2)

    await fake.save(await fake.marks(0), Mark(1, 1), 0, effects)

    state = fake.redis.state
    assert ({"short": b"1", "long": b"2"}, {"short": 500}) == (state.strings, state.lifetimes_ms)
    assert {"z": {b"b": 9.0, b"d": 2.0}} == state.zsets


async def test_keeping_more_than_there_is_keeps_all() -> None:
    """Trimming removes nothing from a smaller set, and an empty set is no key."""
    fake = ledger()
    effects = Effects()
    effects.index("z", "a", 1.0)
    effects.keep_highest("z", 2)
    effects.index("empty", "a", 1.0)
    effects.index("empty", "a", None)

    await fake.save(await fake.marks(0), Mark(1, 1), 0, effects)

    assert {"z": {b"a": 1.0}} == fake.redis.state.zsets


async def test_failures_strike_once_on_either_side_of_the_write() -> None:
    """`fails_before` leaves nothing written, `fails_after` everything."""
    fake = ledger()
    nothing = await fake.marks(0)
    fake.fails_before = StoreUnavailable("before")
    with pytest.raises(StoreUnavailable, match="before"):
        await fake.save(nothing, Mark(1, 1), 0, Effects())
    assert nothing == await fake.marks(0)

    fake.fails_after = StoreUnavailable("after")
    with pytest.raises(StoreUnavailable, match="after"):
        await fake.save(nothing, Mark(1, 1), 0, Effects())
    assert {Mark(1, 1)} == set((await fake.marks(0)).stored)


async def test_a_backup_is_what_it_was() -> None:
    """Restoring brings back marks and effects of the moment of the backup."""
    fake = ledger()
    effects = Effects()
    effects.put("k", b"1")
    marks = await fake.save(await fake.marks(0), Mark(1, 1), 0, effects)
    backup = fake.redis.backup()
    effects.put("k", b"2")
    await fake.save(marks, Mark(1, 2), 0, effects)

    fake.redis.restore(backup)

    assert b"1" == await fake.redis.get("k")
    assert marks == await fake.marks(0)


@given(st.dictionaries(st.text("ab\0é", max_size=3), st.integers(0, 50), max_size=30))
async def test_real_readers_run_on_the_double(due: dict[str, int]) -> None:
    """The timer index finds on a FakeRedis what a ledger's effects put there."""
    fake = ledger()
    effects = Effects()
    for user_id, moment in due.items():
        effects.index(keys.timers(0, 4), user_id, float(moment))
    await fake.save(await fake.marks(4), Mark(1, 1), 0, effects)
    index = TimerIndex(fake.redis.client, 4)

    found = await index.due(25, 100)

    assert {user: moment for user, moment in due.items() if moment <= 25} == dict(found)
    assert sorted(moment for _, moment in found) == [moment for _, moment in found]
    assert min(due.values(), default=None) == await index.earliest()
    assert sorted(due) == sorted([user async for page in index.users() for user in page])
