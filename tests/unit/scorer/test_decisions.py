"""What fresh facts mean for score and timer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import EVENT_ROW, ActivityEvent, LogPlace, row, tombstone_row
from contracts.record import CURVE_STALE, HAS_CURVE, blank_records
from contracts.times import BACKFILL_MS, DAY_MS, HOUR_MS, NEVER, SESSION_GAP_MS
from model.fold import fold
from scorer.decisions import Decisions, decide
from tests.unit.scorer.stand import NOON, RULES


def happened(before: np.ndarray, *events: tuple[dict[str, Any] | None, int]) -> Decisions:
    """Decide on one user's (fields or None for a tombstone, log time)s; updates the facts."""
    rows = np.array(
        [
            tombstone_row(LogPlace(1, 0, i, at))
            if fields is None
            else row(ActivityEvent(user_id="ada", **fields), LogPlace(1, 0, i, at), RULES)
            for i, (fields, at) in enumerate(events)
        ],
        EVENT_ROW,
    )
    user = np.zeros(len(rows), np.intp)
    after = fold(before["facts"], rows, user, RULES)
    decisions = decide(before, after, rows, user)
    before["facts"] = after
    before["outlook"]["due"] = decisions.due
    before["outlook"]["state"] = decisions.state
    return decisions


def known() -> np.ndarray:
    """A user seen at NOON whose silence is being watched."""
    record = blank_records(1)
    happened(record, ({"type": "page_view", "event_id": "first"}, NOON))
    record["outlook"]["due"] = NOON + 5 * DAY_MS
    record["outlook"]["state"] = HAS_CURVE
    return record


def told(decisions: Decisions) -> tuple[bool, int]:
    return bool(decisions.score_now[0]), int(decisions.due[0])


@given(st.integers(0, BACKFILL_MS))
def test_activity_is_scored_now_and_the_timer_goes_to_the_end_of_the_session(late: int) -> None:
    """Up to an hour after it occurred; the next score is always the later one."""
    record = known()
    log_time = NOON + DAY_MS
    event = {"type": "page_view", "occurred_at": log_time - late}

    decided = happened(record, (event, log_time))

    session_end = log_time - late + SESSION_GAP_MS
    assert (True, max(session_end, log_time + 1)) == told(decided)
    assert CURVE_STALE | HAS_CURVE == decided.state[0]


@given(st.integers(BACKFILL_MS + 1, 100 * DAY_MS))
def test_a_backfill_is_scored_an_hour_later(late: int) -> None:
    """One timer for a long backfill, and an earlier one that was pending stays."""
    record = blank_records(1)
    event = {"type": "page_view", "occurred_at": NOON - late}
    assert (False, NOON + HOUR_MS) == told(happened(record, (event, NOON)))

    event = {"type": "page_view", "occurred_at": NOON - late + 1}
    assert (False, NOON + HOUR_MS) == told(happened(record, (event, NOON + 1)))


def test_what_changes_nothing_moves_nothing() -> None:
    """A repeat, or an invoice that says nothing new of behaviour, leaves silence alone."""
    record = known()
    repeat = ({"type": "page_view", "event_id": "first"}, NOON + DAY_MS)

    decided = happened(record, repeat)

    assert (False, NOON + 5 * DAY_MS) == told(decided)
    assert HAS_CURVE == decided.state[0]


def test_a_cancellation_is_told_although_it_is_no_activity() -> None:
    """At once, and once."""
    record = known()
    cancelled = {"type": "subscription_cancelled"}
    assert told(happened(record, (cancelled, NOON + DAY_MS)))[0]
    assert not told(happened(record, (cancelled, NOON + 2 * DAY_MS)))[0]


@pytest.mark.parametrize("first", [[], [({"type": "page_view"}, NOON + DAY_MS)]])
def test_an_erased_user_has_neither_score_nor_timer(
    first: list[tuple[dict[str, Any] | None, int]],
) -> None:
    """Also when the batch held activity before the tombstone."""
    decided = happened(known(), *first, (None, NOON + DAY_MS))
    assert (True, False, NEVER) == (bool(decided.erased[0]), *told(decided))


def test_a_user_who_comes_back_after_erasure_starts_anew() -> None:
    """Later events count as those of a new user."""
    record = known()
    happened(record, (None, NOON + DAY_MS))
    decided = happened(record, ({"type": "login"}, NOON + 2 * DAY_MS))
    assert (False, True, NOON + 2 * DAY_MS + SESSION_GAP_MS) == (
        bool(decided.erased[0]),
        *told(decided),
    )


def test_users_of_a_batch_do_not_touch_each_other() -> None:
    """One's visit is not another's."""
    before = blank_records(2)
    rows = np.array(
        [
            row(ActivityEvent(user_id="a", type="login"), LogPlace(1, 0, 0, NOON), RULES),
            row(ActivityEvent(user_id="b", type="email_open"), LogPlace(1, 0, 1, NOON), RULES),
        ],
        EVENT_ROW,
    )
    user = np.array([0, 1])
    decided = decide(before, fold(before["facts"], rows, user, RULES), rows, user)
    assert [True, False] == decided.score_now.tolist()
    assert [NOON + SESSION_GAP_MS, NEVER] == decided.due.tolist()
