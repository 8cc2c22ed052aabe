"""When a worker stands still."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.clock import Awake
from runtime.progress import ANSWER_FACTOR, Limits, Progress, Seen, Stage, judge

LIMITS = Limits(stall=30.0, joining=60.0)


def seen(
    moved_at: float, *, stage: Stage = "fetching", moves: int = 1, refused_at: float | None = None
) -> Seen:
    return Seen(
        partition=3,
        stage=stage,
        stage_since=moved_at,
        moved_at=moved_at,
        moves=moves,
        refusal=None if refused_at is None else "OOM",
        refused_at=refused_at or 0.0,
    )


def test_a_partition_without_progress_is_a_stall_after_the_limit() -> None:
    """Not before it; the verdict names partition and stage."""
    assert judge([seen(0.0)], None, 30.0, LIMITS) is None
    stall = judge([seen(0.0, stage="handling"), seen(25.0)], None, 31.0, LIMITS)

    assert stall is not None
    assert "no progress for 31 s on partition 3 (handling)" == stall.reason


def test_one_partition_that_moves_does_not_excuse_another() -> None:
    """Its users are not scored, whatever becomes of the others'."""
    stall = judge([seen(100.0), seen(0.0)], None, 100.0, LIMITS)
    assert stall is not None
    assert (seen(0.0),) == stall.partitions


def test_whoever_waits_for_a_person_does_not_stand_still() -> None:
    """A restart would find the partition held again."""
    assert judge([seen(0.0, stage="held")], None, 1e6, LIMITS) is None


def test_a_refusing_dependency_is_waited_for_longer_but_not_for_ever() -> None:
    """The client that hears the refusals may be what is broken."""
    now = 30.0 * ANSWER_FACTOR
    assert judge([seen(0.0, refused_at=now - 1)], None, now, LIMITS) is None
    assert judge([seen(0.0, refused_at=now)], None, now + 1, LIMITS) is not None


def test_a_refusal_of_long_ago_excuses_nothing() -> None:
    """Whoever retries hears one again every few seconds."""
    assert judge([seen(0.0, refused_at=10.0)], None, 41.0, LIMITS) is not None


def test_time_in_which_a_dependency_was_away_does_not_count() -> None:
    """Neither for partitions nor for joining."""
    assert judge([seen(0.0)], 0.0, 1_000.0, LIMITS, excused_until=980.0) is None
    assert judge([seen(0.0)], None, 1_011.0, LIMITS, excused_until=980.0) is not None


def test_a_rebalance_may_take_longer_than_a_batch() -> None:
    """It lasts as long as its slowest member may take."""
    assert judge([], 0.0, 60.0, LIMITS) is None
    assert judge([], 0.0, 61.0, LIMITS) is not None
    assert judge([], None, 1e6, LIMITS) is None


def test_a_stall_had_got_on_only_if_all_that_stands_still_had_moved() -> None:
    """A record that hangs its handler each time is not cured by starting again."""
    first = judge([seen(0.0, moves=4), seen(0.0, moves=0)], None, 31.0, LIMITS)
    second = judge([seen(0.0, moves=4)], None, 31.0, LIMITS)

    assert first is not None
    assert second is not None
    assert (False, True) == (first.got_on, second.got_on)


@given(st.lists(st.floats(0, 1e6)), st.floats(0, 1e6))
def test_what_moved_within_the_limit_is_never_a_stall(ages: list[float], now: float) -> None:
    """Whatever else is known of it."""
    partitions = [seen(now - min(age, LIMITS.stall)) for age in ages]
    assert judge(partitions, None, now, Limits(LIMITS.stall + 1e-6, 60)) is None


def test_progress_forgets_the_refusal_and_a_stage_keeps_its_beginning() -> None:
    """What the log tells of a partition."""
    moments = iter([0.0, 1.0, 2.0, 3.0])
    progress = Progress(3, lambda: next(moments))
    progress.enters("handling")  # 1.0
    progress.enters("handling")
    progress.is_refused("OOM")  # 2.0
    before = progress.seen()
    progress.moves()  # 3.0

    assert ("handling", 1.0, 0.0, "OOM", 2.0) == (
        before.stage, before.stage_since, before.moved_at, before.refusal, before.refused_at,
    )  # fmt: skip
    assert (3.0, 1, None) == (
        progress.seen().moved_at, progress.seen().moves, progress.seen().refusal,
    )  # fmt: skip


def test_a_suspended_process_was_not_awake() -> None:
    """An hour between two ticks counts as seconds: nobody stood still meanwhile."""
    moments = iter([0.0, 1.0, 2.0, 3_602.0, 3_603.0])
    awake = Awake(lambda: next(moments))
    for _ in range(4):
        awake.tick()

    assert 1 + 1 + 3 + 1 == awake.now()
