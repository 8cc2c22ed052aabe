"""What `/predict` answers: a probability as a prediction, and as much more as was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import quote

import msgspec
import numpy as np

from contracts.scores import Evidence, Explanation
from ingest_api import inputs
from ingest_api.inputs import PredictRequest
from ingest_api.users import RecordScore
from ingest_api.verdicts import verdict
from model.artefact import Model
from model.reasons import Explainer

Basis = Literal["inputs", "record"]

BASIS_HEADER: Final = "Ebbtide-Basis"
ORIGIN_HEADER: Final = "Ebbtide-Origin"

_NO_BEHAVIOUR = Evidence(events=0, active_days=0, usual_gap_hours=None, missing=())


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the user churns within the horizon, and how probable the answer is.

    The fields from `churn_probability` on come with `?explain=true`; `basis` also with
    `?basis=record`.
    """

    prediction: Literal["0", "1"]
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)]
    """The model's probability of the predicted class."""
    basis: Basis | None = None
    """What was scored: the inputs of the request, or the user's record with them folded in."""
    churn_probability: float | None = None
    model_version: str | None = None
    horizon_days: int | None = None
    origin: str | None = None
    """What the model learned from."""
    evidence: Evidence | None = None
    """The recorded behaviour behind the score: none with `basis` `inputs`."""
    explanation: Explanation | None = None
    """Why: base and contributions are the log-odds of `churn_probability`."""


class BatchPrediction(msgspec.Struct, frozen=True):
    """The predictions in the order of the items."""

    predictions: tuple[Prediction, ...]


class Predictor:
    """A model's answers to `/predict`."""

    def __init__(self, model: Model, explainer: Explainer) -> None:
        self._model = model
        self._explainer = explainer
        self.headers: Mapping[Basis, dict[str, str]] = {
            # A log's name may hold what no header can.
            "inputs": {BASIS_HEADER: "inputs", ORIGIN_HEADER: _safe(model.inputs_origin)},
            "record": {BASIS_HEADER: "record", ORIGIN_HEADER: _safe(model.origin)},
        }

    def plain(self, totals: list[PredictRequest]) -> list[Prediction]:
        """The predictions alone, in one model call."""
        model, rows = self._model, inputs.as_rows(totals)
        found = [model.score_one(rows)] if len(totals) == 1 else model.score_inputs(rows).tolist()
        return [Prediction(*verdict(probability, model.class_cutoff)) for probability in found]

    def of_inputs(self, rows: np.ndarray, *, explain: bool) -> list[Prediction]:
        """Predictions of (n, 4) PREDICT_INPUTS, in one model call."""
        told = self._explainer.of_inputs(rows) if explain else None
        return [
            self._prediction(
                float(probability),
                "inputs" if explain else None,
                explain,
                explanation=None if told is None else told[i],
            )
            for i, probability in enumerate(self._model.score_inputs(rows))
        ]

    def of_record(self, known: RecordScore, *, explain: bool) -> Prediction:
        """The prediction of a user's record."""
        return self._prediction(
            known.churn_probability, "record", explain, known.evidence, known.explanation
        )

    def _prediction(
        self,
        probability: float,
        basis: Basis | None,
        explain: bool,
        evidence: Evidence = _NO_BEHAVIOUR,
        explanation: Explanation | None = None,
    ) -> Prediction:
        model = self._model
        prediction, confidence = verdict(probability, model.class_cutoff)
        if not explain:
            return Prediction(prediction, confidence, basis)
        of_record = basis == "record"
        return Prediction(
            prediction,
            confidence,
            basis,
            churn_probability=probability,
            model_version=model.version,
            horizon_days=model.horizon_days if of_record else model.inputs_horizon_days,
            origin=model.origin if of_record else model.inputs_origin,
            evidence=evidence,
            explanation=explanation,
        )


def _safe(origin: str) -> str:
    return quote(origin, safe=" ,:;()/")
