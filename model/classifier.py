"""A fitted estimator as everything but training sees it, without importing scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

Classifier = Any
"""Something with scikit-learn's fit and predict_proba; scikit-learn ships no types."""


class Unopened:
    """An estimator still in its pickle: opened when first asked, for that imports scikit-learn."""

    def __init__(self, open_it: Callable[[], Classifier]) -> None:
        self._open = open_it

    @cached_property
    def estimator(self) -> Classifier:
        """The estimator itself; raises what opening the pickle raises."""
        return self._open()

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """(n, 2) probabilities of (n, d) rows."""
        return np.asarray(self.estimator.predict_proba(rows))


def opened(estimator: Classifier | Unopened) -> Classifier:
    """The estimator, out of its pickle."""
    return estimator.estimator if isinstance(estimator, Unopened) else estimator
