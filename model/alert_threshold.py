"""The risk at which the default alert rule should speak, from the model's own validation periods.

A fixed risk means something else in every population: where few are ever that unlikely to return,
it is reached when all is over. So users' silences are followed through the validation periods,
with the model as it stood before each: at every rung of the ladder, when would the rule have
opened, was that before the horizon was over, and was it right. The rung with the best balance of
the two is taken (the harmonic mean of both shares, F1), the highest of those that are as good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.activity import FoldRules
from contracts.default_rule import COOLDOWN_MS, LEAST_ACTIVE_DAYS
from contracts.record import FACTS
from contracts.scores import DECIMALS
from contracts.times import DAY_MS, HOUR_MS, NEVER, SESSION_GAP_MS
from model.calibration import Calibration
from model.classifier import Classifier
from model.comparison import churn_of
from model.dataset import Outcome, Silences, Window, facts_at, silences
from model.event_log import EventLog
from model.features import FEATURES, features, usual_gap_ms
from model.figures import AlertThreshold, Rung
from model.instants import FOREVER
from model.silence import crossing_times, patience, silence_curve
from model.split import Split
from model.tenure import with_known_tenure

SESSIONS: Final = 5_000
"""So many are followed, or all there are: whole users, drawn at random."""
MOST_ALERTS_PER_CHURN: Final = 1.5
"""The budget: so many alerts for each user who churns, whether they are right or not."""
AS_GOOD: Final = 0.98
"""Of the best balance: with so much of it the higher rung is taken, which says less."""
FEWEST_ALERTS: Final = 20
"""Of fewer nobody knows how often they are right."""
FEWEST_CHURNED: Final = 50
AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class Past:
    """The model as it stood before the validation period of a split; scores as `Model` does."""

    split: Split
    levels: np.ndarray
    grid_hours: np.ndarray
    estimator: Classifier
    calibration: Calibration
    tenure_since: int | None

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        """(n,) churn probabilities of (n,) FACTS."""
        values = with_known_tenure(features(facts, as_of), facts, self.tenure_since, FEATURES)
        found = churn_of(self.estimator, values)
        if self.calibration.name != "none":
            found = self.calibration(found)
        return np.round(found, DECIMALS)


@dataclass(frozen=True)
class Followed:
    """Silences after sessions, by user, then by time; (n,) arrays, times in epoch ms."""

    user: np.ndarray
    start: np.ndarray
    end: np.ndarray
    """The user's next activity, FOREVER if none."""
    crossing: np.ndarray
    """(n, L) when each rung is reached, NEVER where silence does not reach it."""
    patient_until: np.ndarray
    """Before, nobody is spoken of."""
    active_days: np.ndarray


def alert_threshold(
    log: EventLog,
    window: Window,
    pasts: Sequence[Past],
    rules: FoldRules,
    outcome: Outcome,
    *,
    seed: int,
) -> AlertThreshold | None:
    """The rung to open at and what every rung would have been worth; None: too little is known.

    pasts: of each validation period, all with the same ladder.
    """
    first = pasts[0].split.validate_from
    every = silences(log)
    drawn = drawn_users(every, first, window.last, seed)
    chosen = every[np.isin(every.user, drawn)]
    followed = _followed(log, chosen, pasts, rules, last=window.last)
    rungs, churned = worth(
        followed,
        openings(followed),
        outcome,
        pasts[0].levels,
        horizon=window.horizon,
        last=window.last,
        user_days=_user_days(chosen, first, window),
    )
    found = choose(rungs, churned)
    if found is None:
        return None
    because = (
        "best balance of alerts that are right and of churned users told of in time, at most "
        f"{MOST_ALERTS_PER_CHURN:g} alerts for each who churns"
    )
    return AlertThreshold(found.level, because, churned, len(followed.user), tuple(rungs))


def choose(
    rungs: Sequence[Rung], churned: int, budget: float = MOST_ALERTS_PER_CHURN
) -> Rung | None:
    """The rung with the best balance of `precision` and `in_time` within the budget; of those about
    as good the highest. None where too little is known.

    rungs: ascending. churned: users who churned; `budget` alerts for each are allowed, from the
    highest rung down.
    """
    allowed: list[Rung] = []
    for rung in reversed(rungs):
        if rung.alerts > budget * churned:
            break
        if rung.alerts >= FEWEST_ALERTS:
            allowed.append(rung)
    best = max(map(balance, allowed), default=0.0)
    if churned < FEWEST_CHURNED or best == 0.0:
        return None
    return next(rung for rung in allowed if balance(rung) >= AS_GOOD * best)


def balance(rung: Rung) -> float:
    """F1: the harmonic mean of the shares of alerts that are right and of churn told in time."""
    right, told = rung.precision or 0.0, rung.in_time or 0.0
    return 2 * right * told / (right + told) if right and told else 0.0


def drawn_users(every: Silences, first: int, last: int, seed: int) -> np.ndarray:
    """Users drawn at random until SESSIONS of theirs end within [first, last], epoch ms."""
    ends = _session_ends(every, first, last)
    user, count = np.unique(every.user[ends], return_counts=True)
    order = np.random.default_rng(seed).permutation(len(user))
    enough = int(np.searchsorted(np.cumsum(count[order]), SESSIONS)) + 1
    return np.sort(user[order[:enough]])


