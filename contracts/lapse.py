"""When somebody who stays silent has lapsed: the past of the business, no longer a risk to it.

A user lapses where the model's knowledge ends. Its silence grid reaches as far, so nothing is
scored from there on, and the last score, which would stand for ever, is no probability any more.
Whoever has lapsed is in no band, and in no list unless asked for, until they come back.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.times import DAY_MS, NEVER

SHORTEST_DAYS: Final = 60
HORIZONS: Final = 2
"""One in which to reach a high risk, and one in which somebody could act on it."""


def lapsed_after_days(horizon_days: int) -> int:
    """Days of silence that leave a user not lapsed: two horizons, at least 60 days."""
    return max(SHORTEST_DAYS, HORIZONS * horizon_days)


def lapses_at(last_seen: np.ndarray, horizon_days: int) -> np.ndarray:
    """(n,) epoch ms from which on users have lapsed; last_seen: (n,), not NEVER."""
    return last_seen + (lapsed_after_days(horizon_days) * DAY_MS + 1)


def has_lapsed(last_seen: np.ndarray, horizon_days: int, now: np.ndarray) -> np.ndarray:
    """(n,) bool as of (n,) epoch ms `now`; who was never seen has not lapsed."""
    lapsed: np.ndarray = (last_seen != NEVER) & (now >= lapses_at(last_seen, horizon_days))
    return lapsed
