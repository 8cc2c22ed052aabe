"""Reasons: what they add up to, and what they say of a known history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import NAMED_TYPES, NO_VALUE
from contracts.record import LOGGED_IN, blank_facts
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from model.candidates import CANDIDATES, fitted
from model.classifier import Classifier
from model.features import FEATURES, PREDICT_INPUTS, features
from model.reasons import CONCEPTS, MEMBERS, TOP, Explainer, typical_values
from model.wording import around, every, rate, rates, span
from tests.unit.model.people import NOON, facts_of, visits

GRID_DAYS = 60


@dataclass(frozen=True)
class TwoEstimators:
    """What an explainer reads of a model."""

    full: Classifier
    inputs: Classifier
    grid_hours: np.ndarray
    typical: Mapping[str, float]
    tenure_since: int | None = None


def population(seed: int, users: int) -> tuple[np.ndarray, np.ndarray]:
    """Facts of regular and fading users, and a moment after each one's last visit."""
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(users):
        days = np.cumsum(rng.gamma(1.0, rng.uniform(0.5, 8), rng.integers(1, 15)))
        login = LOGGED_IN if rng.random() < 0.4 else 0
        cents = int(rng.integers(0, 9_000)) if rng.random() < 0.3 else NO_VALUE
        slot = NAMED_TYPES.index("purchase" if cents != NO_VALUE else "page_view")
        moments = (NOON + days * DAY_MS).astype(np.int64)
        histories.append(visits(*moments, login=login, cents=cents, type_slot=slot))
    facts = facts_of(*histories)
    return facts, facts["last_seen"] + rng.integers(0, 90 * DAY_MS, users)


@pytest.fixture(
    scope="module", params=[one for one in CANDIDATES if one.is_shipped], ids=lambda one: one.name
)
def model(request: pytest.FixtureRequest) -> TwoEstimators:
    """Every estimator that may be shipped, on people who churn the likelier the longer they are
    silent."""
    chosen = request.param
    facts, as_of = population(1, 600)
    rows = features(facts, as_of)
    silent = (as_of - facts["last_seen"]) / DAY_MS
    label = (np.random.default_rng(2).random(len(rows)) < silent / 60).astype(np.uint8)
    inputs = np.random.default_rng(3).gamma(1.5, 9.0, (len(rows), 4))
    directions = [feature.direction for feature in FEATURES]
    return TwoEstimators(
        fitted(chosen, directions, 0, rows, label),
        fitted(CANDIDATES[0], [0] * 4, 0, inputs, (inputs[:, 2] < 9).astype(np.uint8)),
        np.array([1, GRID_DAYS * 24]),
        typical_values(rows, inputs),
    )


