"""What is told of a model: figures of predictions, of calibrations tried, of choices made."""

from __future__ import annotations

import msgspec


class Figures(msgspec.Struct, frozen=True):
    """What a set of predictions was worth. Ranking figures are None when only one class occurs."""

    rows: int
    base_rate: float
    auc: float | None
    average_precision: float | None
    brier: float
    log_loss: float
    ece: float
    """Expected calibration error over 15 bins of equal mass."""
    top_decile_lift: float | None
    """Churn rate among the tenth with the highest risk, over the base rate."""


class Check(msgspec.Struct, frozen=True):
    """Whether predictions of one kind of row are right on average, and what chance alone does."""

    rows: int
    base_rate: float
    predicted: float
    """Mean prediction."""
    ece: float
    floor: float
    """Calibration error a perfect model would have on so many rows."""


class Trial(msgspec.Struct, frozen=True):
    """How a calibration did on the periods it could be judged on."""

    periods: int
    better_in: int
    gain: float
    """Mean log loss without it minus with it; positive is better."""
    error: float
    """Its standard error, users resampled within periods."""
    season_gain: float | None = None
    """The same over the season that comes next, a year earlier; None where that was not judged."""


class Rung(msgspec.Struct, frozen=True):
    """What alerts that open at one rung of the ladder would have been worth."""

    level: float
    alerts: int
    precision: float | None
    """Of alerts: who churned within the horizon afterwards."""
    in_time: float | None
    """Of who churned: told of before the horizon was over."""
    lead_days: float | None
    """From an alert in time to the end of the horizon, median."""
    per_1000_a_day: float
    """Alerts per 1,000 active users a day."""


class AlertThreshold(msgspec.Struct, frozen=True):
    """The risk at which the default rule speaks, and what that was chosen by."""

    level: float
    because: str
    churn_episodes: int
    """Silences that churn came of, on the validation periods, among `sessions` followed."""
    sessions: int
    rungs: tuple[Rung, ...]


class Cost(msgspec.Struct, frozen=True):
    """What a constraint costs: mean log loss with it minus without, and the standard error."""

    log_loss: float
    error: float


class Memory(msgspec.Struct, frozen=True):
    """How far back a model learns from, and what forgetting the rest is worth."""

    days: int | None
    """None: everything."""
    gain: float
    """Mean log loss of learning from everything minus this; positive is better."""
    error: float
    """Its standard error, rows clustered by user."""


class PeriodCheck(msgspec.Struct, frozen=True):
    """One walk-forward validation period, ISO 8601 in UTC, its end excluded."""

    start: str
    end: str
    fitted_until: str
    rows: int
    base_rate: float
    predicted: float
    log_loss: float
