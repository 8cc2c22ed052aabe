"""What silence alone will do to a user's risk.

When a session has ended, one model call over a grid of silent futures gives the silence curve: for
each rung of the model's risk ladder, the whole hours after last-seen at which risk first reaches
it. Everything about the future is then a reading of sixteen numbers: when the next score is due,
when a rule's threshold is crossed, how a ranked list sorts now.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from contracts.record import NO_CROSSING
from contracts.times import DAY_MS, HOUR_MS, NEVER, SESSION_GAP_MS


class SilentModel(Protocol):
    """What of a model a silence curve needs."""

    @property
    def levels(self) -> np.ndarray:
        """(L,) float64 ladder, ascending."""
        ...

    @property
    def grid_hours(self) -> np.ndarray:
        """(G,) ascending whole hours of silence."""
        ...

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        """(n,) FACTS and (n,) epoch ms to (n,) churn probabilities."""
        ...


def silence_curve(model: SilentModel, facts: np.ndarray) -> np.ndarray:
    """(n, L) u2 hours after last-seen at which risk first reaches each level.

    0 means already at the end of the session, NO_CROSSING not within the grid. `facts` are (n,)
    FACTS of users who were seen. One model call for all users and hours.
    """
    moments = np.concatenate([[SESSION_GAP_MS], model.grid_hours * HOUR_MS])
    hours = np.concatenate([[0], model.grid_hours])
    as_of = facts["last_seen"][:, None] + moments
    risk = model.score(np.repeat(facts, len(moments)), as_of.ravel()).reshape(as_of.shape)
    highest = np.maximum.accumulate(risk, axis=1)
    steps_below = (highest[:, None, :] < model.levels[:, None]).sum(axis=2)
    reached = steps_below < len(moments)
    return np.where(reached, hours[np.minimum(steps_below, len(hours) - 1)], NO_CROSSING).astype(
        np.uint16
    )


def crossing_times(curve: np.ndarray, last_seen: np.ndarray) -> np.ndarray:
    """(n, L) epoch ms at which each level is reached, NEVER where silence does not reach it."""
    hours = curve.astype(np.int64)
    after = np.where(hours == 0, SESSION_GAP_MS, hours * HOUR_MS)
    return np.where(curve == NO_CROSSING, NEVER, last_seen[:, None] + after)


def next_due(
    curve: np.ndarray,
    last_seen: np.ndarray,
    after: np.ndarray,
    patience_ms: np.ndarray,
    grid_end_hours: int,
) -> np.ndarray:
    """(n,) epoch ms of the next silence score later than `after`, NEVER when none is left.

    Due are the level crossings, and once the end of the user's patience (see `patience`), at which
    an alert held back at the end of the session may go out. Nothing is due beyond the grid, where
    the model has seen no silence.
    """
    moments = np.concatenate(
        [crossing_times(curve, last_seen), (last_seen + patience_ms)[:, None]], axis=1
    )
    latest = np.iinfo(np.int64).max
    grid_end = last_seen[:, None] + grid_end_hours * HOUR_MS
    first = np.where((moments > after[:, None]) & (moments <= grid_end), moments, latest).min(
        axis=1
    )
    return np.where(first == latest, NEVER, first)


def patience(usual_gap_ms: np.ndarray) -> np.ndarray:
    """(n,) ms a user may be silent before being spoken of: a day, or their usual gap if longer.

    In whole hours, rounded up, so that the score due then is never a rounding error too early.
    """
    gap_hours = np.ceil(np.nan_to_num(usual_gap_ms) / HOUR_MS).astype(np.int64)
    longest: np.ndarray = np.maximum(gap_hours * HOUR_MS, DAY_MS)
    return longest


def within_grid(last_seen: np.ndarray, as_of: np.ndarray, grid_end_hours: int) -> np.ndarray:
    """(n,) `as_of`, at most the end of the silence grid: nothing was learned beyond."""
    end = last_seen + grid_end_hours * HOUR_MS
    return np.where(last_seen == NEVER, as_of, np.minimum(as_of, end))


def value_at(curve: np.ndarray, levels: np.ndarray, elapsed_hours: np.ndarray) -> np.ndarray:
    """(n,) the highest level reached after (n,) hours of silence, 0.0 where none is."""
    hours = np.where(curve == 0, SESSION_GAP_MS / HOUR_MS, curve.astype(np.float64))
    reached = (curve != NO_CROSSING) & (hours <= elapsed_hours[:, None])
    values: np.ndarray = np.where(reached, levels, 0.0).max(axis=1)
    return values


def at_risk_at(
    curve: np.ndarray, levels: np.ndarray, last_seen: np.ndarray, threshold: float
) -> np.ndarray:
    """(n,) epoch ms at which risk reaches the rung nearest to `threshold`, NEVER if it does not.

    Thresholds snap to the ladder, so a changed policy needs no new curves.
    """
    rung = int(np.abs(levels - threshold).argmin())
    return crossing_times(curve[:, rung : rung + 1], last_seen)[:, 0]


def crossings(
    curve: np.ndarray, levels: np.ndarray, last_seen: int
) -> list[tuple[float, int | None]]:
    """(level, epoch ms) of every rung; None where one user's (L,) curve does not reach it."""
    times = crossing_times(curve[None, :], np.array([last_seen]))[0]
    return [
        (float(level), None if at == NEVER else int(at))
        for level, at in zip(levels, times, strict=True)
    ]
