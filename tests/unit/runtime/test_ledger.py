"""Marks as values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.partition import SHARDS
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
