"""The numbers by which users stand in the indexes of lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.ranks import (
    CLASSES,
    RISK_SPAN,
    WORTH_SPAN,
    classes,
    found_lapsed,
    has_money,
    monthly_cents,
    risk_scores,
    worth_scores,
)
from contracts.record import CANCELLED, LAPSED, blank_records
from contracts.times import DAY_MS

_USERS = st.lists(
    st.tuples(
        st.integers(0, 1_000_000),
        st.integers(0, 4),
        st.booleans(),
        st.integers(-(2**62), 2**62),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@given(_USERS)
def test_a_class_lies_below_another_as_a_whole(users):
    """Whatever risk and money, nobody of a later class stands above anybody of an earlier one."""
    records = records_of(users)
    of_class = classes(records["facts"], found_lapsed(records))

    for scores, span in ((risk_scores(records), RISK_SPAN), (worth_scores(records), WORTH_SPAN)):
        for later in range(1, CLASSES):
            above, below = scores[of_class < later], scores[of_class >= later]
            assert not len(above) or not len(below) or above.min() > below.max()
        assert (of_class == -np.floor(scores / span)).all()


@given(_USERS)
def test_the_value_comes_back_to_the_digit(users):
    """The index says the probability as the record does."""
    records = records_of(users)
    of_class = classes(records["facts"], found_lapsed(records))

    values = [
        round(s + c * RISK_SPAN, 6) for s, c in zip(risk_scores(records), of_class, strict=True)
    ]

    assert [micros / 1_000_000 for micros, *_ in users] == values


def test_money_a_month_is_what_came_in_over_the_time_known():
    """From first visit to last; a first month counts whole, and returns make nobody a loss."""
    facts = blank_records(4)["facts"]
    facts["first_seen"][:3] = 0
    facts["last_seen"][:3] = np.array([60, 3, 60]) * DAY_MS
    facts["value_cents"] = [6_000, 6_000, -500, 700]

    assert [3_000, 6_000, 0, 700] == monthly_cents(facts).tolist()
    assert [True] * 4 == has_money(facts).tolist()
    assert [False] == has_money(blank_records(1)["facts"]).tolist()


def records_of(users) -> np.ndarray:
    """(n,) RECORD of (millionths, gaps, cancelled, cents, lapsed) each."""
    records = blank_records(len(users))
    for i, (micros, gaps, cancelled, cents, lapsed) in enumerate(users):
        records["outlook"]["probability"][i] = micros
        records["facts"]["gaps"][i] = gaps
        records["facts"]["flags"][i] = CANCELLED if cancelled else 0
        records["facts"]["value_cents"][i] = cents
        records["outlook"]["state"][i] = LAPSED if lapsed else 0
    return records
