"""Calibration, a candidate like any other: none, a shrunk intercept, or a sigmoid.

What is learned from the latest period may be a season, and next season it does harm. So a
calibration is adopted only if, fitted to earlier walk-forward predictions and judged on later
ones, it lowers log loss over several periods, and over the season that comes next, a year earlier,
where that was judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.pipeline import Pipeline

from contracts.times import DAY_MS
from model.classifier import Classifier
from model.estimators import BoundedLogisticRegression
from model.evaluation import difference, row_losses
from model.figures import Trial

LEAST: Final = 1e-6
FEWEST_PERIODS: Final = 2
"""Judged on fewer periods, a calibration is not adopted."""
YEAR_MS: Final = 365 * DAY_MS


@dataclass(frozen=True)
class Calibration:
    """log-odds -> slope * log-odds + shift; slope > 0, so no order changes."""

    name: str
    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """(n,) calibrated probabilities."""
        odds = logit(np.clip(probability, LEAST, 1 - LEAST))
        return np.asarray(expit(self.slope * odds + self.shift))


NONE: Final = Calibration("none")
NAMES: Final = ("none", "shrunk intercept", "sigmoid")


@dataclass(frozen=True)
class Predictions:
    """Walk-forward predictions, (n,) each; `period` numbers the validation periods from 0."""

    label: np.ndarray
    probability: np.ndarray
    user: np.ndarray
    as_of: np.ndarray
    period: np.ndarray

    def part(self, chosen: np.ndarray) -> Predictions:
        """The predictions that a mask chooses."""
        return Predictions(
            self.label[chosen],
            self.probability[chosen],
            self.user[chosen],
            self.as_of[chosen],
            self.period[chosen],
        )


def fit_calibration(name: str, known: Predictions) -> Calibration:
    """The calibration of that name, fitted to predictions whose label is known."""
    if name == "none":
        return NONE
    odds = logit(np.clip(known.probability, LEAST, 1 - LEAST))
    if name == "sigmoid":
        return Calibration(name, *_sigmoid(odds, known.label))
    return Calibration(name, 1.0, _shrunk(odds, known.label, known.period))


def try_calibrations(
    found: Predictions, train_until: Sequence[int]
) -> tuple[str, Mapping[str, Trial]]:
    """Choose on walk-forward predictions; train_until[p] (epoch ms): labels of rows up to then
    were known when period p began. Returns the name chosen and the trial of each calibration.
    """
    trials = {}
    for name in NAMES[1:]:
        gains: list[np.ndarray] = []
        parts: list[Predictions] = []
        for period, known_until in enumerate(train_until):
            known = found.part((found.as_of <= known_until) & (found.period < period))
            later = found.part(found.period == period)
            if not _both(known.label) or not len(later.label):
                continue
            calibrated = fit_calibration(name, known)(later.probability)
            gain = row_losses(later.label, later.probability) - row_losses(later.label, calibrated)
            gains.append(gain)
            parts.append(later)
        if gains:
            trials[name] = _trial(gains, parts)
    good = [name for name, trial in trials.items() if _convinces(trial)]
    return max(good, key=lambda name: trials[name].gain, default="none"), trials


def apply(estimator: Classifier, calibration: Calibration) -> Classifier:
    """Move the calibration into a fitted estimator of ours, in place, and return it.

    Both stay what they are, additive in log-odds: coefficients, or leaves, times the slope.
    """
    slope, shift = calibration.slope, calibration.shift
    if calibration.name == "none":
        return estimator
    if isinstance(estimator, BoundedLogisticRegression):
        estimator.coef_ = estimator.coef_ * slope
        estimator.intercept_ = estimator.intercept_ * slope + shift
        return estimator
    if isinstance(estimator, Pipeline) and hasattr(estimator[-1], "_baseline_prediction"):
        _scale_trees(estimator[-1], slope, shift)
        return estimator
    raise TypeError(f"no way to calibrate a {type(estimator).__name__}")


def _scale_trees(trees: Any, slope: float, shift: float) -> None:
    trees._baseline_prediction = trees._baseline_prediction * slope + shift
    for (tree,) in trees._predictors:
        tree.nodes["value"] *= slope


def _trial(gains: list[np.ndarray], parts: list[Predictions]) -> Trial:
    """What the gains (n,) in log loss on the rows of each judged period come to."""
    gain = np.concatenate(gains)
    user, period, as_of = (
        np.concatenate([getattr(part, column) for part in parts])
        for column in ("user", "period", "as_of")
    )
    mean, error = difference(gain, np.zeros(len(gain)), user, period)
    a_year_ago = int(as_of.max()) - YEAR_MS
    length = int(np.ptp(parts[-1].as_of))
    season = (as_of > a_year_ago) & (as_of <= a_year_ago + length)
    # A season of which only the end was seen is another season.
    seen = int(as_of.min()) <= a_year_ago
    return Trial(
        periods=len(gains),
        better_in=sum(int(one.mean() > 0) for one in gains),
        gain=round(mean, 6),
        error=round(error, 6),
        season_gain=round(float(gain[season].mean()), 6) if seen and season.any() else None,
    )


def _convinces(trial: Trial) -> bool:
    several = trial.periods >= FEWEST_PERIODS and 2 * trial.better_in > trial.periods
    in_season = trial.season_gain is None or trial.season_gain > 0
    return several and trial.gain > trial.error and in_season


def _both(label: np.ndarray) -> bool:
    return bool(len(label)) and bool(label.min() < label.max())


def _intercept(odds: np.ndarray, label: np.ndarray) -> float:
    """The shift that makes the mean prediction the observed rate, by Newton's method."""
    rate = np.clip(label.mean(), 1 / (len(label) + 2), 1 - 1 / (len(label) + 2))
    shift = 0.0
    for _ in range(50):
        churn = expit(odds + shift)
        step = (rate - churn.mean()) / max(float((churn * (1 - churn)).mean()), 1e-9)
        shift += float(np.clip(step, -2, 2))
        if abs(step) < 1e-10:
            break
    return shift


def _shrunk(odds: np.ndarray, label: np.ndarray, period: np.ndarray) -> float:
    """The mean of the periods' own shifts, as far as they agree.

    Positive-part shrinkage by the spread between periods: one period says nothing about the next.
    """
    shifts = np.array(
        [_intercept(odds[period == p], label[period == p]) for p in np.unique(period)]
    )
    if len(shifts) < FEWEST_PERIODS:
        return 0.0
    mean = float(shifts.mean())
    noise = float(shifts.var(ddof=1)) / len(shifts)
    return mean * max(0.0, 1.0 - noise / max(mean * mean, 1e-12))


def _sigmoid(odds: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Slope and shift with the least log loss (Platt 1999); the slope stays positive."""
    sign = np.where(label == 1, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (weights[0] * odds + weights[1])
        pull = -sign * expit(-margin) / len(sign)
        return float(np.logaddexp(0, -margin).mean()), np.array([pull @ odds, pull.sum()])

    start = np.array([1.0, 0.0])
    bounds = [(0.05, 20.0), (None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.x[0]), float(found.x[1])
