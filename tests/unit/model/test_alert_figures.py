"""Figures of alerts, on histories small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.times import DAY_MS
from model.alert_figures import (
    Openings,
    Stretches,
    Watched,
    after_usual_gaps,
    at_most,
    at_random,
    figures_of,
)
from model.dataset import Silences
from model.instants import FOREVER

D = DAY_MS


def ints(*values: float) -> np.ndarray:
    return np.array(values, np.int64)


# Ada (0) comes on days 1, 2 and 12, Bo (1) on day 3 and never again, Cy (2) on days 4 and 6.
WATCHED = Watched(
    silences=Silences(
        ints(0, 0, 0, 1, 2, 2),
        ints(1, 2, 12, 3, 4, 6) * D,
        np.array([2 * D, 12 * D, FOREVER, FOREVER, 6 * D, FOREVER], np.int64),
    ),
    begins=1 * D,
    ends=11 * D,
    horizon=5 * D,
    active=7 * D,
)


def opened(*alerts: tuple[int, float]) -> Openings:
    return Openings(
        ints(*(user for user, _ in alerts)), ints(*(round(day * D) for _, day in alerts))
    )


def test_precision_asks_whether_the_user_did_nothing_for_a_horizon() -> None:
    """
    Of an alert five days before a return, one six days before it and one about somebody gone, the
    last two are right.
    """
    found = figures_of(opened((0, 7), (0, 6), (1, 8)), WATCHED)

    assert pytest.approx((3, 2 / 3)) == (found.alerts, found.precision)


def test_recall_counts_silences_longer_than_the_horizon() -> None:
    """
    Ada's ten days, Bo and Cy are churn episodes; an alert counts while its silence lasts, and is
    in time within a horizon of its beginning.
    """
    found = figures_of(opened((0, 5), (1, 9)), WATCHED)

    assert pytest.approx((3, 2 / 3, 1 / 3)) == (
        found.churn_episodes,
        found.recall,
        found.in_time,
    )


def test_silences_that_began_before_the_window_are_no_episodes_of_it() -> None:
    """
    A window that begins on the fourth day knows of Cy's churn alone.
    """
    late = replace(WATCHED, begins=4 * D)

    assert 1 == figures_of(opened(), late).churn_episodes


def test_nobody_alerted_about_is_no_recall() -> None:
    """
    Without alerts the recall is 0, also of those who never come back, and there is no precision.
    """
    found = figures_of(opened(), WATCHED)

    assert (0, 0.0, 0.0, None, None) == (
        found.alerts,
        found.recall,
        found.in_time,
        found.precision,
        found.silent_days_median,
    )


def test_alerts_are_counted_by_day() -> None:
    """
    Three alerts on the first of ten days and one on the last: none on the median day.
    """
    found = figures_of(opened((1, 1.1), (1, 1.2), (1, 1.9), (1, 10.5)), WATCHED)

    assert (0.4, 0.0) == (found.per_day_mean, found.per_day_median)
    assert pytest.approx(0.55 * 3 + 0.45) == found.per_day_p95


def test_alerts_outside_the_window_do_not_count_but_tell() -> None:
    """
    An alert after the window is no alert of its days, but its churn episode was told of.
    """
    found = figures_of(opened((1, 20)), WATCHED)

    assert pytest.approx((0, 1 / 3)) == (found.alerts, found.recall)


def test_silence_and_unaided_returns_are_those_at_the_alert() -> None:
    """
    Nine and two days of silence are 5.5 at the median; of the two only Ada is back in three days.
    """
    found = figures_of(opened((0, 11 - 1e-6), (1, 5)), WATCHED)

    assert pytest.approx((5.5, 0.5)) == (found.silent_days_median, found.back_unaided)


def test_volume_is_set_against_the_users_there_are() -> None:
    """
    Ada is active 8 days of the window, Bo 7, Cy 2 and 5; new users are those whose first week
    lies within it, and alerts in that week are about new users.
    """
    found = figures_of(opened((0, 5), (1, 10.5)), WATCHED)

    assert pytest.approx(90 * 2 / (1 + 7 + 7 + 2 + 5)) == found.per_user_90_days
    assert pytest.approx(100 / 3) == found.per_100_new_users


STRETCHES = Stretches(
    user=ints(0, 0, 1, 2),
    last_seen=ints(1, 10, 1, 1) * D,
    until=np.array([10 * D, FOREVER, 4 * D, FOREVER], np.int64),
    usual_gap=np.array([2.0, 0.1, 2.0, np.nan]) * D,
    active_days=ints(5, 6, 5, 9),
)


def test_the_rule_of_thumb_waits_for_two_usual_gaps() -> None:
    """
    Silent for twice the usual gap and a day at least, not before a cooldown has passed, never about
    somebody whose gap is not known or who was back sooner.
    """
    found = after_usual_gaps(STRETCHES, 0, 3)
    cooled = after_usual_gaps(STRETCHES, 7 * D, 3)
    known = after_usual_gaps(STRETCHES, 0, 6)

    assert ([0, 0], [5 * D, 11 * D]) == (found.user.tolist(), found.at.tolist())
    assert [5 * D] == cooled.at.tolist()
    assert [11 * D] == known.at.tolist()


def test_random_alerts_fall_into_silences_of_the_window() -> None:
    """
    Random alerts are as many as asked for, a day into somebody's silence at least, while the user
    counts as active, within the window.
    """
    watched = replace(WATCHED, begins=3 * D, ends=12 * D)

    found = at_random(STRETCHES, watched, 500, 3, seed=1)

    assert 500 == len(found)
    assert ((found.at >= 3 * D) & (found.at < 12 * D)).all()
    silent = {0: (3, 8), 1: (3, 4), 2: (3, 8)}
    for user, at in zip(found.user.tolist(), (found.at / D).tolist(), strict=True):
        low, high = silent[user]
        assert low <= at < high or (user == 0 and 11 <= at < 12)
    assert {0, 1, 2} == set(found.user.tolist())


def test_nobody_silent_is_nobody_to_pick() -> None:
    """
    Where nobody has enough active days, random alerts are none.
    """
    assert 0 == len(at_random(STRETCHES, WATCHED, 5, 99, seed=1))


def test_thinning_keeps_alerts_as_they_are() -> None:
    """
    So many alerts are drawn as asked for, each at most once, the same for the same seed.
    """
    many = opened(*((user, 2 + user) for user in range(8)))

    few = at_most(many, 3, seed=4)

    assert 3 == len(set(few.user.tolist()))
    assert set(zip(few.user.tolist(), few.at.tolist(), strict=True)) <= set(
        zip(many.user.tolist(), many.at.tolist(), strict=True)
    )
    assert few.user.tolist() == at_most(many, 3, seed=4).user.tolist()
    assert many is at_most(many, 8, seed=4)
