"""BentoML: `bentoml serve bentoml_service:Default` or `:Batched`.

https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html: a batchable endpoint takes
and gives a batch, and the dispatcher joins the requests of several clients.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
import numpy as np
from classifier import Classifier, answer


@bentoml.service
class Default:
    """As the quickstart has it."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api
    def predict(
        self, pages_visited: int, time_spent: float, days_since_signup: float, is_logged_in: bool
    ) -> dict[str, Any]:
        row = [pages_visited, time_spent, days_since_signup, is_logged_in]
        return answer(float(self._classifier.churn(np.array([row], np.float64))[0]))


@bentoml.service(
    workers=1,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 10, "concurrency": 64},
)
class Batched:
    """Adaptive batching; the body is {"rows": [[4 numbers]]}, the answer a list."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api(
        batchable=True,
        max_batch_size=int(os.environ.get("PEER_BATCH", "32")),
        max_latency_ms=int(os.environ.get("PEER_LATENCY_MS", "1000")),
    )
    def predict(self, rows: list[list[float]]) -> list[dict[str, Any]]:
        return [answer(p) for p in self._classifier.churn(np.array(rows, np.float64)).tolist()]
