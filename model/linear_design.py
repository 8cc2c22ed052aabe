"""The columns a bounded logistic regression weighs: squeezed, standardised, gaps flagged."""

from __future__ import annotations

from typing import Any

import numpy as np


def squeezed(values: np.ndarray) -> np.ndarray:
    """Signed log1p: increasing, keeps 0 and NaN, tames counts and durations."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def design(estimator: Any, values: np.ndarray) -> np.ndarray:
    """(n, d + flags) of (n, d) values, as the estimator scaled them, row after row in memory."""
    found = squeezed(values)
    missing = np.isnan(found)
    filled = np.where(missing, estimator.medians_, found)
    scaled = (filled - estimator.means_) / estimator.scales_
    scaled[:, estimator.constant_] = 0.0
    return np.ascontiguousarray(np.hstack([scaled, missing[:, estimator.flagged_]]))
