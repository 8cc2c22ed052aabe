"""Marks as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.partition import SHARDS
from runtime import ledger
from runtime.ledger import Effects, Mark, Marks
from runtime.testing import FakeLedger, FakeRedis

marks = st.builds(Mark, st.integers(1, 2**31), st.integers(0, 2**62))
stored = st.lists(
    st.none() | st.builds(Mark, st.integers(1, 3), st.integers(0, 50)), min_size=1, max_size=SHARDS
)


@given(marks)
def test_a_mark_survives_its_text(mark: Mark) -> None:
    """Redis holds "log:offset"."""
    assert mark == Mark.parse(str(mark))


@given(stored, st.integers(1, 3), st.integers(0, 10))
def test_reading_starts_at_the_lowest_mark_of_the_log(
    shards: list[Mark | None], log: int, beginning: int
) -> None:
    """A shard without a mark in this very log starts at its beginning."""
    of_partition = Marks(0, tuple(shards))
    offsets = [m.offset if m is not None and m.log == log else beginning for m in shards]

    assert min(offsets) == of_partition.start(log, beginning)
    assert offsets == [of_partition.next_offset(i, log, beginning) for i in range(len(shards))]


@given(stored)
def test_the_newest_log_is_the_highest_number(shards: list[Mark | None]) -> None:
    """0 where nothing was ever saved."""
    numbers = [m.log for m in shards if m is not None]
    assert max(numbers, default=0) == Marks(0, tuple(shards)).newest_log()


@given(stored, st.builds(Mark, st.integers(1, 3), st.integers(0, 50)))
def test_moving_never_takes_a_shard_back(shards: list[Mark | None], mark: Mark) -> None:
    """Every shard is at the new mark, unless it already was further along in the same log."""
    moved = Marks(3, tuple(shards)).moved_to(mark)

    assert (3, len(shards)) == (moved.partition, len(moved.stored))
    for before, after in zip(shards, moved.stored, strict=True):
        ahead = before is not None and before.log == mark.log and before.offset > mark.offset
        assert (before if ahead else mark) == after


async def test_marks_carry_the_clock_they_were_saved_with() -> None:
    """The earliest of the shards' clocks, 0 as long as one has none."""
    ledger = FakeLedger(FakeRedis(), "things")
    assert 0 == (await ledger.marks(0)).clock_ms

    await ledger.save(await ledger.marks(0), Mark(1, 1), 77, Effects())

    assert 77 == (await ledger.marks(0)).clock_ms
    assert 0 == (await ledger.marks(1)).clock_ms


async def test_many_at_once_come_to_what_each_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many an operation takes: strings with and without lifetimes, entries in and out."""
    monkeypatch.setattr(ledger, "AT_ONCE", 2)
    names = [f"ebb:{{03}}:{number}" for number in range(5)]
    scores = [1.5, None, 2.5, None, None]
    together, apart = Effects(), Effects()
    for ttl_ms in (None, 10):
        together.put_all(names[:ttl_ms], [name.encode() for name in names[:ttl_ms]], ttl_ms)
    together.index_all("ebb:{03}:z", names, [0.0] * 5)
    together.index_all("ebb:{03}:z", names, scores)
    for ttl_ms in (None, 10):
        for name in names[:ttl_ms]:
            apart.put(name, name.encode(), ttl_ms)
    for given_scores in ([0.0] * 5, scores):
        for name, score in zip(names, given_scores, strict=True):
            apart.index("ebb:{03}:z", name, score)

    states = []
    for effects in (together, apart):
        redis = FakeRedis()
        fake = FakeLedger(redis, "things")
        await fake.save(await fake.marks(0), Mark(1, 1), 0, effects)
        states.append(redis.state)

    assert states[0] == states[1]
    assert {b"ebb:{03}:0": 1.5, b"ebb:{03}:2": 2.5} == states[0].zsets["ebb:{03}:z"]
    assert all(len(arguments) <= 4 for _, _, arguments in together.operations)
