"""How long a silence means that somebody has gone: the horizon, and whether it suits a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.errors import Misconfigured
from contracts.times import DAY_MS
from model.dataset import silences
from model.event_log import EventLog
from model.instants import FOREVER

RETURNING_SHARE: Final = 0.1
"""A horizon is long enough when fewer than this share of silences of that length ever end."""

SLOW_SHARE: Final = 0.2
"""More users than this share with a usual gap over half the horizon, and labels mean little."""

FEWEST_SILENCES: Final = 50


@dataclass(frozen=True)
class Preset:
    """Horizon and activity window, days, that suit a kind of business."""

    horizon_days: int
    active_days: int


PRESETS: Final = {"game": Preset(14, 7), "saas": Preset(30, 30), "retail": Preset(90, 180)}


@dataclass(frozen=True)
class Fit:
    """How a horizon suits a log; shares are None where nothing can be said."""

    horizon_days: int
    returning: float | None
    """Of users silent for the horizon, the share that came back later."""
    slow: float | None
    """Share of users whose usual gap exceeds half the horizon."""

    @property
    def is_short(self) -> bool:
        """Whether many users are counted as gone who merely pause."""
        return self.slow is not None and self.slow > SLOW_SHARE


def fit_of(log: EventLog, horizon_days: int) -> Fit:
    """Look at a horizon against the whole log."""
    return Fit(horizon_days, returning_share(log, horizon_days), slow_share(log, horizon_days))


def returning_share(log: EventLog, horizon_days: int) -> float | None:
    """Of silences that reached the horizon, the share that ended.

    Only those with at least another horizon to end in: a silence that began at the end of the log
    tells nothing. None with fewer than FEWEST_SILENCES of them.
    """
    found = silences(log)
    if not len(found.start):
        return None
    length = horizon_days * DAY_MS
    end = int(found.start.max())
    reached = (found.end - found.start > length) & (found.start + 2 * length <= end)
    if reached.sum() < FEWEST_SILENCES:
        return None
    return float((found.end[reached] <= end).mean())


def slow_share(log: EventLog, horizon_days: int) -> float | None:
    """Share of users, of those with at least 2 gaps between days, whose geometric mean gap exceeds
    half the horizon; None when there is no such user."""
    found = silences(log)
    gap = (found.end - found.start) / DAY_MS
    closed = (found.end < FOREVER) & (gap > 0.5)
    users = np.bincount(found.user[closed], minlength=len(log.user_ids))
    octaves = np.bincount(
        found.user[closed], weights=np.log2(gap[closed]), minlength=len(log.user_ids)
    )
    several = users >= 2
    if not several.any():
        return None
    usual = np.exp2(octaves[several] / users[several])
    return float((usual > horizon_days / 2).mean())


def shortest_horizon(log: EventLog, longest_days: int) -> int:
    """The smallest horizon, whole days up to `longest_days`, after which few ever return.

    Raises Misconfigured, saying how near it came, when there is none.
    """
    lowest: tuple[float, int] | None = None
    for days in range(1, longest_days + 1):
        share = returning_share(log, days)
        if share is None:
            break
        if share < RETURNING_SHARE:
            return days
        if lowest is None or share < lowest[0]:
            lowest = (share, days)
    told = (
        "the log has too few silences to tell"
        if lowest is None
        else f"after {lowest[1]} days of silence {lowest[0]:.0%} still come back"
    )
    raise Misconfigured(
        f"--horizon-days auto: no horizon up to {longest_days} days after which fewer than "
        f"{RETURNING_SHARE:.0%} return ({told}): state --horizon-days, or give more history"
    )
