"""What alerts do, told from who would have come back anyway.

A holdout makes every alert an experiment: some users are alerted about and nobody is told. Users
are compared by the arm they were given (intention to treat), whatever became of the message, and
each counts once, by their first alert: what follows a second one may be the first one's doing.

Sources: the interval is Newcombe's hybrid score interval for a difference of two proportions
(Statistics in Medicine 17, 1998, 873-890, method 10) from two Wilson intervals (JASA 22, 1927,
209-212). Sizes are of the two-sided z-test with unpooled variance (Fleiss, Levin and Paik,
Statistical Methods for Rates and Proportions, 3rd ed. 2003, chapter 4, without the continuity
correction). Both hold for one look at a number of alerts stated before: whoever looks every day
until an interval excludes zero will, in the end, see one that does.

Several rules looked at together would, each by itself at 95 %, too often show one that does nothing
as one that helps or harms. Their intervals are widened after Bonferroni (Dunn, JASA 56, 1961,
52-64), with unequal parts as Holm has them (Scandinavian Journal of Statistics 6, 1979, 65-70): a
verdict is what its interval shows, which the stepwise methods do not leave true.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, Literal

import numpy as np

from contracts.errors import Misconfigured
from contracts.times import DAY_MS
from model.instants import Instants

CONFIDENCE: Final = 0.95
POWER: Final = 0.8
WORTHWHILE: Final = 0.05
"""The rise in retention an experiment is planned for, unless somebody says otherwise."""
PACE_DAYS: Final = 28
"""How far back the current pace looks."""


def _z(confidence: float) -> float:
    """How many standard errors a two-sided interval reaches."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


Z: Final = _z(CONFIDENCE)
_Z_POWER: Final = NormalDist().inv_cdf(POWER)

Verdict = Literal["not yet known", "alerts help", "alerts harm"]


@dataclass(frozen=True)
class Alerted:
    """Users' first alerts, (n,) each: whom, when (epoch ms), and whether somebody was told."""

    user: np.ndarray
    at: np.ndarray
    treated: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, chosen: np.ndarray) -> Alerted:
        return Alerted(self.user[chosen], self.at[chosen], self.treated[chosen])


@dataclass(frozen=True)
class Arm:
    """Users of one arm whose outcome is known, and how many of them came back in time."""

    users: int
    retained: int

    @property
    def retention(self) -> float | None:
        return self.retained / self.users if self.users else None


@dataclass(frozen=True)
class Effect:
    """What an experiment shows so far."""

    treated: Arm
    control: Arm
    waiting: int
    """Users alerted about so lately that nobody knows yet whether they come back."""
    difference: float | None
    """Retention of treated minus control; None while an arm is empty."""
    interval: tuple[float, float] | None
    """Of the difference, at `confidence`."""
    confidence: float
    """Of the interval, the verdict and the sizes below."""
    smallest: float | None
    """The least rise that so many users show with POWER."""
    planned_lift: float
    alerts_needed: int | None
    """Users, in both arms together, to show `planned_lift` with POWER."""
    alerts_per_day: float
    """First alerts a day, lately."""
    days_needed: float | None
    """Until `alerts_needed` are known, at that pace; None where it never comes to it."""

    @property
    def verdict(self) -> Verdict:
        """`not yet known` until the interval excludes zero."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "not yet known"
        return "alerts help" if self.interval[0] > 0 else "alerts harm"


@dataclass(frozen=True)
class Levels:
    """The confidence of intervals that are looked at together."""

    together: float
    """Of the one for all rules together."""
    each: float
    """Of each rule's."""


def levels(rules: int) -> Levels:
    """With them all the intervals of an experiment hold at once with CONFIDENCE, or more.

    Where there are several rules, half of the doubt goes to all of them together and half is shared
    out among them. So one more rule does not blur the answer to the question an experiment is
    planned for, and the rules may be as many as they are.
    """
    if rules <= 1:
        return Levels(CONFIDENCE, CONFIDENCE)
    doubt = (1 - CONFIDENCE) / 2
    return Levels(1 - doubt, 1 - doubt / rules)


def first_alerts(alerted: Alerted) -> Alerted:
    """Each user's earliest alert, by user; on a tie the one that was delivered counts."""
    order = np.lexsort((~alerted.treated, alerted.at, alerted.user))
    _, first = np.unique(alerted.user[order], return_index=True)
    return alerted[order[first]]


def retained(visits: Instants, alerted: Alerted, horizon: int) -> np.ndarray:
    """(n,) bool: the user did something in (at, at + horizon] (ms)."""
    return np.asarray(visits.next(alerted.user, alerted.at) <= alerted.at + horizon)


