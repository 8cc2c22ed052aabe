"""The classifier that every peer serves: scikit-learn's pickle, or the same trees as an ONNX graph.

Programs of this folder run in a peer's own environment, from this folder, and import nothing of
Ebbtide's. PEER_MODEL names a `.joblib` or an `.onnx` file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np


class Classifier:
    """Churn probabilities of rows."""

    def __init__(self, path: Path | None = None) -> None:
        path = path or Path(os.environ["PEER_MODEL"])
        self._session: Any = None
        if path.suffix == ".onnx":
            import onnxruntime  # noqa: PLC0415 - scikit-learn's form does without

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            self.columns = int(self._session.get_inputs()[0].shape[1])
        else:
            import joblib  # noqa: PLC0415 - onnxruntime's form does without

            self._trees = joblib.load(path)
            self.columns = int(self._trees.n_features_in_)

    def churn(self, rows: np.ndarray) -> np.ndarray:
        """(n,) of (n, columns) float64."""
        if self._session is None:
            return np.asarray(self._trees.predict_proba(rows)[:, 1])
        (odds,) = self._session.run(None, {"rows": rows})
        return 1.0 / (1.0 + np.exp(-odds[:, 0]))


def answer(churn: float) -> dict[str, Any]:
    """The answer of `/predict`."""
    likely = churn >= 0.5
    return {"prediction": "1" if likely else "0", "confidence": churn if likely else 1.0 - churn}
