"""State is read together with the watermarks it belongs to, for many partitions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from contracts.errors import Refused, StoreUnavailable
from contracts.partition import SHARDS
from contracts.topics import SCORES
from runtime import keys
from runtime.ledger import Effects, Mark
from runtime.testing import FakeLedger, FakeRedis
from runtime.unmoved import Unmoved

ADA, BOB, CY = (keys.episode(name) for name in ("ada", "bob", "cy"))


class Counting(FakeRedis):
    """Counts round trips of strings, and lets something happen right behind one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[list[str]] = []
        self.behind_next: Effects | None = None

    async def mget(self, names: Sequence[str]) -> list[bytes | None]:
        self.reads.append([name for name in names if name in (ADA, BOB, CY)])
        values = await super().mget(names)
        effects, self.behind_next = self.behind_next, None
        if effects is not None:
            ledger = FakeLedger(self, SCORES)
            await ledger.save(await ledger.marks(0), Mark(1, 9), 0, effects)
        return values


async def test_strings_come_in_order_and_what_is_not_there_is_none() -> None:
    """Of any shards, also where nothing was ever saved; no names are no strings."""
    redis = FakeRedis()
    await redis.set(ADA, b"a")
    await redis.set(CY, b"c")
    unmoved, marks = Unmoved(redis.client, SCORES), await FakeLedger(redis, SCORES).marks(0)

    assert [b"c", None, b"a"] == await unmoved.strings([CY, BOB, ADA], marks)
    assert [] == await unmoved.strings([], marks)


async def test_partitions_that_ask_at_once_are_read_for_together() -> None:
    """Each gets its own, and who lost its partition is refused alone."""
    redis = Counting()
    ledger, unmoved = FakeLedger(redis, SCORES), Unmoved(redis.client, SCORES)
    await redis.set(ADA, b"a")
    await redis.set(CY, b"c")
    marks = [await ledger.marks(partition) for partition in range(3)]
    marks[0] = await ledger.save(marks[0], Mark(1, 5), 0, Effects())
    await ledger.save(marks[1], Mark(1, 7), 0, Effects())  # another owner's
    redis.reads.clear()

    told = await asyncio.gather(
        *(
            unmoved.strings(names, known)
            for names, known in zip([[ADA, BOB], [BOB], [CY]], marks, strict=True)
        ),
        return_exceptions=True,
    )

    assert ([b"a", None], [b"c"]) == (told[0], told[2])
    assert isinstance(told[1], Refused)
    assert [[ADA, BOB, BOB, CY]] == redis.reads


async def test_marks_are_looked_at_behind_the_strings() -> None:
    """Who saves between the two is noticed, in whichever shard."""
    redis = Counting()
    ledger, unmoved = FakeLedger(redis, SCORES), Unmoved(redis.client, SCORES)
    marks = await ledger.marks(0)
    redis.behind_next = Effects()

    with pytest.raises(Refused):
        await unmoved.strings([ADA], marks)

    moved = await ledger.marks(0)
    assert [None] == await unmoved.strings([ADA], moved)
    await redis.hset(keys.marks(SHARDS - 1, SCORES), "0", "1:8")  # taken back
    with pytest.raises(Refused):
        await unmoved.strings([ADA], moved)


async def test_another_generation_is_refused_and_a_switch_is_waited_for() -> None:
    """Marks of a generation that serves no more say nothing, whatever they are."""
    redis = FakeRedis()
    ledger, unmoved = FakeLedger(redis, SCORES), Unmoved(redis.client, SCORES)
    old = await ledger.marks(0)
    await redis.set(keys.serving(3, SCORES), b"2")
    with pytest.raises(StoreUnavailable):
        await unmoved.strings([ADA], old)

    for shard in range(SHARDS):
        await redis.set(keys.serving(shard, SCORES), b"2")
    new = await ledger.marks(0)
    told = await asyncio.gather(
        unmoved.strings([ADA], old), unmoved.strings([BOB], new), return_exceptions=True
    )
    assert isinstance(told[0], Refused)
    assert [None] == told[1]
    with pytest.raises(Refused):
        await unmoved.strings([ADA], old)
