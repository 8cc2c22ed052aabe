"""The estimators `train` compares, the simplest first: that is the order of preference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from model.estimators import BlankUnstated, BoundedLogisticRegression, FillMissing

Classifier = Any
"""Something with scikit-learn's fit and predict_proba; scikit-learn ships no types."""


@dataclass(frozen=True)
class Candidate:
    """One way to estimate churn; make(directions, seed) gives it unfitted."""

    name: str
    title: str
    make: Callable[[Sequence[int], int], Classifier]


def _logistic(directions: Sequence[int], _seed: int) -> Classifier:
    return BoundedLogisticRegression(tuple(directions))


def _boosting(directions: Sequence[int], seed: int) -> Classifier:
    # No early stopping: it would hold out rows at random, which mixes times.
    trees = HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.06,
        max_leaf_nodes=15,
        min_samples_leaf=50,
        l2_regularization=1.0,
        early_stopping=False,
        monotonic_cst=list(directions),
        random_state=seed,
    )
    return Pipeline([("blank", BlankUnstated()), ("trees", trees)])


def _forest(directions: Sequence[int], seed: int) -> Classifier:
    # scikit-learn's forest takes either missing values or monotone constraints, not both.
    forest = RandomForestClassifier(
        n_estimators=100,
        min_samples_leaf=40,
        max_features="sqrt",
        monotonic_cst=[*directions, *(0 for _ in directions)],
        random_state=seed,
    )
    return Pipeline([("fill", FillMissing()), ("forest", forest)])


CANDIDATES = (
    Candidate("lr", "logistic regression", _logistic),
    Candidate("hgb", "histogram gradient boosting", _boosting),
    Candidate("rf", "random forest", _forest),
)


def fitted(
    candidate: Candidate, directions: Sequence[int], seed: int, inputs: Any, label: Any
) -> Classifier:
    """The candidate, fitted to inputs (n, d), NaN for missing, and label (n,).

    One thread: sums that threads share come out in another order each time, and the same data
    must give the same model.
    """
    estimator = candidate.make(directions, seed)
    with threadpool_limits(limits=1):
        return estimator.fit(inputs, label)
