"""The estimators that may stand behind a score, as scikit-learn classifiers.

Longer silence must never lower the risk, everything else equal. Every feature says in which
direction it may move the risk (`model.features`), and every estimator here keeps to that:
coefficients with bounded signs, trees with monotone constraints.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from model.linear_design import design, squeezed

MAX_ITERATIONS: Final = 2_000


class FillMissing(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Replace NaN by the column's median and say so: (n, d) -> (n, 2 d), values then flags.

    The flags are 0/1 and stand for every column, so that the output's shape never depends on
    which inputs a log happened to leave out. A column without any value is filled with 0.
    """

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803  scikit-learn's name
        """Remember the medians of X, (n, d) with NaN for missing."""
        values = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        known = np.isfinite(values).any(axis=0)
        self.medians_ = np.zeros(values.shape[1])
        self.medians_[known] = np.nanmedian(values[:, known], axis=0)
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return X without NaN, then one flag per column."""
        check_is_fitted(self)
        values = validate_data(
            self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        missing = np.isnan(values)
        return np.hstack([np.where(missing, self.medians_, values), missing])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class BlankUnstated(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Set columns nobody stated in training to 0, in training and later; (n, d) -> (n, d).

    Nothing was learned about them, so a later value must change nothing. Other NaN stay: the
    boosting behind knows what to do with them, but cannot bin a column that has nothing else.
    """

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Remember which columns of X, (n, d) with NaN for missing, have a value."""
        values = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        self.stated_ = ~np.isnan(values).all(axis=0)
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return X with 0 in the columns without a value in training."""
        check_is_fitted(self)
        values = validate_data(
            self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        return np.where(self.stated_, values, 0.0)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class BoundedLogisticRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression whose coefficients keep the sign they are given.

    scikit-learn's LogisticRegression has no sign bounds; this one minimises the same objective
    (log loss plus an L2 penalty, intercept unpenalised) with L-BFGS-B (Byrd, Lu, Nocedal, Zhu
    1995), which takes bounds. Columns go through a signed log1p and are standardised, both
    increasing, so that a coefficient's sign is its column's. Missing values are filled with the
    median and flagged; a flag's coefficient is free, for silence never changes what is missing.

    directions: per column +1 (coefficient >= 0), -1 (<= 0) or 0 (free); None is all free.
    C: inverse strength of the penalty, as in scikit-learn.
    """

    def __init__(self, directions: Sequence[int] | None = None, C: float = 1.0) -> None:  # noqa: N803
        self.directions = directions
        self.C = C

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Fit to X (n, d), NaN for missing, and two classes in y (n,).

        Raises ValueError when y has not exactly two classes.
        """
        values, labels = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        check_classification_targets(labels)
        self.classes_, target = np.unique(labels, return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(
                f"Only binary classification is supported: y has {len(self.classes_)} class(es)"
            )
        self._learn_scale(values)
        columns = design(self, values)
        weights = _minimise(columns, target * 2.0 - 1.0, self._bounds(), self.C)
        self.intercept_, self.coef_ = float(weights[0]), weights[1:]
        return self

    def decision_function(self, X: Any) -> np.ndarray:  # noqa: N803
        """Log-odds of the second class, (n,): the same bits whatever else is in the batch."""
        check_is_fitted(self)
        values = validate_data(
            self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        # Not a matrix product: BLAS adds in another order for one row than for a thousand.
        return np.asarray((design(self, values) * self.coef_).sum(axis=1) + self.intercept_)

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Probabilities of both classes, (n, 2)."""
        second = expit(self.decision_function(X))
        return np.column_stack([1.0 - second, second])

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The likelier class, (n,)."""
        second = self.decision_function(X) > 0
        return np.asarray(self.classes_[second.astype(np.intp)])

    def _learn_scale(self, values: np.ndarray) -> None:
        columns = squeezed(values)
        known = ~np.isnan(columns)
        some = known.any(axis=0)
        self.medians_ = np.zeros(values.shape[1])
        self.medians_[some] = np.nanmedian(columns[:, some], axis=0)
        filled = np.where(known, columns, self.medians_)
        self.means_ = filled.mean(axis=0)
        spread = filled.std(axis=0)
        # A column that is constant up to rounding says nothing; dividing by its spread would
        # turn rounding into signal.
        self.constant_ = spread <= 1e-12 * np.maximum(1.0, np.abs(self.means_))
        self.scales_ = np.where(self.constant_, 1.0, spread)
        self.flagged_ = np.flatnonzero(~known.all(axis=0) & some)

    def _bounds(self) -> list[tuple[float | None, float | None]]:
        directions = [0] * self.n_features_in_ if self.directions is None else self.directions
        if len(directions) != self.n_features_in_:
            raise ValueError(f"{len(directions)} directions for {self.n_features_in_} columns")
        limits: dict[int, tuple[float | None, float | None]] = {
            1: (0.0, None),
            0: (None, None),
            -1: (None, 0.0),
        }
        signed = [limits[direction] for direction in directions]
        return [limits[0], *signed, *[limits[0]] * len(self.flagged_)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags


def _minimise(
    columns: np.ndarray,
    target: np.ndarray,
    bounds: list[tuple[float | None, float | None]],
    strength: float,
) -> np.ndarray:
    """Intercept and coefficients with the least mean log loss plus penalty; target is -1 or 1."""
    n = len(target)
    penalty = 1.0 / (strength * n)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = target * (columns @ weights[1:] + weights[0])
        pull = -target * expit(-margin) / n
        value = np.logaddexp(0.0, -margin).mean() + 0.5 * penalty * weights[1:] @ weights[1:]
        slope = np.concatenate([[pull.sum()], pull @ columns + penalty * weights[1:]])
        return float(value), slope

    found = minimize(
        loss,
        np.zeros(columns.shape[1] + 1),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": MAX_ITERATIONS, "ftol": 1e-12, "gtol": 1e-7},
    )
    if found.nit >= MAX_ITERATIONS:
        warnings.warn(
            f"not converged after {MAX_ITERATIONS} iterations", ConvergenceWarning, stacklevel=3
        )
    return np.asarray(found.x)
