"""Fixed-point decay: a table of whole numbers, the same on every machine."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.decay import ONE, TABLE_DAYS, decay, table, worth
from contracts.record import HALF_LIVES

DAYS = st.integers(0, TABLE_DAYS + 100)
VALUES = st.integers(0, 2**32 - 1)


def left_of(value: int, days: int) -> list[int]:
    """What is left of one value after `days`, per half-life."""
    values = np.full((1, len(HALF_LIVES)), value, np.uint64)
    left: list[int] = decay(values, np.array([days]))[0].tolist()
    return left


def test_the_table_never_rises():
    """
    A day more never leaves more.
    """
    assert (table()[:, 1:] <= table()[:, :-1]).all()


def test_the_table_is_what_exact_arithmetic_says():
    """
    Every entry is 2**32 * 2**(-days / half-life), rounded; the last one is nothing.
    """
    with localcontext() as context:
        context.prec = 60
        for row, half_life in enumerate(HALF_LIVES):
            for day in (0, 1, 2, 13, half_life, 365, 5000, TABLE_DAYS - 1):
                exact = 2**32 * Decimal(2) ** (-Decimal(day) / half_life)
                assert int(exact.to_integral_value()) == table()[row, day]
    assert [0] * len(HALF_LIVES) == table()[:, TABLE_DAYS].tolist()


def test_half_is_left_after_a_half_life():
    """
    Each column has its own half-life.
    """
    halves = [left_of(ONE, half_life)[i] for i, half_life in enumerate(HALF_LIVES)]

    assert [ONE // 2] * len(HALF_LIVES) == halves


@given(value=VALUES, days=DAYS)
def test_decay_rounds_half_up_in_whole_numbers(value, days):
    """
    It equals the same product in Python's integers, for every value a record can hold.
    """
    factors = table()[:, min(days, TABLE_DAYS)].tolist()
    expected = [(value * factor + 2**31) >> 32 for factor in factors] if days else [value] * 4

    assert expected == left_of(value, days)


@given(value=VALUES, days=DAYS)
def test_decay_never_adds(value, days):
    """
    What is left is never more than what was there, and never less than a day later.
    """
    left, later = left_of(value, days), left_of(value, days + 1)

    assert all(more <= value for more in left)
    assert all(less <= more for less, more in zip(later, left, strict=True))


@given(value=VALUES, first=st.integers(0, 400), then=st.integers(0, 400))
def test_a_wait_cut_in_two_differs_by_rounding_only(value, first, then):
    """
    Decay is applied once per advance, so the fold fixes where it is cut: at events.
    """
    at_once = left_of(value, first + then)
    in_two = [left_of(left_of(value, first)[i], then)[i] for i in range(len(HALF_LIVES))]

    assert all(abs(a - b) <= 2 for a, b in zip(at_once, in_two, strict=True))


def test_every_user_has_days_of_their_own():
    """
    Rows decay each by their own number of days.
    """
    values = np.full((3, len(HALF_LIVES)), 12_345_678, np.uint64)
    days = np.array([0, 5, 99_999])

    assert [left_of(12_345_678, int(d)) for d in days] == decay(values, days).tolist()


def test_an_event_of_today_is_worth_one():
    """
    A late one is worth what would be left of it.
    """
    assert [[ONE] * 4, left_of(ONE, 7)] == worth(np.array([0, 7])).tolist()
