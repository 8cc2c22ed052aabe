"""The estimators `train` compares, the simplest first: that is the order of preference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from model.classifier import Classifier
from model.estimators import BlankUnstated, BoundedLogisticRegression, FillMissing


@dataclass(frozen=True)
class Candidate:
    """One way to estimate churn; make(directions, seed) gives it unfitted."""

    name: str
    title: str
    make: Callable[[Sequence[int], int], Classifier]
    is_shipped: bool = True
    """Whether it may be chosen: only what is additive in log-odds can give reasons that add up."""


def _logistic(directions: Sequence[int], _seed: int) -> Classifier:
    # A user gives several rows, so there is less to learn from than rows: a firm penalty.
    return BoundedLogisticRegression(tuple(directions), C=0.003)


def _boosting(directions: Sequence[int], seed: int) -> Classifier:
    # No early stopping: it would hold out rows at random, which mixes times.
    trees = HistGradientBoostingClassifier(
        max_iter=300,
        learning_rate=0.03,
        max_leaf_nodes=15,
        min_samples_leaf=200,
        l2_regularization=50.0,
        # Of several half-lives that say much the same, each split sees some: trees that differ.
        max_features=0.3,
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
    Candidate("rf", "random forest", _forest, is_shipped=False),
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
