"""A score's log-odds as a sum: a base, and what each feature adds to it.

Of estimators that are additive in log-odds this is exact, whatever happens to be in the row:

* bounded logistic regression: coefficient x (transformed value - its mean in training);
* boosted trees: `model.tree_shap`.

Others (the forest is compared, but adds up in probability) have none: they are not shipped.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from model.classifier import Classifier
from model.linear_design import design
from model.tree_shap import TreeShap


class Additive(Protocol):
    """An estimator's log-odds, taken apart."""

    base: float
    """Log-odds before anything is known of a row."""

    def contributions(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) float64; base + contributions.sum(axis=1) is the log-odds of (n, d) rows."""
        ...


def additive(estimator: Classifier) -> Additive | None:
    """The estimator taken apart, None where its log-odds are no sum.

    It may be no more than what it learned (`model.learned`): classes are told by their names.
    """
    match _name(estimator):
        case "BoundedLogisticRegression":
            return _Linear(estimator)
        case "Pipeline":
            (_, first), *_, (_, last) = estimator.steps
            if (_name(first), _name(last)) == ("BlankUnstated", "HistGradientBoostingClassifier"):
                return _Boosted(last)
    return None


def _name(estimator: Classifier) -> str:
    return type(estimator).__name__


class _Linear:
    """Coefficients. A missing value stands at the median, and its flag belongs to its feature."""

    def __init__(self, estimator: Classifier) -> None:
        self._estimator = estimator
        self._features = len(estimator.medians_)
        self.base = float(estimator.intercept_)

    def contributions(self, rows: np.ndarray) -> np.ndarray:
        estimator, d = self._estimator, self._features
        # The design is the transform: nothing else may say what a value is worth.
        moved = design(estimator, np.asarray(rows, np.float64)) * estimator.coef_
        told: np.ndarray = moved[:, :d].copy()
        told[:, estimator.flagged_] += moved[:, d:]
        return told


class _Boosted:
    """Trees. The step before them only touches columns that no tree can have split."""

    def __init__(self, trees: Classifier) -> None:
        nodes = [tree.nodes for (tree,) in trees._predictors]
        self._shap = TreeShap(nodes, int(trees.n_features_in_))
        self.base = self._shap.expected + float(trees._baseline_prediction.item())

    def contributions(self, rows: np.ndarray) -> np.ndarray:
        return self._shap.values(np.asarray(rows, np.float64))
