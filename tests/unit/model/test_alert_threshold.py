"""The default rule's threshold: what is followed, what each rung is worth, and which is chosen."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.fold import PolicyFold
from alerts.rules import Policy, Rule
from contracts.default_rule import COOLDOWN_MS, LEAST_ACTIVE_DAYS
from contracts.scores import Crossing
from contracts.times import DAY_MS, HOUR_MS, NEVER, from_ms, to_ms
from model.alert_threshold import (
    AS_GOOD,
    FEWEST_ALERTS,
    FEWEST_CHURNED,
    Followed,
    balance,
    choose,
    openings,
    worth,
)
from model.figures import Rung
from model.instants import FOREVER
from tests.churn_scores import NOON, churn_score

D = DAY_MS
LEVELS = (0.2, 0.4, 0.6)
WIDTH = len(LEVELS)


def rung(level: float, alerts: int, precision: float | None, in_time: float | None) -> Rung:
    return Rung(level, alerts, precision, in_time, None, 0.0)


shares = st.none() | st.floats(0, 1)
ladders = st.lists(st.tuples(st.integers(0, 400), shares, shares), min_size=1, max_size=16).map(
    lambda found: [rung((i + 1) / 20, *one) for i, one in enumerate(found)]
)
budgets = st.floats(0.01, 5)


@given(ladders, st.integers(0, 300), budgets)
def test_what_is_chosen_is_a_rung_within_the_budget(
    rungs: list[Rung], churned: int, budget: float
) -> None:
    """
    One of the rungs, with no more alerts than allowed and enough to know of, and none of those
    above it is as good; or nothing at all.
    """
    found = choose(rungs, churned, budget)

    if found is None:
        return
    assert found in rungs
    assert churned >= FEWEST_CHURNED
    assert FEWEST_ALERTS <= found.alerts <= budget * churned
    assert balance(found) > 0
    above = [one for one in rungs if one.level > found.level and one.alerts >= FEWEST_ALERTS]
    assert all(balance(one) < balance(found) / AS_GOOD for one in above)


@given(ladders, st.integers(FEWEST_CHURNED, 300), budgets, budgets)
def test_a_larger_budget_never_raises_the_threshold(
    rungs: list[Rung], churned: int, one: float, other: float
) -> None:
    """
    Whoever may say more speaks as soon or sooner, and is never left without a threshold.
    """
    tight = choose(rungs, churned, min(one, other))
    wide = choose(rungs, churned, max(one, other))

    assert tight is None or (wide is not None and wide.level <= tight.level)


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.1, 1))
def test_the_balance_does_not_ask_for_a_base_rate(right: float, told: float, share: float) -> None:
    """
    It lies between the two shares, and grows with either.
    """
    found = balance(rung(0.5, 100, right, told))

    assert min(right, told) - 1e-9 <= found <= max(right, told) + 1e-9
    assert balance(rung(0.5, 100, right * share, told)) <= found + 1e-9
    assert balance(rung(0.5, 100, right, told * share)) <= found + 1e-9


def test_of_rungs_about_as_good_the_higher_one_is_taken() -> None:
    """
    It says less for as much.
    """
    rungs = [rung(0.3, 100, 0.5, 0.5), rung(0.4, 80, 0.5, 0.49), rung(0.5, 60, 0.5, 0.4)]

    assert rungs[1] == choose(rungs, 100)


def test_no_rung_below_one_beyond_the_budget_is_taken() -> None:
    """
    However few alerts it seems to come to: who is told at it is told at least as often as above.
    """
    rungs = [rung(0.3, 100, 0.9, 0.9), rung(0.4, 200, 0.5, 0.5), rung(0.5, 60, 0.5, 0.4)]

    assert rungs[2] == choose(rungs, 100)


@pytest.mark.parametrize(
    ("alerts", "churned"),
    [(FEWEST_ALERTS - 1, 100), (60, FEWEST_CHURNED - 1), (200, 100)],
    ids=["too few alerts", "too few who churned", "beyond the budget"],
)
def test_too_little_known_is_no_threshold(alerts: int, churned: int) -> None:
    """
    Then the one that holds without a model's own is left in force.
    """
    assert choose([rung(0.3, alerts, 0.5, 0.5)], churned) is None


def followed(*silences: tuple[int, float, float | None, list[float | None]]) -> Followed:
    """Silences as (user, start day, days to the next visit, days to each rung), patience a day."""
    user, start, gap, crossing = zip(*silences, strict=True)
    begin = np.array([NOON + round(day * D) for day in start], np.int64)
    return Followed(
        user=np.array(user, np.int64),
        start=begin,
        end=np.array(
            [FOREVER if g is None else b + round(g * D) for b, g in zip(begin, gap, strict=True)],
            np.int64,
        ),
        crossing=np.array(
            [
                [NEVER if day is None else b + round(day * D) for day in days]
                for b, days in zip(begin.tolist(), crossing, strict=True)
            ],
            np.int64,
        ),
        patient_until=begin + D,
        active_days=np.full(len(user), LEAST_ACTIVE_DAYS),
    )


def days(told: np.ndarray) -> list[list[float | None]]:
    return [[None if at == NEVER else (at - NOON) / D for at in row] for row in told.tolist()]


def test_an_opening_comes_when_a_rung_is_reached_and_the_patience_is_over() -> None:
    """
    A rung reached at once waits for the end of the patience; one reached after the return, or
    never, opens nothing.
    """
    found = followed((0, 0, 5, [0.0, 3.0, 6.0]), (1, 0, None, [2.0, 9.0, None]))

    assert [[1.0, 3.0, None], [2.0, 9.0, None]] == days(openings(found))


def test_users_of_few_active_days_are_passed_over() -> None:
    """
    As by the rule.
    """
    found = followed((0, 0, None, [1.0, 2.0, 3.0]))
    few = msgspec.convert(found.__dict__, dict) | {"active_days": np.array([LEAST_ACTIVE_DAYS - 1])}

    assert [[None] * WIDTH] == days(openings(Followed(**few)))


def test_a_cooldown_follows_the_return_that_ended_an_episode() -> None:
    """
    Ada's second silence opens at the first score later than a week after she was back; rungs that
    had not opened before open at once.
    """
    found = followed((0, 0, 3, [2.0, 4.0, 5.0]), (0, 3, None, [2.0, 4.0, 8.0]))

    assert [[2.0, None, None], [11.0, 7.0, 11.0]] == days(openings(found))


def test_each_rung_is_worth_what_it_told() -> None:
    """
    Ada churns and is told of five days before the horizon is over, Bo is told of too late, Cy
    comes back: half of who churned in time, two alerts of three right.
    """
    found = followed(
        (0, 0, None, [9.0, None, None]),
        (1, 0, None, [20.0, None, None]),
        (2, 0, 3, [1.0, 5.0, 5.0]),
    )

    def outcome(user: np.ndarray, as_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gone = np.where(user == 2, as_of >= NOON + 3 * D, True)
        return gone.astype(np.uint8), np.ones(len(user), bool)

    rungs, churned = worth(
        found, openings(found), outcome, np.array(LEVELS),
        horizon=14 * D, last=NOON + 100 * D, user_days=100.0,
    )  # fmt: skip

    assert 2 == churned
    assert Rung(0.2, 3, 0.666667, 0.5, 5.0, 30.0) == rungs[0]
    assert [(0.4, 0, None), (0.6, 0, None)] == [(r.level, r.alerts, r.precision) for r in rungs[1:]]


@given(
    st.lists(
        st.tuples(
            st.integers(30, 40 * 24),
            st.lists(st.none() | st.integers(1, 1000), min_size=3, max_size=3),
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=40)
def test_openings_are_those_of_the_policy(stories: list[tuple[int, list[int | None]]]) -> None:
    """
    At every rung the alerts worker, given the scores of the same silences, opens at the same
    moments.
    """
    silences, begin = [], 0.0
    for hours, reached in stories:
        known = sorted(hour for hour in reached if hour is not None)
        crossing = [hour / 24 for hour in known] + [None] * (WIDTH - len(known))
        silences.append((0, begin, hours / 24, crossing))
        begin += hours / 24
    found = followed(*silences)

    by_policy = []
    for level in LEVELS:
        fold = PolicyFold(Policy((Rule(threshold=level),)))
        opened = []
        for offset, (start, end, crossing, patient) in enumerate(
            zip(found.start, found.end, found.crossing, found.patient_until, strict=True)
        ):
            moments = {int(at) for at in crossing if at != NEVER} | {int(patient)}
            for at in sorted(moment for moment in moments if moment < end):
                risk = max(
                    [0.1, *(p for p, c in zip(LEVELS, crossing, strict=True) if NEVER != c <= at)]
                )
                score = msgspec.structs.replace(
                    churn_score(float(risk), offset=offset, usual_gap_hours=None),
                    scored_at=from_ms(at),
                    last_seen_at=from_ms(int(start)),
                    crossings=tuple(Crossing(one, None) for one in LEVELS),
                )
                opened += [to_ms(a.occurred_at) for a in fold.score(score) if a.kind == "opened"]
            back = msgspec.structs.replace(
                churn_score(0.1, offset=offset, trigger="activity"),
                scored_at=from_ms(int(end)),
                last_seen_at=from_ms(int(end)),
            )
            back = msgspec.structs.replace(
                back, position=msgspec.structs.replace(back.position, offset=offset + 1)
            )
            fold.score(back)
        by_policy.append(opened)

    ours = openings(found)
    assert by_policy == [[int(at) for at in ours[:, i] if at != NEVER] for i in range(WIDTH)]


def test_what_is_assumed_is_what_the_default_rule_does() -> None:
    """
    Training and the alerts worker mean the same rule.
    """
    rule = Rule()

    assert (COOLDOWN_MS, LEAST_ACTIVE_DAYS, None) == (
        rule.cooldown_ms,
        rule.least_active_days,
        rule.threshold,
    )
    assert 7 * 24 * HOUR_MS == COOLDOWN_MS
