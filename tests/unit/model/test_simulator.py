"""The made-up population: repeatable, in order, true to its own truth."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from contracts.activity import FoldRules
from contracts.events import ActivityEvent, check, encode, instant_ms
from contracts.times import DAY_MS, HOUR_MS
from model.event_log import EventLog, event_log
from model.simulator import Population, churn_dates, simulate

POPULATION = Population(users=300, days=90, seed=11, start_ms=1_735_689_600_000 + 5 * HOUR_MS)
RULES = FoldRules()


@pytest.fixture(scope="module")
def events() -> list[ActivityEvent]:
    return list(simulate(POPULATION))


@pytest.fixture(scope="module")
def truth() -> dict[str, int | None]:
    return churn_dates(POPULATION)


def test_same_seed_same_bytes(events: list[ActivityEvent]) -> None:
    """
    A population is a pure function of its settings; another seed is another population.
    """
    first = [encode(event) for event in events]

    assert first == [encode(event) for event in simulate(POPULATION)]
    assert first[:50] != [encode(e) for e in simulate(replace(POPULATION, seed=12))][:50]


def test_events_come_in_time_order_within_the_period(events: list[ActivityEvent]) -> None:
    """
    Time never runs backwards, and nothing lies outside [start, end).
    """
    times = [_ms(event) for event in events]

    assert times == sorted(times)
    assert times[0] >= POPULATION.start_ms
    assert times[-1] < POPULATION.end_ms


def test_every_event_is_one_the_pipeline_takes(events: list[ActivityEvent]) -> None:
    """
    Events keep every limit of the contract, survive the wire, and have ids of their own.
    """
    for event in events:
        check(event)
        assert event == msgspec.json.decode(encode(event), type=ActivityEvent)

    assert len(events) == len({event.event_id for event in events})


def test_nobody_does_anything_after_leaving() -> None:
    """
    A user's churn date is the end: only the cancellation is as late.
    """
    # Many users, as few have a visit planned for the rest of the day on which they leave.
    population = Population(users=1_500, days=120, seed=5)
    truth = churn_dates(population)

    late = [
        event.type
        for event in simulate(population)
        if (left := truth[event.user_id]) is not None and _ms(event) >= left
    ]

    assert {"subscription_cancelled"} == set(late)


def test_nobody_does_anything_before_signing_up(events: list[ActivityEvent]) -> None:
    """
    A new user's first event is their sign-up, which says when that was.
    """
    by_user = _by_user(events)
    joined = [mine for mine in by_user.values() if any(e.type == "signup" for e in mine)]

    assert len(joined) > 50
    for mine in joined:
        assert "signup" == mine[0].type
        assert mine[0].occurred_at == mine[0].signed_up_at


def test_older_users_say_when_they_signed_up(events: list[ActivityEvent]) -> None:
    """
    Users from before the start state their sign-up in their first event.
    """
    firsts = [mine[0] for mine in _by_user(events).values()]

    assert all(event.signed_up_at is not None for event in firsts)
    assert any(instant_ms(e.signed_up_at or 0) < POPULATION.start_ms for e in firsts)


def test_some_leave_and_some_of_them_cancel(
    events: list[ActivityEvent], truth: dict[str, int | None]
) -> None:
    """
    Leaving is common, not universal; some leavers say so and most just fall silent.
    """
    left = {user for user, moment in truth.items() if moment is not None}
    cancelled = {event.user_id for event in events if event.type == "subscription_cancelled"}

    assert 0.1 < len(left) / len(truth) < 0.7
    assert cancelled < left
    assert 0.1 < len(cancelled) / len(left) < 0.5


def test_the_truth_lies_within_the_period(truth: dict[str, int | None]) -> None:
    """
    Nobody left before the simulation began, and who will leave after it is still there.
    """
    moments = [moment for moment in truth.values() if moment is not None]

    assert min(moments) >= POPULATION.start_ms
    assert max(moments) < POPULATION.end_ms


def test_those_about_to_leave_fade_first() -> None:
    """
    Before they go, leavers do less than they did; those who stay keep on: it can be learned.
    """
    population = Population(users=1_500, days=120, seed=5)
    log = event_log(simulate(population), RULES)
    truth = churn_dates(population)
    cut = population.start_ms + 90 * DAY_MS
    left = np.array([truth[user] or population.end_ms for user in log.user_ids])
    early = _visits(log, population.start_ms, cut - 60 * DAY_MS) > 0  # long enough to have a trend
    leaving = early & (left > cut) & (left < cut + 21 * DAY_MS)
    staying = early & (left == population.end_ms)

    recent = _visits(log, cut - 14 * DAY_MS, cut)
    before = _visits(log, cut - 56 * DAY_MS, cut - 14 * DAY_MS)

    trend = {
        name: recent[who].sum() / before[who].sum()
        for name, who in (("leaving", leaving), ("staying", staying))
    }
    assert trend["leaving"] < 0.75 * trend["staying"]
    assert (recent[leaving] > 0).mean() > 0.2  # and silence alone does not give them away


def _visits(log: EventLog, start: int, end: int) -> np.ndarray:
    """(n_users,) active events within [start, end)."""
    times = log.rows["occurred_at"]
    within = log.active & (times >= start) & (times < end)
    return np.bincount(log.user[within], minlength=len(log.user_ids))


def _by_user(events: list[ActivityEvent]) -> dict[str, list[ActivityEvent]]:
    by_user = defaultdict(list)
    for event in events:
        by_user[event.user_id].append(event)
    return by_user


def _ms(event: ActivityEvent) -> int:
    assert event.occurred_at is not None
    return instant_ms(event.occurred_at)
