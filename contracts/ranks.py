"""How users stand in the indexes that lists are read from: sorted sets of one number a user.

The number says two things. Who is left out of lists by default (those who have lapsed or cancelled,
and those with little evidence) stands below all others, so that a list without them does not pass
over them one by one: a user's number is their value less their class times the index' span, where
values are from 0 to less than the span.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.record import CANCELLED, LAPSED
from contracts.times import DAY_MS, NEVER

LITTLE_EVIDENCE: Final = 1
HAS_CANCELLED: Final = 2
HAS_LAPSED: Final = 4
"""Bits of a class; 0 are those whom everybody asks for."""
CLASSES: Final = 8

RISK_SPAN: Final = 2.0
"""Of the index by risk, whose values are probabilities of six decimals."""
WORTH_SPAN: Final = 1e12
"""Of the index by risk times money, whose values are whole cents a month."""

MONTH_DAYS: Final = 30
LEAST_GAPS: Final = 2
"""Pauses between sessions from which a user has a rhythm to be judged by."""

_MICRO: Final = 1_000_000
_MOST_CENTS: Final = 1e11


def classes(facts: np.ndarray, lapsed: np.ndarray) -> np.ndarray:
    """(n,) class of each of (n,) FACTS; lapsed: (n,) bool."""
    little = facts["gaps"] < LEAST_GAPS
    cancelled = (facts["flags"] & CANCELLED) != 0
    found: np.ndarray = little * LITTLE_EVIDENCE + cancelled * HAS_CANCELLED + lapsed * HAS_LAPSED
    return found


def found_lapsed(records: np.ndarray) -> np.ndarray:
    """(n,) bool: the timers of (n,) RECORD have found them lapsed."""
    lapsed: np.ndarray = (records["outlook"]["state"] & LAPSED) != 0
    return lapsed


def monthly_cents(facts: np.ndarray) -> np.ndarray:
    """(n,) float64 cents a user has brought in each 30 days from their first visit to their last.

    Returns are taken off, and nobody brings less than nothing. Who came for less than 30 days
    counts as one month: a first purchase is no daily one.
    """
    known = facts["last_seen"] != NEVER
    days = np.where(known, facts["last_seen"] - facts["first_seen"], 0) / DAY_MS
    cents: np.ndarray = np.maximum(facts["value_cents"], 0) / np.maximum(days / MONTH_DAYS, 1)
    return cents


def risk_scores(records: np.ndarray) -> np.ndarray:
    """(n,) float64 number of each of (n,) RECORD in the index by risk at the last score."""
    return _placed(_risk(records), records, RISK_SPAN)


def worth_scores(records: np.ndarray) -> np.ndarray:
    """(n,) float64 number of each of (n,) RECORD in the index by risk times money."""
    cents = np.minimum(np.rint(_risk(records) * monthly_cents(records["facts"])), _MOST_CENTS)
    return _placed(cents, records, WORTH_SPAN)


def has_money(facts: np.ndarray) -> np.ndarray:
    """(n,) bool: whose money is known, and who therefore stands in the index by worth."""
    found: np.ndarray = (facts["value_cents"] != 0) | (facts["purchase_cents"] != 0)
    return found


def _risk(records: np.ndarray) -> np.ndarray:
    risk: np.ndarray = records["outlook"]["probability"] / _MICRO
    return risk


def _placed(values: np.ndarray, records: np.ndarray, span: float) -> np.ndarray:
    placed: np.ndarray = values - classes(records["facts"], found_lapsed(records)) * span
    return placed
