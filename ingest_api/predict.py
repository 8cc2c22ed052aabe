"""`POST /predict` and `/predict/batch`: the score of stated totals, without Kafka or Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, Literal
from urllib.parse import quote

import msgspec
import numpy as np
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from contracts.errors import StoreUnavailable
from contracts.scores import Evidence, Explanation
from ingest_api import bodies, inputs, openapi
from ingest_api.inputs import PredictRequest
from ingest_api.problems import FieldError, Invalid
from ingest_api.snapshots import Snapshots
from ingest_api.users import RecordScore
from ingest_api.verdicts import verdict
from model.artefact import Model
from model.reasons import Explainer

Basis = Literal["inputs", "record"]

RECORD_SECONDS: Final = 0.020
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


ScoreRecord = Callable[[PredictRequest, bool], Awaitable[RecordScore | None]]
"""The score of the user's record with the request folded in, as of now, explained or not.

None for an unknown user.
"""

_EXAMPLE = {
    "pages_visited": 12,
    "time_spent": 180.5,
    "days_since_signup": 10,
    "is_logged_in": True,
}
_ANSWER = {"prediction": "1", "confidence": 0.82}

Explain = Annotated[bool, Query(description="Add probability, model, basis, evidence and reasons.")]


def router(
    *, model: Model, explainer: Explainer, snapshots: Snapshots, score_record: ScoreRecord
) -> APIRouter:
    """The routes, over their collaborators."""
    routes = APIRouter(tags=["prediction"])
    # A log's name may hold what no header can.
    origin = quote(model.origin, safe=" ,:;()/")

    def predictions(rows: np.ndarray, explain: bool) -> list[Prediction]:
        told = explainer.of_inputs(rows) if explain else None
        return [
            _prediction(
                float(probability),
                "inputs" if explain else None,
                explain,
                explanation=None if told is None else told[i],
            )
            for i, probability in enumerate(model.score_inputs(rows))
        ]

    def _prediction(
        probability: float,
        basis: Basis | None,
        explain: bool,
        evidence: Evidence = _NO_BEHAVIOUR,
        explanation: Explanation | None = None,
    ) -> Prediction:
        prediction, confidence = verdict(probability, model.class_cutoff)
        if not explain:
            return Prediction(prediction, confidence, basis)
        return Prediction(
            prediction,
            confidence,
            basis,
            churn_probability=probability,
            model_version=model.version,
            horizon_days=model.horizon_days,
            origin=model.origin,
            evidence=evidence,
            explanation=explanation,
        )

    async def of_record(totals: PredictRequest, explain: bool) -> Prediction | None:
        """The record's prediction; None when it cannot be had in time."""
        if totals.user_id is None:
            raise Invalid([FieldError("user_id", "required with ?basis=record: whose record?")])
        try:
            async with asyncio.timeout(RECORD_SECONDS):
                known = await score_record(totals, explain)
        except (StoreUnavailable, TimeoutError):
            return None
        if known is None:
            return None
        return _prediction(
            known.churn_probability, "record", explain, known.evidence, known.explanation
        )

    @routes.post(
        "/predict",
        summary="Predict from totals",
        description="Scores the totals in the request at once. A `user_id` also queues them as a "
        "`snapshot` event, which is dropped when Kafka is away. `?basis=record` scores the "
        "user's record with the totals folded in, by the estimator that reads all of it; when "
        "that is not at hand within 20 ms the totals alone count, and `basis` says so.",
        openapi_extra=openapi.body(PredictRequest, example=_EXAMPLE),
        responses=openapi.responses(
            {
                200: openapi.of(
                    Prediction, "The prediction.", _ANSWER,
                    {
                        BASIS_HEADER: "What was scored: `inputs` or `record`.",
                        ORIGIN_HEADER: "What the model learned from, percent-encoded.",
                    },
                )
            },
            400, 413, 415, 422,
        ),
    )  # fmt: skip
    async def predict(
        request: Request,
        explain: Explain = False,
        basis: Annotated[Basis, Query(description="What to score.")] = "inputs",
    ) -> Response:
        totals = inputs.decode_one(await bodies.read(request, inputs.MAX_BYTES))
        prediction = await of_record(totals, explain) if basis == "record" else None
        headers = {
            BASIS_HEADER: "inputs" if prediction is None else "record",
            ORIGIN_HEADER: origin,
        }
        if prediction is None:
            (prediction,) = predictions(inputs.as_rows([totals]), explain)
            if basis == "record":
                prediction = msgspec.structs.replace(prediction, basis="inputs")
        snapshots.offer(totals)
        return openapi.reply(prediction, headers=headers)

    @routes.post(
        "/predict/batch",
        summary="Predict many",
        description="Like /predict for up to 1000 items in at most 1 MiB. One bad item refuses "
        "the batch, named as `items[3].time_spent`.",
        openapi_extra=openapi.body(inputs.BatchRequest, example={"items": [_EXAMPLE]}),
        responses=openapi.responses(
            {200: openapi.of(BatchPrediction, "The predictions.", {"predictions": [_ANSWER]})},
            400, 413, 415, 422,
        ),
    )  # fmt: skip
    async def predict_batch(request: Request, explain: Explain = False) -> Response:
        items = inputs.decode_many(await bodies.read(request, inputs.MAX_BATCH_BYTES))
        answered = predictions(inputs.as_rows(items), explain)
        for item in items:
            snapshots.offer(item)
        headers = {BASIS_HEADER: "inputs", ORIGIN_HEADER: origin}
        return openapi.reply(BatchPrediction(tuple(answered)), headers=headers)

    return routes
