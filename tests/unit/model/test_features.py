"""What time and silence do to features, and what they say of a known history."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import ACTIVE, EVENT_ROW, NAMED_TYPES, NO_VALUE, PASSIVE, SNAPSHOT
from contracts.record import LOGGED_IN, blank_facts
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, NEVER
from model.features import (
    FEATURES,
    PREDICT_INPUTS,
    Feature,
    features,
    missing,
    predict_inputs,
    usual_gap_ms,
)
from model.fold import fold
from tests.unit.model.fold_oracle import RULES, START, USERS, histories

NAMES = [feature.name for feature in FEATURES]
NOON = START + 12 * HOUR_MS

_STEPS = st.sampled_from(
    [0, 1, MINUTE_MS, HOUR_MS, DAY_MS - 1, DAY_MS, 6 * DAY_MS, 7 * DAY_MS, 28 * DAY_MS]
)
WAITS = st.one_of(st.integers(-2 * DAY_MS, 400 * DAY_MS), _STEPS)


def event(occurred_at: int, kind: int = ACTIVE, **fields: int) -> np.ndarray:
    """(1,) EVENT_ROW that states nothing but `fields`."""
    row = np.zeros(1, EVENT_ROW)
    row["signup_at"] = NEVER
    row["cents"] = NO_VALUE
    for name, value in {"occurred_at": occurred_at, "kind": kind, **fields}.items():
        row[name] = value
    return row


def facts_after(*events: np.ndarray) -> np.ndarray:
    """(1,) FACTS of one user."""
    log = np.concatenate(events)
    return fold(blank_facts(1), log, np.zeros(len(log), np.int64), RULES)


def view(facts: np.ndarray, as_of: int) -> dict[str, float]:
    """Features of one user by name."""
    return dict(zip(NAMES, features(facts, as_of)[0].tolist(), strict=True))


def columns(kind: str) -> list[int]:
    return [i for i, feature in enumerate(FEATURES) if kind == feature.kind]


def falls(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Where a value fell, or began or ceased to be known."""
    return (later < earlier) | (np.isnan(later) != np.isnan(earlier))


def inside(values: np.ndarray, view: tuple[Feature, ...]) -> list[str]:
    """Names of the features that left their documented range."""
    return [
        feature.name
        for feature, column in zip(view, values.T, strict=True)
        if not all(math.isnan(x) or feature.low <= x <= feature.high for x in column.tolist())
    ]


