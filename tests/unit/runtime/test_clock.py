"""The partition clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.times import NEVER
from runtime.clock import partition_clock

moments = st.integers(0, 2**42)


@given(st.one_of(moments, st.just(NEVER)))
def test_behind_the_log_time_stands_at_the_last_record(log_time: int) -> None:
    """While anything is unread, only what was folded says how late it is."""
    assert log_time == partition_clock(log_time=log_time, caught_up_at=None)


@given(moments, moments)
def test_caught_up_time_never_goes_back(log_time: int, caught_up_at: int) -> None:
    """The later of the two, and the moment of the fetch when no record was folded."""
    assert max(log_time, caught_up_at) == partition_clock(
        log_time=log_time, caught_up_at=caught_up_at
    )
    assert caught_up_at == partition_clock(log_time=NEVER, caught_up_at=caught_up_at)
