"""What alerts would have been worth: figures of alerts over a stretch of a recorded log.

Everything is counted by episode, that is by opened alert, over the days of a window each of whose
moments is followed by a whole horizon of log, so that every alert's outcome is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec
import numpy as np

from contracts.times import DAY_MS
from model.dataset import Silences
from model.instants import FOREVER, Instants

UNAIDED_DAYS: Final = 3
PER_DAYS: Final = 90
PER_NEW_USERS: Final = 100
USUAL_GAPS: Final = 2.0
"""The rule of thumb that alerts are held against: silent for so many times the usual gap."""


@dataclass(frozen=True)
class Openings:
    """Opened alerts, (n,) each: about whom, and when (epoch ms)."""

    user: np.ndarray
    at: np.ndarray

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, chosen: np.ndarray) -> Openings:
        return Openings(self.user[chosen], self.at[chosen])


@dataclass(frozen=True)
class Watched:
    """What really happened: every silence of the users watched, and the window that counts.

    begins, ends: epoch ms; the log goes on for at least `horizon` after `ends`.
    horizon: who does nothing for so long (ms) after an alert has churned.
    active: a user counts as active, and at first as new, for so long (ms).
    """

    silences: Silences
    begins: int
    ends: int
    horizon: int
    active: int

    @cached_property
    def visits(self) -> Instants:
        """Everybody's activity."""
        return Instants(self.silences.user, self.silences.start)

    def within(self, openings: Openings) -> Openings:
        """Those that fall into the window."""
        return openings[(openings.at >= self.begins) & (openings.at < self.ends)]


class AlertFigures(msgspec.Struct, frozen=True):
    """What somebody who gets these alerts would live through; None where nothing can be said."""

    alerts: int
    days: float
    per_day_mean: float
    per_day_median: float
    per_day_p95: float
    precision: float | None
    """Of alerts: no activity for the horizon afterwards."""
    recall: float | None
    """Of churn episodes: alerted about before the user came back."""
    in_time: float | None
    """Of churn episodes: alerted about within a horizon of the last activity."""
    churn_episodes: int
    """Silences longer than the horizon that began in the window."""
    silent_days_median: float | None
    """Since the last activity, at the alert."""
    back_unaided: float | None
    """Of alerts: the user was back within UNAIDED_DAYS. History had nobody to help."""
    per_user_90_days: float | None
    """Alerts per 90 days in which one user is active."""
    per_1000_a_day: float | None
    """Alerts per 1,000 active users a day."""
    lead_days_median: float | None
    """Of churn episodes told of in time: from the first alert to the end of the horizon."""
    per_100_new_users: float | None
    """Alerts about users in their first `active` days, per 100 of such users."""


def figures_of(openings: Openings, watched: Watched) -> AlertFigures:
    """Figures of the alerts in the window; alerts before it still count as told of."""
    counted = watched.within(openings)
    days = (watched.ends - watched.begins) / DAY_MS
    a_day = _per_day(counted.at, watched)
    later = watched.visits.next(counted.user, counted.at)
    since = watched.visits.last(counted.user, counted.at)
    known = since > -FOREVER
    churned = _churn_episodes(watched)
    told_at = Instants(openings.user, openings.at).next(churned.user, churned.start)
    deadline = churned.start + watched.horizon
    lead = (deadline - told_at)[told_at <= deadline]
    active_days = _active_user_days(watched)
    return AlertFigures(
        alerts=len(counted),
        days=round(days, 2),
        per_day_mean=len(counted) / days,
        per_day_median=float(np.median(a_day)),
        per_day_p95=float(np.percentile(a_day, 95)),
        precision=_mean(later > counted.at + watched.horizon),
        # Strictly: FOREVER stands for no alert and for no return alike.
        recall=_mean(told_at < churned.end),
        in_time=_mean(told_at <= deadline),
        churn_episodes=len(churned.start),
        silent_days_median=(
            float(np.median((counted.at - since)[known])) / DAY_MS if known.any() else None
        ),
        back_unaided=_mean(later <= counted.at + UNAIDED_DAYS * DAY_MS),
        per_user_90_days=_ratio(PER_DAYS * len(counted), active_days),
        per_1000_a_day=_ratio(1000 * len(counted), active_days),
        lead_days_median=float(np.median(lead)) / DAY_MS if len(lead) else None,
        per_100_new_users=_per_new_users(counted, watched),
    )


