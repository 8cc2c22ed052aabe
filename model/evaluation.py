"""How good a probability is: figures for a report, and the rule that picks a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from model.figures import Check, Figures

CALIBRATION_BINS: Final = 15
FIGURE_DECIMALS: Final = 6
BOOTSTRAP_DRAWS: Final = 400
_LEAST: Final = 1e-6
"""Scores are rounded to 6 decimals, so a 0 means less than this; its log loss stays finite."""


def check(label: np.ndarray, probability: np.ndarray, seed: int = 0) -> Check:
    """Calibration of `probability` (n,) for `label` (n,), n > 0."""
    return Check(
        rows=len(label),
        base_rate=_shown(float(label.mean())),
        predicted=_shown(float(probability.mean())),
        ece=_shown(calibration_error(label, probability)),
        floor=_shown(calibration_floor(probability, seed)),
    )


def figures(label: np.ndarray, probability: np.ndarray) -> Figures:
    """Figures of `probability` (n,) for `label` (n,) of 0 and 1, n > 0."""
    base_rate = float(label.mean())
    both = 0.0 < base_rate < 1.0
    return Figures(
        rows=len(label),
        base_rate=_shown(base_rate),
        auc=_shown(roc_auc_score(label, probability)) if both else None,
        average_precision=_shown(average_precision_score(label, probability)) if both else None,
        brier=_shown(float(np.mean((probability - label) ** 2))),
        log_loss=_shown(float(row_losses(label, probability).mean())),
        ece=_shown(calibration_error(label, probability)),
        top_decile_lift=_shown(top_decile_lift(label, probability)) if both else None,
    )


def by_stratum(
    label: np.ndarray, probability: np.ndarray, stratum: np.ndarray, names: Sequence[str]
) -> dict[str, Figures]:
    """Figures per stratum that has rows; stratum (n,) indexes names."""
    return {
        name: figures(label[stratum == index], probability[stratum == index])
        for index, name in enumerate(names)
        if (stratum == index).any()
    }


def row_losses(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Log loss of every row, (n,), in nats."""
    likely = np.clip(np.where(label == 1, probability, 1.0 - probability), _LEAST, 1.0)
    return np.asarray(-np.log(likely))


def calibration_error(
    label: np.ndarray, probability: np.ndarray, bins: int = CALIBRATION_BINS
) -> float:
    """Mean distance between predicted and observed rate over bins of equal mass."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    distance = [abs(probability[part].mean() - label[part].mean()) * len(part) for part in parts]
    return float(sum(distance) / len(label))


def calibration_floor(
    probability: np.ndarray, seed: int, bins: int = CALIBRATION_BINS, draws: int = 100
) -> float:
    """Calibration error of a perfect model with these predictions: what chance alone leaves.

    Mean over labels drawn from the probabilities themselves; an error near it is no error.
    """
    rng = np.random.default_rng(seed)
    order = np.sort(probability)
    parts = [part for part in np.array_split(np.arange(len(order)), bins) if len(part)]
    starts = np.array([part[0] for part in parts])
    surplus = (rng.random((draws, len(order))) < order) - order
    distance = np.abs(np.add.reduceat(surplus, starts, axis=1)).sum(axis=1)
    return float(distance.mean() / len(order))


def top_decile_lift(label: np.ndarray, probability: np.ndarray) -> float:
    """Churn rate among the tenth (at least one row) with the highest risk, over the base rate."""
    count = max(1, len(label) // 10)
    top = np.argsort(-probability, kind="stable")[:count]
    return float(label[top].mean() / label.mean())


def difference(
    loss: np.ndarray, best: np.ndarray, user: np.ndarray, period: np.ndarray
) -> tuple[float, float]:
    """Mean of loss - best over rows (n,), and its standard error: users drawn anew per period.

    A bootstrap (Efron 1979), the same draws for the same rows. A user's rows are not independent,
    and treating them so makes every difference look certain; periods are not drawn, for each was
    chosen, so each keeps its users.
    """
    paired = loss - best
    rng = np.random.default_rng(0)
    sums, rows = np.zeros(BOOTSTRAP_DRAWS), np.zeros(BOOTSTRAP_DRAWS)
    for one in np.unique(period):
        inside = period == one
        _, whose = np.unique(user[inside], return_inverse=True)
        surplus, count = np.bincount(whose, paired[inside]), np.bincount(whose)
        drawn = rng.integers(len(count), size=(BOOTSTRAP_DRAWS, len(count)))
        sums += surplus[drawn].sum(axis=1)
        rows += count[drawn].sum(axis=1)
    return float(paired.mean()), float((sums / rows).std())


def simplest_good_enough(
    losses: Mapping[str, np.ndarray], user: np.ndarray, period: np.ndarray
) -> tuple[str, dict[str, tuple[float, float]]]:
    """Pick the first candidate that is within one standard error of the best.

    losses: row losses (n,) per candidate, the simplest candidate first. Returns its name and,
    per candidate, the difference to the best and that difference's standard error.
    """
    best = min(losses, key=lambda name: float(losses[name].mean()))
    behind = {name: difference(loss, losses[best], user, period) for name, loss in losses.items()}
    chosen = next(name for name, (mean, error) in behind.items() if mean <= error)
    return chosen, {name: (_shown(mean), _shown(error)) for name, (mean, error) in behind.items()}


def _shown(value: float) -> float:
    return round(float(value), FIGURE_DECIMALS)