def effect(
    visits: Instants,
    alerted: Alerted,
    *,
    horizon: int,
    until: int,
    planned_lift: float = WORTHWHILE,
) -> Effect:
    """Compare the arms; `alerted` may hold several alerts of a user.

    horizon: who does nothing for so long (ms) after the alert was not retained.
    until: epoch ms up to which the log of visits is complete.
    """
    first = first_alerts(alerted)
    first = first[first.at <= until]
    known = first.at + horizon <= until
    settled = first[known]
    back = retained(visits, settled, horizon)
    return compare(
        _arm(back[settled.treated]),
        _arm(back[~settled.treated]),
        waiting=int((~known).sum()),
        per_day=_pace(first.at, until),
        planned_lift=planned_lift,
    )


def compare(
    treated: Arm,
    control: Arm,
    *,
    waiting: int,
    per_day: float,
    planned_lift: float = WORTHWHILE,
    confidence: float = CONFIDENCE,
) -> Effect:
    """What the arms show.

    waiting: users whose outcome nobody knows yet. per_day: users who join a day, lately.
    confidence: of the interval; of several looked at together, see `levels`.
    """
    z = _z(confidence)
    settled = treated.users + control.users
    difference = interval = smallest = needed = days = None
    if treated.retention is not None and control.retention is not None:
        difference = treated.retention - control.retention
        low, high = newcombe(treated.retained, treated.users, control.retained, control.users, z)
        interval = (float(low), float(high))
        smallest = smallest_lift(control.retention, treated.users, control.users, confidence)
        share = control.users / settled
        if 0 < control.retention < 1 and 0 < control.retention + planned_lift < 1:
            needed = alerts_needed(control.retention, planned_lift, share, confidence)
            missing = max(needed - settled, 0)
            days = missing / per_day if per_day else (0.0 if not missing else None)
    return Effect(
        treated,
        control,
        waiting,
        difference,
        interval,
        confidence,
        smallest,
        planned_lift,
        needed,
        per_day,
        days,
    )


def wilson(successes: Any, of: Any, z: float = Z) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the score interval of a proportion; numbers or arrays, of > 0."""
    n = np.asarray(of, np.float64)
    share = np.asarray(successes, np.float64) / n
    middle = share + z * z / (2 * n)
    reach = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (
        np.asarray(np.maximum((middle - reach) / scale, 0.0)),
        np.asarray(np.minimum((middle + reach) / scale, 1.0)),
    )


def newcombe(
    successes: Any, of: Any, other_successes: Any, other_of: Any, z: float = Z
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end for the first proportion minus the other; numbers or arrays, of > 0."""
    one = np.asarray(successes, np.float64) / np.asarray(of, np.float64)
    other = np.asarray(other_successes, np.float64) / np.asarray(other_of, np.float64)
    low, high = wilson(successes, of, z)
    other_low, other_high = wilson(other_successes, other_of, z)
    difference = one - other
    return (
        np.asarray(difference - np.hypot(one - low, other_high - other)),
        np.asarray(difference + np.hypot(high - one, other - other_low)),
    )


def alerts_needed(
    retention: float, lift: float, control_share: float, confidence: float = CONFIDENCE
) -> int:
    """Users in both arms together for the test to show `lift` over `retention` with POWER.

    retention: of users nobody is told about. confidence: of the interval that is to show it.
    Raises Misconfigured for shares outside (0, 1), or no lift at all.
    """
    _require_share("the share held out", control_share)
    _require_share("the retention without alerts", retention)
    _require_share("that retention plus the lift", retention + lift)
    if not lift:
        raise Misconfigured("a lift of 0 takes endless alerts to show: state the least worth it")
    reach = _z(confidence) + _Z_POWER
    return int(np.ceil(_spread(retention, lift, control_share) / (lift / reach) ** 2))


def smallest_lift(
    retention: float, treated: int, control: int, confidence: float = CONFIDENCE
) -> float | None:
    """The least rise over `retention` that so many users show with POWER; None if none does."""
    users = treated + control
    share = control / users
    low, high = 0.0, 1.0 - retention
    reach = _z(confidence) + _Z_POWER

    def shows(lift: float) -> bool:
        error = np.sqrt(_spread(retention, lift, share) / users)
        return bool(lift >= reach * error)

    if not shows(high):
        return None
    # The lift grows faster than its error, so one crossing: halving finds it to 2**-40.
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _spread(retention: float, lift: float, control_share: float) -> float:
    """Variance of the difference of shares, times the users of both arms."""
    raised = retention + lift
    return retention * (1 - retention) / control_share + raised * (1 - raised) / (1 - control_share)


def _arm(back: np.ndarray) -> Arm:
    return Arm(len(back), int(back.sum()))


def _pace(at: np.ndarray, until: int) -> float:
    """Alerts a day over the last PACE_DAYS, or since the first if that is less."""
    if not len(at):
        return 0.0
    days = min(max((until - int(at.min())) / DAY_MS, 1.0), PACE_DAYS)
    return float((at > until - days * DAY_MS).sum() / days)


def _require_share(what: str, value: float) -> None:
    if not 0 < value < 1:
        raise Misconfigured(f"{what} must lie between 0 and 1, not {value:g}")