def openings(followed: Followed, cooldown: int = COOLDOWN_MS) -> np.ndarray:
    """(n, L) when a rule at each rung would have opened in each silence, NEVER where not.

    As the alerts worker judges the scorer's scores: at crossings of rungs and at the end of the
    user's patience, when the user is still away, and a cooldown after the last episode, which the
    user's return had ended.
    """
    told = np.full(followed.crossing.shape, NEVER)
    rested = np.zeros(followed.crossing.shape[1], np.int64)
    before = -1
    for i, user in enumerate(followed.user.tolist()):
        if user != before:
            rested[:], before = NEVER, user
        if followed.active_days[i] < LEAST_ACTIVE_DAYS:
            continue
        patient, end = followed.patient_until[i], followed.end[i]
        reached = followed.crossing[i] != NEVER
        scored = np.sort(np.append(followed.crossing[i][reached], patient))
        ready = np.maximum(np.maximum(followed.crossing[i], patient), rested)
        place = np.searchsorted(scored, ready)
        at = scored[np.minimum(place, len(scored) - 1)]
        opens = reached & (place < len(scored)) & (at < end)
        told[i, opens] = at[opens]
        rested[opens] = end + cooldown if end < FOREVER else FOREVER
    return told


def worth(
    followed: Followed,
    told: np.ndarray,
    outcome: Outcome,
    levels: np.ndarray,
    *,
    horizon: int,
    last: int,
    user_days: float,
) -> tuple[list[Rung], int]:
    """What each rung's (n, L) openings come to, and how many silences churn came of.

    last: later openings have no known outcome and are not counted.
    """
    label, known = outcome(followed.user, followed.start)
    churned = (label == 1) & known
    rungs = []
    for rung, level in enumerate(levels.tolist()):
        at = told[:, rung]
        which = np.flatnonzero(at != NEVER)
        right, is_known = outcome(followed.user[which], at[which])
        in_time = np.zeros(len(at), bool)
        in_time[which] = is_known & (at[which] <= followed.start[which] + horizon)
        counted = is_known & (at[which] <= last)
        lead = (followed.start + horizon - at)[churned & in_time]
        rungs.append(
            Rung(
                level=level,
                alerts=int(counted.sum()),
                precision=_share(right[counted]),
                in_time=_share(in_time[churned]),
                lead_days=round(float(np.median(lead)) / DAY_MS, 2) if len(lead) else None,
                per_1000_a_day=round(1000 * int(counted.sum()) / max(user_days, 1.0), 3),
            )
        )
    return rungs, int(churned.sum())


def _followed(
    log: EventLog,
    every: Silences,
    pasts: Sequence[Past],
    rules: FoldRules,
    *,
    last: int,
) -> Followed:
    """The silences after sessions that end in the validation periods."""
    sessions = every[_session_ends(every, pasts[0].split.validate_from, last)]
    as_of = sessions.start + SESSION_GAP_MS
    facts = np.zeros(len(as_of), FACTS)
    for which, found in facts_at(log, sessions.user, as_of, rules):
        facts[which] = found
    # An event received late is not known yet, nor is a user whose first it is.
    seen = facts["last_seen"] == sessions.start
    sessions, as_of, facts = sessions[seen], as_of[seen], facts[seen]
    crossing = np.full((len(as_of), len(pasts[0].levels)), NEVER)
    for past in pasts:
        for part in _parts(np.flatnonzero(past.split.validation(as_of))):
            curve = silence_curve(past, facts[part])
            crossing[part] = crossing_times(curve, facts["last_seen"][part])
    waited = patience(usual_gap_ms(facts))
    # No score beyond the grid.
    waited[waited > int(pasts[0].grid_hours[-1]) * HOUR_MS] = FOREVER
    return Followed(
        user=sessions.user,
        start=sessions.start,
        end=sessions.end,
        crossing=crossing,
        patient_until=np.minimum(sessions.start + waited, FOREVER),
        active_days=facts["active_days"].astype(np.int64),
    )


def _session_ends(every: Silences, first: int, last: int) -> np.ndarray:
    """Which silences follow a session that ends within [first, last]."""
    as_of = every.start + SESSION_GAP_MS
    return np.flatnonzero((every.end > as_of) & (as_of >= first) & (as_of <= last))


def _user_days(every: Silences, first: int, window: Window) -> float:
    """Days of users' being active within the validation periods."""
    until = np.minimum(np.minimum(every.end, every.start + window.active), window.last)
    return float(np.maximum(until - np.maximum(every.start, first), 0).sum() / DAY_MS)


def _share(values: np.ndarray) -> float | None:
    return round(float(values.mean()), DECIMALS) if len(values) else None


def _parts(index: np.ndarray) -> Iterator[np.ndarray]:
    for begin in range(0, len(index), AT_ONCE):
        yield index[begin : begin + AT_ONCE]
