"""Intervals by resampling users: a user's rows are not independent, so they come or stay away
together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

DRAWS: Final = 400
INTERVAL: Final = (2.5, 97.5)

Interval = tuple[float, float]


def user_weights(user: np.ndarray, seed: int, draws: int = DRAWS) -> np.ndarray:
    """(draws, n) how often each row's user was drawn."""
    rng = np.random.default_rng(seed)
    _, whose = np.unique(user, return_inverse=True)
    users = int(whose.max()) + 1
    drawn = rng.multinomial(users, np.full(users, 1 / users), size=draws)
    return np.asarray(drawn[:, whose])


def weighted_auc(label: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws,) area under the ROC curve under each row of weights (draws, n); ties count half."""
    order = np.argsort(probability, kind="stable")
    ranked, churned = probability[order], label[order] == 1
    first = np.flatnonzero(np.diff(ranked, prepend=-np.inf))
    found = np.empty(len(weights))
    for draw, weight in enumerate(weights):
        arranged = weight[order]
        positive = np.add.reduceat(np.where(churned, arranged, 0), first).astype(np.float64)
        negative = np.add.reduceat(np.where(churned, 0, arranged), first).astype(np.float64)
        below = np.cumsum(negative) - negative / 2
        found[draw] = positive @ below / (positive.sum() * negative.sum())
    return found


def intervals(
    label: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> dict[str, Interval]:
    """95 % intervals of AUC, Brier score and log loss."""
    squared = (probability - label) ** 2
    likely = np.clip(np.where(label == 1, probability, 1 - probability), 1e-6, 1)
    mass = weights.sum(axis=1)
    return {
        "auc": _interval(weighted_auc(label, probability, weights)),
        "brier": _interval(weights @ squared / mass),
        "log_loss": _interval(weights @ -np.log(likely) / mass),
    }


def auc_differences(
    label: np.ndarray, ours: np.ndarray, theirs: Mapping[str, np.ndarray], weights: np.ndarray
) -> dict[str, tuple[float, float, float]]:
    """Per rival the mean and 95 % interval of AUC(ours) - AUC(rival), both on the same draws."""
    own = weighted_auc(label, ours, weights)
    paired = {name: own - weighted_auc(label, rival, weights) for name, rival in theirs.items()}
    return {name: (float(gap.mean()), *_interval(gap)) for name, gap in paired.items()}


def _interval(draws: np.ndarray) -> Interval:
    low, high = np.percentile(draws, INTERVAL)
    return float(low), float(high)
