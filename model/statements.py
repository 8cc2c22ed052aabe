"""What an event says of its user besides activity: login, categories, sign-up."""

from __future__ import annotations

import numpy as np

from contracts.events import CATEGORIES
from contracts.record import UNKNOWN
from contracts.times import NEVER


def fold_statements(facts: np.ndarray, events: np.ndarray, at: np.ndarray) -> None:
    """Take over the last stated login and categories and the earliest sign-up, in place.

    facts: (m,) FACTS; events: (n,) EVENT_ROW in log order per user; at: (n,) index into facts.
    """
    for name, unstated in (("login", UNKNOWN), *((name, 0) for name in CATEGORIES)):
        stated = np.flatnonzero(events[name] != unstated)
        if len(stated):
            # Of repeated indices the last one stays: the last in log order.
            facts[name][at[stated]] = events[name][stated]
    claims = np.flatnonzero(events["signup_at"] != NEVER)
    if len(claims):
        earlier(facts, "signup_at", at[claims], events["signup_at"][claims])


def earlier(facts: np.ndarray, name: str, at: np.ndarray, times: np.ndarray) -> None:
    """Lower time `name` to the least of `times` (n,) i8, in place; NEVER is no time at all."""
    unknown = np.iinfo(np.int64).max
    least = np.where(facts[name] == NEVER, unknown, facts[name])
    np.minimum.at(least, at, times)
    facts[name] = np.where(least == unknown, NEVER, least)
