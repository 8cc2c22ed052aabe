"""A compiled estimator: log-odds of churn from onnxruntime, on one thread.

A single row takes some ten microseconds where scikit-learn takes milliseconds, so a call belongs
where the rows are: a thread pool would cost more than it saves.
"""

from __future__ import annotations

import os
from typing import Final

import numpy as np

from contracts.errors import ArtefactMismatch

# Before it is imported: onnxruntime would report to its makers, and keep a database for that in the
# home of whoever runs us. `disable_telemetry_events` comes too late for the database.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
try:
    import onnxruntime
except ImportError:  # it has no wheels for Macs with Intel processors
    onnxruntime = None

INPUT: Final = "rows"
AVAILABLE: Final = onnxruntime is not None
"""Whether compiled forms run on this machine; where not, the pickle serves."""


class Compiled:
    """An ONNX graph from (n, d) float64 rows to (n, 1) float64 log-odds, ready to run."""

    def __init__(self, content: bytes) -> None:
        """Raises ArtefactMismatch when onnxruntime cannot run the graph."""
        options = onnxruntime.SessionOptions()
        # Waking a pool in every worker costs more than it saves, and makes single rows stall.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own errors derive from Exception directly
            raise ArtefactMismatch(f"not a graph this build runs: {error}") from error
        self._run = self._session.run

    def log_odds(self, rows: np.ndarray) -> np.ndarray:
        """(n,) float64 of (n, d) float64 rows, NaN for missing."""
        (odds,) = self._run(None, {INPUT: rows})
        return np.asarray(odds)[:, 0]

    def probability(self, rows: np.ndarray) -> np.ndarray:
        """(n,) churn probability of (n, d) float64 rows."""
        churn: np.ndarray = 1.0 / (1.0 + np.exp(-self.log_odds(rows)))
        return churn

    def probability_of_one(self, row: np.ndarray) -> float:
        """`probability` of a (1, d) float64 row, without the arrays around it: half the time."""
        ((odds,),) = self._run(None, {INPUT: row})[0].tolist()
        # numpy's: the last bit of an exponential depends on who computes it.
        return float(1.0 / (1.0 + np.exp(-odds)))
