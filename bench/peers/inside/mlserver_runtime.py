"""MLServer: a runtime for the classifier, after mlserver-sklearn's; the body is the V2 protocol's.

https://docs.seldon.ai/mlserver/user-guide/custom and .../adaptive-batching.
"""

from __future__ import annotations

from pathlib import Path

from classifier import Classifier
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Churn(MLModel):
    """(n, 4) float64 to (n,) probabilities."""

    async def load(self) -> bool:
        self._classifier = Classifier(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        churn = self._classifier.churn(rows)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("churn", churn)]
        )