@given(seed=st.integers(2, 10_000), wait_days=st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_reasons_add_up_to_the_score(model: TwoEstimators, seed: int, wait_days: int) -> None:
    """Base and concepts are the log-odds of the score, beyond the grid those of its end."""
    facts, as_of = population(seed, 3)
    as_of = as_of + wait_days * DAY_MS

    told = Explainer(model).explanations(facts, as_of)

    clamped = np.minimum(as_of, facts["last_seen"] + GRID_DAYS * DAY_MS)
    log_odds = model.full.decision_function(features(facts, clamped))
    assert told is not None
    sums = [one.base + sum(reason.contribution for reason in one.reasons) for one in told]
    np.testing.assert_allclose(log_odds, sums, atol=4e-6)  # seven numbers rounded to 6 decimals


def test_reasons_of_inputs_add_up_too(model: TwoEstimators) -> None:
    """The four inputs have three concepts, and those are the log-odds of their score."""
    rows = np.array([[12, 180.5, 10, 1], [0, np.nan, 4000, 0]], float)

    told = Explainer(model).of_inputs(rows)

    assert told is not None
    sums = [one.base + sum(reason.contribution for reason in one.reasons) for one in told]
    np.testing.assert_allclose(model.inputs.decision_function(rows), sums, atol=4e-6)
    assert {"frequency": "12 pages and 180.5 minutes in all", "tenure": "signed up 10 days ago",
            "context": "logged in"} == {r.concept: r.text for r in told[0].reasons}  # fmt: skip


def test_every_feature_belongs_to_one_concept() -> None:
    """Nothing a model reads is left out of the sums or counted twice."""
    names = {feature.name for feature in (*FEATURES, *PREDICT_INPUTS)}

    members = Counter(name for concept in CONCEPTS for name in MEMBERS[concept])

    assert Counter(names) == members


def test_the_top_raise_the_risk_the_strongest_first(model: TwoEstimators) -> None:
    """A score carries at most three reasons, the largest above 0, and none that hardly weighs."""
    facts, as_of = population(7, 80)
    explainer = Explainer(model)
    whole, top = explainer.explanations(facts, as_of), explainer.reasons(facts, as_of)
    assert whole is not None
    assert top is not None

    for one, reasons in zip(whole, top, strict=True):
        most = max(reason.contribution for reason in one.reasons)
        raising = [r for r in one.reasons if r.contribution >= max(0.2 * most, 1e-6)]
        assert tuple(raising[:TOP]) == reasons
        assert all(first.contribution >= second.contribution for first, second in pairwise(reasons))
        sizes = [abs(reason.contribution) for reason in one.reasons]
        assert sorted(sizes, reverse=True) == sizes


def test_a_model_that_is_no_sum_has_no_reasons() -> None:
    """The forest gets none, of a record or of inputs."""
    rng = np.random.default_rng(1)
    label = (rng.random(100) < 0.5).astype(np.uint8)
    full, inputs = (
        fitted(CANDIDATES[2], [0] * len(view), 0, rng.random((100, len(view))), label)
        for view in (FEATURES, PREDICT_INPUTS)
    )
    explainer = Explainer(TwoEstimators(full, inputs, np.array([1, 24]), {}))
    facts, as_of = population(1, 2)

    assert explainer.explanations(facts, as_of) is None
    assert explainer.reasons(facts, as_of) is None
    assert explainer.of_inputs(np.zeros((1, 4))) is None


def said(model: TwoEstimators, history: np.ndarray, as_of: int) -> dict[str, str]:
    """Concept to sentence of one user."""
    told = Explainer(model).explanations(facts_of(history), np.array([as_of]))
    assert told is not None
    return {reason.concept: reason.text for reason in told[0].reasons}


def test_a_regular_visitor_who_stays_away(model: TwoEstimators) -> None:
    """A visit every second day for sixty days, then nine days of silence."""
    history = visits(*(NOON + 2 * day * DAY_MS for day in range(31)), login=LOGGED_IN)

    text = said(model, history, int(history["occurred_at"][-1]) + 9 * DAY_MS)

    assert "no visit for 9 days; usually every 2 days" == text["recency"]
    assert text["frequency"].startswith("active on 10 of the last 28 days")
    assert text["trend"].startswith("active on 2.3 days a week of late")
    assert text["tenure"].startswith("with you for 60 days")
    assert "no purchases known" == text["money"]


def test_habit_is_what_was_before_the_silence(model: TwoEstimators) -> None:
    """Forty days of silence do not make a visitor of every second day a rare one."""
    history = visits(*(NOON + 2 * day * DAY_MS for day in range(31)))

    as_of = np.array([int(history["occurred_at"][-1]) + 40 * DAY_MS])

    told = Explainer(model).explanations(facts_of(history), as_of)

    assert told is not None
    by_concept = {reason.concept: reason for reason in told[0].reasons}
    assert (0.0, 14.23) == (by_concept["frequency"].value, by_concept["frequency"].usual)
    assert "nothing in the last two weeks; 3.6 days a week before" == by_concept["trend"].text


def test_bursts_are_not_called_a_rhythm(model: TwoEstimators) -> None:
    """Three visits a day apart every month are no visit a day."""
    days = [30 * month + day for month in range(5) for day in range(3)]
    history = visits(*(NOON + day * DAY_MS for day in days))

    text = said(model, history, int(history["occurred_at"][-1]) + 20 * DAY_MS)

    assert "no visit for 20 days; a usual pause is 3 days" == text["recency"]


def test_rare_visits_are_told_by_the_year(model: TwoEstimators) -> None:
    """Nobody is active on 0.3 days."""
    history = visits(*(NOON + 90 * day * DAY_MS for day in range(9)))

    text = said(model, history, int(history["occurred_at"][-1]) + 50 * DAY_MS)

    assert text["frequency"].startswith("active on 0 of the last 28 days")
    assert "usually on 0" not in text["frequency"]


def test_a_comparison_points_where_the_contribution_does(model: TwoEstimators) -> None:
    """Less than usual or typical stands only beside what raises the risk, more only beside what
    lowers it."""
    facts, as_of = population(11, 200)
    told = Explainer(model).explanations(facts, as_of)
    assert told is not None
    compared = 0

    for one in told:
        for reason in one.reasons:
            if reason.concept != "frequency" or ";" not in reason.text or " in all" in reason.text:
                continue
            other = reason.usual if "usually" in reason.text else reason.typical
            assert other is not None
            assert reason.value is not None
            assert (reason.contribution > 0) == (reason.value < other)
            compared += 1
    assert compared > 20


def test_somebody_new(model: TwoEstimators) -> None:
    """Of one visit an hour ago there is no usual, and no trend to speak of."""
    history = visits(NOON, cents=1990, type_slot=NAMED_TYPES.index("purchase"))

    text = said(model, history, NOON + HOUR_MS)

    assert "last visit 60 minutes ago" == text["recency"]
    assert "active on 1 day so far" == text["frequency"]
    assert "with you for less than a day" == text["tenure"]
    assert text["money"].startswith("1 purchase, 19.90 in all")
    assert text["trend"].startswith("too new for a trend")


def test_somebody_who_came_once(model: TwoEstimators) -> None:
    """Forty days after their only visit nobody is "with you for less than a day"."""
    text = said(model, visits(NOON), NOON + 40 * DAY_MS)

    assert "only ever came on one day" == text["tenure"]
    assert "active on 0 of the last 28 days; on 1 in all" == text["frequency"]
    assert "nothing in the last two weeks" == text["trend"]


def test_somebody_from_before_the_log(model: TwoEstimators) -> None:
    """Whose first visit the log may have missed has no tenure to speak of."""
    old = replace(model, tenure_since=NOON + 1)

    assert "here since the records began" == said(old, visits(NOON), NOON + DAY_MS)["tenure"]


def test_somebody_never_seen(model: TwoEstimators) -> None:
    """Who is known from an invoice alone has sentences too."""
    told = Explainer(model).explanations(blank_facts(1), np.array([NOON]))

    assert told is not None
    assert "never seen" == next(r.text for r in told[0].reasons if r.concept == "recency")


def test_a_model_without_medians_sets_nobody_against_them(model: TwoEstimators) -> None:
    """Models of before have no population medians; their reasons lack that side only."""
    facts, as_of = population(12, 40)

    told = Explainer(replace(model, typical={})).explanations(facts, as_of)

    assert told is not None
    reasons = [reason for one in told for reason in one.reasons]
    assert {None} == {reason.typical for reason in reasons}
    assert not [reason.text for reason in reasons if "typical" in reason.text]


def test_values_stand_beside_the_users_own_past_and_the_population(model: TwoEstimators) -> None:
    """Numbers of a reason: now, as a rule, and the population's median."""
    history = visits(*(NOON + 2 * day * DAY_MS for day in range(31)))
    as_of = np.array([int(history["occurred_at"][-1]) + 9 * DAY_MS])

    told = Explainer(model).explanations(facts_of(history), as_of)

    assert told is not None
    by_concept = {reason.concept: reason for reason in told[0].reasons}
    assert (9.0, 2.0) == (by_concept["recency"].value, by_concept["recency"].usual)
    assert by_concept["recency"].typical == pytest.approx(45, abs=5)  # silences were 0 to 90 days
    assert (10.0, 14.23) == (by_concept["frequency"].value, by_concept["frequency"].usual)
    assert by_concept["trend"].usual == pytest.approx(3.5, abs=0.1)
    assert by_concept["context"].typical is None


def test_medians_are_of_known_values() -> None:
    """A feature nobody stated has none; a feature of both views is told of the record."""
    rows = np.arange(3.0 * len(FEATURES)).reshape(3, -1)
    rows[:, 0] = np.nan
    rows[0, 1] = np.nan

    found = typical_values(rows, np.full((3, len(PREDICT_INPUTS)), 7.0))

    middle = rows[1, [feature.name for feature in FEATURES].index("pages_visited")]
    assert FEATURES[0].name not in found
    assert found[FEATURES[1].name] == rows[1:, 1].mean()
    assert (middle, 7.0) == (found["pages_visited"], found["days_since_signup"])


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (0, "0 minutes"), (1 / 24 / 60, "1 minute"), (0.07, "1 hour"), (1.9, "45 hours"),
        (2, "2 days"), (119.9, "119 days"), (121, "3 months"), (800, "2 years"),
    ],
)  # fmt: skip
def test_spans_read_naturally(days: float, words: str) -> None:
    """Minutes, hours, days, months or years: the unit a person would use."""
    assert words == span(days)


def test_intervals_and_rates_read_naturally() -> None:
    """`every day`, not `every 24 hours`; rare visits per month or year, both in one unit."""
    assert ["every 30 minutes", "every day", "every 2 days"] == [
        every(30 * MINUTE_MS / DAY_MS), every(1.2), every(1.99)
    ]  # fmt: skip
    assert "3.5 days a week" == rate(0.5)
    assert "0.6 days a month of late; 1.5" == rates(0.02, 0.05)
    assert "0.4 days a year" == rate(0.001)
    assert ["10 hours", "2 days"] == [around(0.42), around(1.9)]
