"""`top N a day`."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.fold import PolicyFold
from alerts.rules import Policy, Rule
from alerts.top import LEVELS, Crossings, Cut, Tops, at, decode, encode
from contracts.errors import Misconfigured
from contracts.scores import ChurnScore
from contracts.times import DAY_MS
from tests.churn_scores import NOON, churn_score

RUNGS = (0.5, 0.6, 0.7, 0.8, 0.9)


def population(users_a_day: int, days: int, seed: int = 7) -> list[ChurnScore]:
    """Users who fall silent and climb rung by rung, a day each, up to one drawn for each."""
    rng = random.Random(seed)
    scores = []
    for day in range(days):
        for number in range(users_a_day):
            begins = day + rng.random()
            for i in range(rng.randint(1, len(RUNGS))):
                scores.append(
                    churn_score(
                        RUNGS[i], begins + i + 1, user_id=f"{day}-{number}", last_seen_day=begins,
                        offset=day,
                    )
                )  # fmt: skip
    return sorted(scores, key=lambda score: score.scored_at)


@pytest.mark.parametrize("wanted", [3, 10, 25])
def test_about_so_many_open_a_day(wanted: int) -> None:
    """After a week to learn in, the mean of a month is within a fifth of what was asked for."""
    fold = PolicyFold(Policy((Rule(top=float(wanted), resolve_below=0.1),)))
    first = NOON + 10 * DAY_MS

    opened = [
        alert
        for score in population(60, 40)
        for alert in fold.score(score)
        if alert.kind == "opened" and alert.occurred_at.timestamp() * 1000 >= first
    ]

    assert wanted == pytest.approx(len(opened) / 30, rel=0.2)


def test_partitions_share_the_number() -> None:
    """Four folds over a quarter of the users each open as many together as one over all."""
    rule = Rule(top=12.0, resolve_below=0.1)
    folds = [PolicyFold(Policy((rule,)), partitions=4) for _ in range(4)]

    opened = 0
    for score in population(60, 40):
        told = folds[hash_of(score.user_id) % 4].score(score)
        if score.scored_at.timestamp() * 1000 >= NOON + 10 * DAY_MS:
            opened += sum(alert.kind == "opened" for alert in told)

    assert opened / 30 == pytest.approx(12, rel=0.25)


def hash_of(user_id: str) -> int:
    return sum(ord(char) * (i + 1) for i, char in enumerate(user_id))


def test_the_first_day_has_the_rules_threshold() -> None:
    """Nobody knows yet what a day brings."""
    crossings = Crossings()
    crossings.watch(NOON)

    assert at(0.7) == crossings.cut(5, 0.7, 0.5)
    assert at(0.5) == crossings.cut(5, 0.3, 0.5)


def test_the_cut_is_where_so_many_pass() -> None:
    """Ten a day reach 0.6 and four of them 0.8: seven are the four, and half of the others."""
    crossings = Crossings()
    for hour in range(24 * 60):
        crossings.watch(NOON + hour * DAY_MS // 24)
        if hour % 24 < 10:
            crossings.count(0.0, 0.8 if hour % 24 < 4 else 0.6)

    cut = crossings.cut(7, 0.7, 0.1)

    assert (0.61, 0.6) == (cut.level, cut.lower)
    assert 0.5 == pytest.approx(cut.share, abs=0.1)
    assert at(0.1) == crossings.cut(100, 0.7, 0.1)


def test_a_draw_decides_between() -> None:
    """Above the level everybody, below the lower one nobody, between them the share."""
    cut = Cut(0.8, 0.6, 0.25)
    draws = [str(number) for number in range(4_000)]

    assert [4_000, 0] == [sum(cut.takes(p, draw) for draw in draws) for p in (0.8, 0.59)]
    assert 0.25 == pytest.approx(sum(cut.takes(0.7, draw) for draw in draws) / 4_000, abs=0.03)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from(RUNGS)), max_size=30))
def test_what_is_stored_comes_back(steps: list[tuple[int, float]]) -> None:
    """And has the same cut; counts never go below nothing."""
    tops = Tops(1, 5)
    for moment, reached in steps:
        tops.of("a").watch(moment)
        tops.of("a").count(0.1, reached)

    again = decode(encode(tops))

    assert tops == again
    assert tops.of("a").cut(2, 0.7, 0.2) == again.of("a").cut(2, 0.7, 0.2)
    assert all(count >= 0 for count in again.of("a").counts)
    assert len(LEVELS) == len(again.of("a").counts)


@pytest.mark.parametrize("stored", [b"", b"\x02", b"\x01\xc1"])
def test_what_is_no_state_is_refused(stored: bytes) -> None:
    """Another version, or broken bytes."""
    with pytest.raises(Misconfigured):
        decode(stored)


def test_scores_that_come_again_are_not_counted_again() -> None:
    """A repeat leaves the counts as they are, also after the user has come back."""
    once, twice = (PolicyFold(Policy((Rule(top=5.0),))) for _ in range(2))
    silent = churn_score(0.6, 1)
    back = churn_score(0.1, 2, trigger="activity", last_seen_day=2.0)

    for score in (silent, back):
        once.score(score)
    for score in (silent, silent, back, silent):
        twice.score(score)

    assert once.tops == twice.tops


def test_who_is_in_a_cooldown_is_not_counted() -> None:
    """They could not open an episode, so they are none of the N."""
    fold = PolicyFold(Policy((replace(Rule(), top=5.0),)))
    fold.score(churn_score(0.9, 1))
    fold.score(churn_score(0.1, 2, trigger="activity", last_seen_day=2.0))
    before = list(fold.tops.of("default").counts)

    fold.score(churn_score(0.95, 2.5 + 1e-9, last_seen_day=1.0, offset=3))

    after = fold.tops.of("default").counts
    assert sum(after) < sum(before)
