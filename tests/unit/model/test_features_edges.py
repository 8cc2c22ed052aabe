"""Features and silence at their edges: parts of days, great totals, the ends of ladder and grid."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.events import SNAPSHOT
from contracts.record import LEVELS, LOGGED_OUT, NO_CROSSING, blank_facts
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, NEVER, SESSION_GAP_MS
from model.features import features, missing, predict_inputs
from model.silence import (
    at_risk_at,
    crossing_times,
    crossings,
    next_due,
    patience,
    silence_curve,
    value_at,
)
from tests.unit.model.test_features import NOON, event, facts_after, view

LADDER = np.linspace(0.1, 0.85, LEVELS)


class ScriptedModel:
    """Risk by hours of silence as written down; 0.0 at hours that are not in the script."""

    levels = LADDER
    grid_hours = np.array([1, 2, 3, 4])

    def __init__(self, script: dict[float, float]) -> None:
        self._script = script

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        hours = (as_of - facts["last_seen"]) / HOUR_MS
        return np.array([self._script.get(hour, 0.0) for hour in hours.tolist()])


def curve_of(script: dict[float, float]) -> list[int]:
    return silence_curve(ScriptedModel(script), facts_after(event(NOON)))[0].tolist()


def test_parts_of_a_day_count():
    """
    Silence and decay go on smoothly: a day and a half is not a day.
    """
    seen = view(facts_after(event(NOON)), NOON + 36 * HOUR_MS)

    assert 1.5 == seen["silent_days"]
    assert 2**-0.5 == pytest.approx(seen["recent_days_3d"])
    assert 2 ** (-1.5 / 14) == pytest.approx(seen["recent_events_14d"])


def test_the_last_hour_has_minutes():
    """
    Half past twelve is 12.5.
    """
    assert 12.5 == view(facts_after(event(NOON + 30 * MINUTE_MS)), NOON + DAY_MS)["last_hour"]


def test_totals_beyond_one_counter_add_up():
    """
    Base and counted are each up to 2**32 - 1; their sum is not cut off.
    """
    facts = facts_after(event(NOON))
    facts["pages"] = facts["pages_base"] = facts["seconds"] = facts["seconds_base"] = 2**32 - 1

    assert 2 * (2**32 - 1) == view(facts, NOON)["pages_visited"]
    assert 2 * (2**32 - 1) / 60 == view(facts, NOON)["time_spent"]


def test_gaps_are_told_in_doublings():
    """
    After gaps of one and sixteen hours the last was two doublings longer than the usual four.
    """
    times = [NOON, NOON + HOUR_MS, NOON + 17 * HOUR_MS]
    visits = [event(time, id=i + 1) for i, time in enumerate(times)]

    seen = view(facts_after(*visits), NOON + 2 * DAY_MS)

    assert 4 / 24 == pytest.approx(seen["usual_gap_days"], rel=0.003)
    assert 2 == pytest.approx(seen["last_gap_vs_usual"], abs=0.01)
    assert 2 == pytest.approx(seen["gap_spread"], abs=0.01)


def test_logged_out_is_an_answer():
    """
    Who is known to be logged out is 0, not unknown.
    """
    facts = facts_after(event(NOON, login=LOGGED_OUT, pages=1, seconds=1))

    assert 0 == view(facts, NOON)["is_logged_in"]
    assert [()] == missing(facts)


def test_seen_by_a_snapshot_is_not_cancelled():
    """
    The flags of a record are told apart.
    """
    facts = facts_after(event(NOON, SNAPSHOT, pages=3))

    assert 0 < facts["flags"][0]
    assert 0 == view(facts, NOON)["is_cancelled"]


def test_a_signup_in_the_future_is_no_negative_tenure():
    """
    Days since sign-up stop at 0 before the sign-up.
    """
    facts = facts_after(event(NOON))

    assert 0 == predict_inputs(facts, NOON - DAY_MS)[0, 2]


def test_a_level_once_reached_stays_reached():
    """
    A curve tells when risk first reaches a level, though it may dip and rise again later.
    """
    curve = curve_of({1: 0.35, 2: 0.1, 3: 0.5})

    expected = [1] * 6 + [3] * 3 + [NO_CROSSING] * 7
    assert expected == curve


def test_a_level_reached_exactly_counts():
    """
    Risk equal to a level has reached it.
    """
    assert [2, NO_CROSSING] == curve_of({2: float(LADDER[4])})[4:6]


def test_a_curve_begins_at_the_end_of_the_session():
    """
    Hour 0 stands for half an hour after last-seen, which is where the model was asked.
    """
    assert [0, 0, NO_CROSSING] == curve_of({0.5: 0.16})[:3]
    assert [NO_CROSSING] * LEVELS == curve_of({0.0: 0.9})

    times = crossing_times(np.array([[0, 1, NO_CROSSING]], np.uint16), np.array([NOON]))
    assert [[NOON + SESSION_GAP_MS, NOON + HOUR_MS, NEVER]] == times.tolist()


def test_crossings_tell_every_rung():
    """
    A level that silence does not reach has no time.
    """
    curve = np.array([0, 5, NO_CROSSING], np.uint16)

    told = crossings(curve, np.array([0.2, 0.4, 0.6]), NOON)

    assert [(0.2, NOON + SESSION_GAP_MS), (0.4, NOON + 5 * HOUR_MS), (0.6, None)] == told


@pytest.mark.parametrize(
    ("hours_after", "expected"), [(0, 2), (1.99, 2), (2, 30), (29, 30), (30, None)]
)
def test_the_next_due_moment_is_later_than_now(hours_after, expected):
    """
    A crossing that has just been told is not due again; the last one leaves none.
    """
    curve, after = np.array([[2, 30]], np.uint16), np.array([NOON + int(hours_after * HOUR_MS)])

    due = next_due(curve, np.array([NOON]), after, np.array([2 * HOUR_MS]), 100)

    assert [NEVER if expected is None else NOON + expected * HOUR_MS] == due.tolist()


@pytest.mark.parametrize(("patience_hours", "due"), [(10, 10), (11, None)])
def test_nothing_is_due_beyond_the_grid(patience_hours, due):
    """
    The last hour of the grid still counts; a longer patience is never told.
    """
    curve, seen = np.array([[1]], np.uint16), np.array([NOON])

    told = next_due(curve, seen, seen + HOUR_MS, np.array([patience_hours * HOUR_MS]), 10)

    assert [NEVER if due is None else NOON + due * HOUR_MS] == told.tolist()


@pytest.mark.parametrize(
    ("gap_ms", "hours"),
    [
        (np.nan, 24),
        (HOUR_MS, 24),
        (24 * HOUR_MS, 24),
        (24 * HOUR_MS + 1, 25),
        (100.5 * HOUR_MS, 101),
    ],
)
def test_patience_is_the_usual_gap_in_whole_hours_and_at_least_a_day(gap_ms, hours):
    """
    Rounded up, so that the score due then is never a rounding error too early.
    """
    assert [hours * HOUR_MS] == patience(np.array([gap_ms], np.float64)).tolist()


@pytest.mark.parametrize(
    ("elapsed", "level"), [(0.0, 0.0), (0.5, 0.2), (4.99, 0.2), (5, 0.4), (999, 0.4)]
)
def test_the_value_of_a_curve_is_the_highest_level_reached(elapsed, level):
    """
    A level counts from its very hour on, hour 0 from the end of the session.
    """
    curve = np.array([[0, 5, NO_CROSSING]], np.uint16)

    assert [level] == value_at(curve, np.array([0.2, 0.4, 0.6]), np.array([elapsed])).tolist()


@pytest.mark.parametrize(
    ("threshold", "hours"), [(0.1, 1), (0.2, 1), (0.29, 1), (0.31, 5), (0.4, 5), (0.59, None)]
)
def test_a_threshold_snaps_to_the_nearest_rung(threshold, hours):
    """
    At risk is when the curve reaches that rung, never where it does not.
    """
    curve, levels = np.array([[1, 5, NO_CROSSING]], np.uint16), np.array([0.2, 0.4, 0.6])

    at = at_risk_at(curve, levels, np.array([NOON]), threshold)

    assert [NEVER if hours is None else NOON + hours * HOUR_MS] == at.tolist()


def test_as_of_may_differ_per_user():
    """
    Each user is read as of their own moment.
    """
    facts = np.concatenate([facts_after(event(NOON)), blank_facts(1), facts_after(event(NOON))])

    silent = features(facts, np.array([NOON, NOON, NOON + DAY_MS]))[:, 0]

    np.testing.assert_array_equal([0, np.nan, 1], silent)
