"""What alerts do: intervals, sizes, and an effect that is known because it was made."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Misconfigured
from contracts.times import DAY_MS
from model.effect import (
    CONFIDENCE,
    POWER,
    Alerted,
    Arm,
    alerts_needed,
    compare,
    effect,
    first_alerts,
    levels,
    newcombe,
    smallest_lift,
    wilson,
)
from model.event_log import event_log
from model.instants import FOREVER, Instants
from model.simulator import Population, simulate
from tests.unit.scorer.stand import RULES

HORIZON = 14 * DAY_MS
DRAWS = 400


def alerted(user: list[int], at: list[int], treated: list[bool]) -> Alerted:
    return Alerted(np.array(user, np.int64), np.array(at, np.int64), np.array(treated, bool))


@pytest.mark.parametrize(
    ("successes", "of", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_score_intervals_are_those_of_the_paper(
    successes: int, of: int, low: float, high: float
) -> None:
    """
    Wilson intervals equal those printed in Newcombe 1998 (Statistics in Medicine 17, 857-872).
    """
    found = wilson(successes, of)

    assert (low, high) == tuple(np.round(found, 4))


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_intervals_of_differences_are_those_of_the_paper(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    """
    Intervals equal those of method 10 in Newcombe 1998 (Statistics in Medicine 17, 873-890).
    """
    found = newcombe(*one, *other)

    assert (low, high) == tuple(np.round(found, 4))


@given(of=st.integers(1, 400), other_of=st.integers(1, 400), data=st.data())
def test_swapping_the_arms_mirrors_the_interval(
    of: int, other_of: int, data: st.DataObject
) -> None:
    """
    The interval of a difference holds it, and that of the opposite difference is its mirror.
    """
    one = data.draw(st.integers(0, of))
    other = data.draw(st.integers(0, other_of))

    low, high = map(float, newcombe(one, of, other, other_of))
    mirrored = tuple(map(float, newcombe(other, other_of, one, of)))

    difference = one / of - other / other_of
    assert low - 1e-9 <= difference <= high + 1e-9
    assert (-high, -low) == pytest.approx(mirrored, abs=1e-9)


def test_a_holdout_says_how_many_alerts_it_takes() -> None:
    """
    To tell 45 % retention from 40 % takes 8,399 alerts with a tenth held out, 3,062 with half.
    """
    assert (8_399, 3_062) == (alerts_needed(0.4, 0.05, 0.1), alerts_needed(0.4, 0.05, 0.5))


@given(retention=st.floats(0.05, 0.7), lift=st.floats(0.02, 0.25), share=st.floats(0.05, 0.95))
def test_what_is_needed_is_what_suffices(retention: float, lift: float, share: float) -> None:
    """
    So many users as a lift needs can show a lift of that size, give or take a user.
    """
    users = alerts_needed(retention, lift, share)
    control = round(users * share)

    found = smallest_lift(retention, users - control, control)

    assert found == pytest.approx(lift, rel=0.05)


def test_sizes_give_the_power_they_promise() -> None:
    """
    Of experiments of the size needed, the promised share finds the lift.
    """
    rng = np.random.default_rng(0)
    users = alerts_needed(0.4, 0.05, 0.2)
    control = round(users * 0.2)
    held = rng.binomial(control, 0.40, 4_000)
    told = rng.binomial(users - control, 0.45, 4_000)

    low, _ = newcombe(told, users - control, held, control)

    assert POWER == pytest.approx((low > 0).mean(), abs=0.025)


@given(rules=st.integers(0, 1_000))
def test_all_intervals_together_may_be_wrong_as_often_as_one(rules: int) -> None:
    """
    What the intervals may be wrong adds up to that of a single one, whose level is that of one
    rule; and the level for all rules together depends on no number of rules beyond the second.
    """
    level = levels(rules)

    if rules <= 1:
        assert (CONFIDENCE, CONFIDENCE) == (level.together, level.each)
        return
    doubts = (1 - level.together) + rules * (1 - level.each)
    assert 1 - CONFIDENCE == pytest.approx(doubts)
    assert levels(2).together == level.together


@pytest.mark.parametrize("rules", [1, 2, 5, 12])
@pytest.mark.parametrize("retention", [0.1, 0.4, 0.8])
def test_rules_that_do_nothing_are_seldom_said_to_do_anything(rules: int, retention: float) -> None:
    """
    Of experiments in which no rule has an effect, 5 % or fewer claim one anywhere, give or take
    chance. Were each rule by itself at 95 %, one of five would with five rules.
    """
    rng = np.random.default_rng(rules)
    draws = 20_000
    told = rng.binomial(1_800, retention, (draws, rules))
    held = rng.binomial(200, retention, (draws, rules))

    def claimed(confidence: float) -> np.ndarray:
        return np.asarray(np.any(_excludes_zero(told, 1_800, held, 200, confidence), axis=1))

    level = levels(rules)
    everybody = told.sum(axis=1), 1_800 * rules, held.sum(axis=1), 200 * rules
    anywhere = claimed(level.each) | _excludes_zero(*everybody, level.together)

    doubt = 1 - CONFIDENCE
    assert anywhere.mean() <= doubt + 3 * np.sqrt(doubt * CONFIDENCE / draws)
    if rules >= 5:
        assert claimed(CONFIDENCE).mean() > 0.2


@pytest.mark.parametrize("rules", [2, 6])
def test_a_rule_that_works_is_found_among_others(rules: int) -> None:
    """
    Of experiments of the size needed at a rule's level, the promised share finds its lift; at one
    rule's level, so many users would be too few.
    """
    level = levels(rules).each
    users = alerts_needed(0.4, 0.05, 0.5, level)
    rng = np.random.default_rng(rules)
    told = rng.binomial(users // 2, 0.45, DRAWS)
    held = rng.binomial(users // 2, 0.40, DRAWS)

    found = [
        _claims(Arm(users // 2, int(one)), Arm(users // 2, int(other)), level)
        for one, other in zip(told, held, strict=True)
    ]

    assert POWER == pytest.approx(np.mean(found), abs=0.07)
    assert users > alerts_needed(0.4, 0.05, 0.5)


def _claims(treated: Arm, control: Arm, confidence: float) -> bool:
    found = compare(treated, control, waiting=0, per_day=0.0, confidence=confidence)
    return found.verdict != "not yet known"


def _excludes_zero(
    told: np.ndarray, of: int, held: np.ndarray, of_held: int, confidence: float
) -> np.ndarray:
    low, high = newcombe(told, of, held, of_held, NormalDist().inv_cdf(0.5 + confidence / 2))
    return np.asarray((low > 0) | (high < 0))


@pytest.mark.parametrize(
    ("retention", "lift", "share"),
    [(0.4, 0.05, 0.0), (0.4, 0.05, 1.0), (0.98, 0.05, 0.1), (0.4, 0.0, 0.1)],
)
def test_an_experiment_that_cannot_be_is_refused(
    retention: float, lift: float, share: float
) -> None:
    """
    Shares outside 0 to 1, and a lift of nothing, are refused.
    """
    with pytest.raises(Misconfigured):
        alerts_needed(retention, lift, share)


def test_a_user_counts_once_by_the_first_alert() -> None:
    """
    Of a user's alerts the earliest counts, with its arm, whatever came later.
    """
    several = alerted([3, 1, 3, 1, 2], [50, 40, 20, 60, 30], [True, False, False, True, True])

    first = first_alerts(several)

    assert [(1, 40, False), (2, 30, True), (3, 20, False)] == list(
        zip(first.user.tolist(), first.at.tolist(), first.treated.tolist(), strict=True)
    )


def test_only_settled_outcomes_are_compared() -> None:
    """
    Users whose horizon is not over wait; those who came back after it were not retained.
    """
    day = DAY_MS
    visits = Instants(np.array([0, 1, 2]), np.array([3 * day, 9 * day, 12 * day]))
    several = alerted([0, 1, 2, 3], [day, day, 11 * day, 2 * day], [True, True, True, False])

    found = effect(visits, several, horizon=5 * day, until=15 * day)

    assert (Arm(2, 1), Arm(1, 0), 1) == (found.treated, found.control, found.waiting)
    assert 0.5 == found.difference


def test_without_controls_nothing_is_known() -> None:
    """
    While nobody is held out there is no difference, and the verdict is `not yet known`.
    """
    visits = Instants(np.array([0]), np.array([2 * DAY_MS]))

    found = effect(visits, alerted([0], [DAY_MS], [True]), horizon=HORIZON, until=99 * DAY_MS)

    assert ("not yet known", None, None) == (found.verdict, found.difference, found.days_needed)


def test_days_still_needed_follow_the_pace() -> None:
    """
    What is missing of the users needed comes at the pace of the last weeks.
    """
    users = np.arange(2_000)
    at = users * (100 * DAY_MS // 2_000)  # 20 a day
    several = Alerted(users, at, users % 10 != 0)
    back = users[users % 7 < 3]
    visits = Instants(back, at[back] + DAY_MS)

    found = effect(visits, several, horizon=HORIZON, until=100 * DAY_MS)

    assert found.alerts_needed is not None
    settled = found.treated.users + found.control.users
    share = found.control.users / settled
    assert alerts_needed(found.control.retention or 0.0, 0.05, share) == found.alerts_needed
    assert 20.0 == pytest.approx(found.alerts_per_day, rel=0.01)
    assert (found.alerts_needed - settled) / 20 == pytest.approx(found.days_needed, rel=0.02)


@pytest.fixture(scope="module")
def silent() -> tuple[Alerted, np.ndarray]:
    """Users of a made-up population when they are first silent for three days, and when they are
    next seen, as nobody helps them."""
    log = event_log(simulate(Population(users=700, days=90, seed=3)), RULES)
    user, seen = log.user[log.active], log.rows["occurred_at"][log.active]
    visits = Instants(user, seen)
    missed = visits.next(user, seen) > seen + 3 * DAY_MS
    moments = Alerted(user[missed], seen[missed] + 3 * DAY_MS, np.ones(missed.sum(), bool))
    until = int(seen.max()) - HORIZON
    first = first_alerts(moments[moments.at <= until])
    return first, visits.next(first.user, first.at)


def outcomes(
    silent: tuple[Alerted, np.ndarray], saved: float, rng: np.random.Generator, share: float = 0.5
) -> tuple[Instants, Alerted, float]:
    """An experiment on the population: of the treated who would not have come back, the share
    `saved` does. Returns visits, alerts and the true rise in retention among these users."""
    first, following = silent
    alone = following <= first.at + HORIZON
    could = ~alone & (rng.random(len(first)) < saved)
    treated = rng.random(len(first)) >= share
    helped = np.flatnonzero(could & treated)
    back = first.at[helped] + rng.integers(1, HORIZON, len(helped))
    came = following < FOREVER
    visits = Instants(
        np.concatenate([first.user[came], first.user[helped]]),
        np.concatenate([following[came], back]),
    )
    return visits, Alerted(first.user, first.at, treated), float(could.mean())


def test_a_known_effect_is_recovered(silent: tuple[Alerted, np.ndarray]) -> None:
    """
    Where alerts bring back a known share of a simulated population, the interval covers the truth
    in about 95 % of draws, and so large an effect is seen in nearly all.
    """
    rng = np.random.default_rng(1)
    covered, seen = [], []
    for _ in range(DRAWS):
        visits, several, truth = outcomes(silent, 0.9, rng)
        found = effect(visits, several, horizon=HORIZON, until=2**61)
        assert found.interval is not None
        covered.append(found.interval[0] <= truth <= found.interval[1])
        seen.append(found.verdict == "alerts help")

    assert np.mean(covered) >= 0.93
    assert np.mean(seen) >= 0.95


def test_no_effect_stays_unknown(silent: tuple[Alerted, np.ndarray]) -> None:
    """
    Where alerts do nothing, `not yet known` is said in about 95 % of draws, and harm is seen no
    more often than help.
    """
    rng = np.random.default_rng(2)
    verdicts = []
    for _ in range(DRAWS):
        visits, several, truth = outcomes(silent, 0.0, rng, share=0.3)
        assert 0.0 == truth
        verdicts.append(effect(visits, several, horizon=HORIZON, until=2**61).verdict)

    unknown = np.mean(np.array(verdicts) == "not yet known")
    # Four standard errors of a share of .95 in so many draws.
    assert 0.95 == pytest.approx(unknown, abs=4 * (0.95 * 0.05 / DRAWS) ** 0.5)


def test_the_margin_is_that_of_a_normal() -> None:
    """
    An interval of many users has the width of the textbook's normal approximation.
    """
    low, high = newcombe(400_000, 1_000_000, 390_000, 1_000_000)
    error = (0.4 * 0.6 / 1e6 + 0.39 * 0.61 / 1e6) ** 0.5

    assert 2 * NormalDist().inv_cdf(0.975) * error == pytest.approx(float(high - low), rel=1e-3)