@dataclass(frozen=True)
class Stretches:
    """Silences as they stood when the session had ended; (n,) arrays."""

    user: np.ndarray
    last_seen: np.ndarray
    """Epoch ms."""
    until: np.ndarray
    """Epoch ms of the next session, FOREVER if none."""
    usual_gap: np.ndarray
    """ms between the user's sessions, NaN where not known."""
    active_days: np.ndarray
    """Days the user had been active on by then."""

    def __getitem__(self, chosen: np.ndarray) -> Stretches:
        return Stretches(
            self.user[chosen],
            self.last_seen[chosen],
            self.until[chosen],
            self.usual_gap[chosen],
            self.active_days[chosen],
        )


def after_usual_gaps(stretches: Stretches, cooldown: int, least_active_days: int) -> Openings:
    """Alert whoever is silent for USUAL_GAPS times their usual gap, and a day at least.

    cooldown: least ms between two alerts of a user. No model, no training.
    """
    known = ~np.isnan(stretches.usual_gap) & (stretches.active_days >= least_active_days)
    gap = np.where(known, stretches.usual_gap, 0.0)
    at = stretches.last_seen + np.maximum(USUAL_GAPS * gap, DAY_MS).astype(np.int64)
    chosen = np.flatnonzero(known & (at < stretches.until))
    order = chosen[np.lexsort((at[chosen], stretches.user[chosen]))]
    kept, before = [], (-1, 0)
    for place, user, moment in zip(
        order.tolist(), stretches.user[order].tolist(), at[order].tolist(), strict=True
    ):
        if user != before[0] or moment - before[1] >= cooldown:
            kept.append(place)
            before = (user, moment)
    picked = np.array(kept, np.int64)
    return Openings(stretches.user[picked], at[picked])


def at_random(
    stretches: Stretches, watched: Watched, count: int, least_active_days: int, seed: int
) -> Openings:
    """Alert `count` times at a random instant of somebody's silence, from its first day on to the
    end of their being active; every instant is as likely."""
    begin = np.maximum(stretches.last_seen + DAY_MS, watched.begins)
    end = np.minimum(stretches.until, stretches.last_seen + watched.active)
    length = np.maximum(np.minimum(end, watched.ends) - begin, 0)
    length[stretches.active_days < least_active_days] = 0
    before = np.cumsum(length)
    if not len(before) or not before[-1]:
        return Openings(np.empty(0, np.int64), np.empty(0, np.int64))
    spot = np.random.default_rng(seed).integers(int(before[-1]), size=count)
    chosen = np.searchsorted(before, spot, side="right")
    at = begin[chosen] + spot - (before[chosen] - length[chosen])
    return Openings(stretches.user[chosen], at)


def at_most(openings: Openings, count: int, seed: int) -> Openings:
    """`count` of the alerts, drawn at random, or all where there are no more."""
    if len(openings) <= count:
        return openings
    drawn = np.random.default_rng(seed).permutation(len(openings))[:count]
    return openings[np.sort(drawn)]


def _per_day(at: np.ndarray, watched: Watched) -> np.ndarray:
    """(d,) alerts on each whole day of 24 hours from the window's begin; at least one day."""
    days = max((watched.ends - watched.begins) // DAY_MS, 1)
    day = (at - watched.begins) // DAY_MS
    return np.bincount(day[day < days], minlength=days)


def _churn_episodes(watched: Watched) -> Silences:
    every = watched.silences
    long = every.end - every.start > watched.horizon
    return every[long & (every.start >= watched.begins) & (every.start < watched.ends)]


def _active_user_days(watched: Watched) -> float:
    every = watched.silences
    until = np.minimum(np.minimum(every.end, every.start + watched.active), watched.ends)
    spent = np.maximum(until - np.maximum(every.start, watched.begins), 0)
    return float(spent.sum() / DAY_MS)


def _per_new_users(counted: Openings, watched: Watched) -> float | None:
    first = np.full(int(watched.silences.user.max(initial=-1)) + 1, FOREVER, np.int64)
    np.minimum.at(first, watched.silences.user, watched.silences.start)
    # Of whom the window shows every day of being new.
    new = (first >= watched.begins) & (first + watched.active <= watched.ends)
    came = np.where(new, first, -FOREVER)[counted.user]
    about = int((counted.at <= came + watched.active).sum())
    return _ratio(PER_NEW_USERS * about, float(new.sum()))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
