"""Where a log ends, and its holes."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.activity import FoldRules
from contracts.events import ActivityEvent
from contracts.times import DAY_MS, MINUTE_MS
from model.event_log import EventLog, event_log
from model.volume import volume

START = 1_600_041_600_000  # a midnight
RULES = FoldRules()


def busy_log(*per_day: int) -> EventLog:
    """A log with so many events on each day."""
    return event_log(
        (
            ActivityEvent(
                user_id=f"u{i}",
                type="page_view",
                occurred_at=START + day * DAY_MS + i * MINUTE_MS,
            )
            for day, count in enumerate(per_day)
            for i in range(count)
        ),
        RULES,
    )


def test_a_log_ends_with_its_last_activity():
    """
    When the last day is as busy as any.
    """
    assert START + 29 * DAY_MS + 19 * MINUTE_MS == volume(busy_log(*[20] * 30)).end


def test_a_log_that_thins_out_ends_before_it_does():
    """
    Days with less than half of their usual volume at the end do not count.
    """
    assert START + 28 * DAY_MS - 1 == volume(busy_log(*[20] * 28, 9, 3)).end


def test_an_outage_is_a_day_with_next_to_nothing():
    """
    A fifth of the usual volume of that weekday is the limit; weekends have their own.
    """
    week = [20, 20, 20, 20, 20, 12, 0]
    days = week * 8
    days[16], days[24] = 3, 4

    assert [START // DAY_MS + 16] == volume(busy_log(*days)).outages.tolist()


def test_chance_is_no_outage():
    """
    With a few events a day an empty one says nothing.
    """
    assert [] == volume(busy_log(*[5] * 20, 0, *[5] * 20)).outages.tolist()


def test_a_label_is_unknown_under_an_outage():
    """
    When outages cover more than a tenth of the horizon, wherever in it they lie.
    """
    found = volume(busy_log(*[20] * 20, 0, *[20] * 20))
    day = START // DAY_MS
    as_of = (day + np.array([9, 10, 12, 19, 20, 21])) * DAY_MS

    expected = [False, False, True, True, True, False]
    assert expected == found.masked(as_of, 9 * DAY_MS).tolist()
    assert not found.masked(as_of, 10 * DAY_MS).any()


def test_a_log_without_holes_masks_nothing():
    """
    Every label is known.
    """
    found = volume(busy_log(*[20] * 20))

    assert not found.masked(START + np.arange(10) * DAY_MS, DAY_MS).any()
    assert 20 == pytest.approx(found.usual[10])