@given(history=histories(), waits=st.lists(WAITS, min_size=2, max_size=8), midnight=st.booleans())
@settings(deadline=None)
def test_silence_moves_each_kind_one_way(history, waits, midnight):
    """
    As time passes without an event, recency never falls, fading never rises, frozen stays.
    """
    facts = fold(blank_facts(USERS), *history, RULES)
    last = int(facts["last_seen"].max())
    start = START if last == NEVER else last
    moments = sorted(start + wait for wait in waits)
    if midnight:
        moments = sorted({*moments, *(moment // DAY_MS * DAY_MS for moment in moments)})

    for earlier, later in pairwise(moments):
        before, after = features(facts, earlier), features(facts, later)
        np.testing.assert_array_equal(before[:, columns("frozen")], after[:, columns("frozen")])
        assert not falls(before[:, columns("recency")], after[:, columns("recency")]).any()
        assert not falls(-before[:, columns("fading")], -after[:, columns("fading")]).any()
        tenure = [predict_inputs(facts, moment)[:, 2] for moment in (earlier, later)]
        assert not falls(*tenure).any()


@given(history=histories(), wait=WAITS)
def test_every_value_lies_in_its_range(history, wait):
    """
    Features and predict inputs are within what they document, or NaN.
    """
    facts = fold(blank_facts(USERS), *history, RULES)
    as_of = np.maximum(facts["last_seen"], START) + wait

    assert [] == inside(features(facts, as_of), FEATURES)
    assert [] == inside(predict_inputs(facts, as_of), PREDICT_INPUTS)


@given(history=histories(), waits=st.lists(WAITS, min_size=USERS, max_size=USERS))
def test_users_are_read_alone(history, waits):
    """
    A row of features does not depend on the rows beside it.
    """
    facts = fold(blank_facts(USERS), *history, RULES)
    as_of = START + np.array(waits)

    together = features(facts, as_of)

    for who in range(USERS):
        np.testing.assert_array_equal(features(facts[[who]], int(as_of[who]))[0], together[who])


def test_features_of_a_short_history():
    """
    Three visits on two days read as anyone would count them.
    """
    facts = facts_after(
        event(NOON, id=1, pages=4, seconds=600, signup_at=NOON - 10 * DAY_MS, login=LOGGED_IN),
        event(NOON + HOUR_MS, id=2, pages=2, cents=1250, type_slot=NAMED_TYPES.index("purchase")),
        event(NOON + DAY_MS + HOUR_MS, id=3, pages=6, seconds=300),
        event(NOON + DAY_MS + HOUR_MS, PASSIVE, id=4, cents=-250),
    )

    seen = view(facts, NOON + 3 * DAY_MS + HOUR_MS)

    expected = {
        "silent_days": 2, "active_days_7d": 2, "active_days_28d": 2, "sessions_28d": 3,
        "pages_28d": 12, "minutes_28d": 15, "pages_visited": 12, "time_spent": 15, "sessions": 3,
        "active_days": 2, "is_logged_in": 1, "purchases": 1, "value": 10, "is_cancelled": 0,
        "active_day_share": 1, "events_per_active_day": 1.5, "pages_per_session": 4,
        "minutes_per_session": 5, "last_hour": 13, "money_per_active_day": 6.25,
    }  # fmt: skip
    assert expected == {name: seen[name] for name in expected}
    assert 11 + 1 / 24 == pytest.approx(seen["tenure_days"])
    assert 2 * 7 / (7 + 3 + 1 / 24) == pytest.approx(seen["active_days_per_week"])
    assert (1 / 24 * 1) ** 0.5 == pytest.approx(seen["usual_gap_days"], rel=0.003)
    assert seen["silent_days"] / seen["usual_gap_days"] == seen["silence_vs_usual"]


def test_decayed_counts_halve_with_their_half_life():
    """
    Three days after the only visit, half is left at a half-life of three days.
    """
    seen = view(facts_after(event(NOON)), NOON + 3 * DAY_MS)

    assert 0.5 == pytest.approx(seen["recent_days_3d"])
    assert 2 ** (-3 / 14) == pytest.approx(seen["recent_events_14d"])


@pytest.mark.parametrize(("days", "week", "month"), [(6, 1, 1), (7, 0, 1), (27, 0, 1), (28, 0, 0)])
def test_windows_are_today_and_whole_days_before(days, week, month):
    """
    A visit leaves a window of n days at the n-th midnight after it.
    """
    seen = view(facts_after(event(NOON, pages=5)), NOON // DAY_MS * DAY_MS + days * DAY_MS)

    assert (week, month, 5 * month) == (
        seen["active_days_7d"], seen["active_days_28d"], seen["pages_28d"],
    )  # fmt: skip


@pytest.mark.parametrize(("days", "weekday"), [(0, 3), (1, 4), (4, 0), (10, 6)])
def test_weekdays_begin_on_monday(days, weekday):
    """
    1 January 1970 was a Thursday.
    """
    assert weekday == view(facts_after(event(days * DAY_MS)), days * DAY_MS)["last_weekday"]


def test_the_usual_gap_is_a_geometric_mean():
    """
    Gaps of one and of four hours are usually two; a single gap is not yet usual.
    """
    first, second = event(NOON, id=1), event(NOON + HOUR_MS, id=2)
    third = event(NOON + 5 * HOUR_MS, id=3)

    usual = usual_gap_ms(facts_after(first, second, third))[0]

    assert math.isnan(usual_gap_ms(facts_after(first, second))[0])
    assert 2 * HOUR_MS == pytest.approx(usual, rel=0.003)


def test_snapshots_count_towards_the_totals():
    """
    What a snapshot states is part of pages and minutes, with days since sign-up and login.
    """
    facts = facts_after(
        event(NOON, SNAPSHOT, id=1, pages=12, seconds=10_830, signup_at=NOON - 10 * DAY_MS,
              login=LOGGED_IN)
    )  # fmt: skip

    assert [[12, 180.5, 10, 1]] == predict_inputs(facts, NOON).tolist()


def test_days_since_signup_count_from_the_first_visit_if_it_was_earlier():
    """
    Nobody visits before they exist: the earlier of sign-up and first visit begins the tenure.
    """
    facts = facts_after(event(NOON, id=1, signup_at=NOON + 2 * DAY_MS))

    assert 3 == predict_inputs(facts, NOON + 3 * DAY_MS)[0, 2]


def test_what_nobody_stated_is_missing():
    """
    Missing inputs are NaN and named; a visit alone tells the tenure.
    """
    nobody, visitor = blank_facts(1), facts_after(event(NOON))

    assert np.isnan(predict_inputs(nobody, NOON)).all()
    assert [("pages_visited", "time_spent", "days_since_signup", "is_logged_in")] == missing(nobody)
    assert [("pages_visited", "time_spent", "is_logged_in")] == missing(visitor)


def test_before_the_visit_reads_like_the_visit():
    """
    A score as of a moment before last-seen sees no silence and no more than was there.
    """
    facts = facts_after(event(NOON, pages=3))

    np.testing.assert_array_equal(features(facts, NOON), features(facts, NOON - DAY_MS))


def test_features_describe_themselves():
    """
    Names are unique, each has a sentence, and its direction follows from its kind.
    """
    assert len(NAMES) == len(set(NAMES))
    for feature in FEATURES:
        assert feature.definition.endswith("."), feature.name
        assert feature.why.endswith("."), feature.name
        assert {"frozen": 0, "fading": -1, "recency": 1}[feature.kind] == feature.direction
        assert feature.low < feature.high
    assert ["pages_visited", "time_spent", "days_since_signup", "is_logged_in"] == [
        feature.name for feature in PREDICT_INPUTS
    ]


def test_no_users_have_no_features():
    """
    An empty batch gives an empty matrix of the right width.
    """
    assert (0, len(FEATURES)) == features(blank_facts(0), NOON).shape
    assert (0, 4) == predict_inputs(blank_facts(0), NOON).shape
