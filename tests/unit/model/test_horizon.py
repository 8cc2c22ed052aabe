"""Which horizon suits a log."""

from __future__ import annotations

import pytest

from contracts.activity import FoldRules
from contracts.errors import Misconfigured
from contracts.events import ActivityEvent
from contracts.times import DAY_MS
from model.event_log import EventLog, event_log
from model.horizon import fit_of, returning_share, shortest_horizon

START = 1_600_041_600_000
RULES = FoldRules()


def visitors(gap: int, users: int, days: int, quits: int) -> EventLog:
    """Users who come every `gap` days; user i stops for good after `quits` + i visits."""
    return event_log(
        (
            ActivityEvent(
                user_id=f"u{i}", type="page_view", occurred_at=START + visit * gap * DAY_MS + i
            )
            for i in range(users)
            for visit in range(days // gap)
            if visit < quits + i
        ),
        RULES,
    )


def test_the_shortest_horizon_is_just_over_the_usual_pause():
    """
    When everybody comes every 5 days, 5 days of silence mean they are gone.
    """
    assert 5 == shortest_horizon(visitors(5, 150, 1_000, 10), 60)


def test_silences_that_had_no_time_to_end_do_not_count():
    """
    The share of returns is that of silences with another horizon to end in.
    """
    log = visitors(5, 150, 1_000, 10)

    assert returning_share(log, 4) > 0.9
    assert 0.0 == returning_share(log, 6)


def test_no_horizon_is_refused_saying_how_near_it_came():
    """
    Users who always come back leave nothing to learn.
    """
    with pytest.raises(Misconfigured, match=r"--horizon-days auto.*still come back"):
        shortest_horizon(visitors(5, 80, 400, 400), 4)


def test_slow_users_are_counted():
    """
    A usual gap over half the horizon makes a user slow.
    """
    log = visitors(5, 150, 1_000, 10)

    assert (0.0, False) == (fit_of(log, 14).slow, fit_of(log, 14).is_short)
    assert (1.0, True) == (fit_of(log, 8).slow, fit_of(log, 8).is_short)
