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

    def __init__(
        self, open_it: Callable[[], Classifier], read_it: Callable[[], Classifier]
    ) -> None:
        """read_it: gives what it learned, which does without (`model.learned`)."""
        self._open = open_it
        self._read = read_it

    @cached_property
    def estimator(self) -> Classifier:
        """The estimator itself; raises what opening the pickle raises."""
        return self._open()

    @cached_property
    def learned(self) -> Classifier:
        """Its attributes without its methods; raises what reading the pickle raises."""
        return self._read()

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """(n, 2) probabilities of (n, d) rows."""
        return np.asarray(self.estimator.predict_proba(rows))


def opened(estimator: Classifier | Unopened) -> Classifier:
    """The estimator, out of its pickle."""
    return estimator.estimator if isinstance(estimator, Unopened) else estimator


def learned_by(estimator: Classifier | Unopened) -> Classifier:
    """What the estimator learned: itself, or as much of it as its pickle says of attributes."""
    return estimator.learned if isinstance(estimator, Unopened) else estimator
