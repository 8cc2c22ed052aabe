"""`POST /predict` and `/predict/batch`: the score of stated totals, without Kafka or Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from contracts.errors import StoreUnavailable
from ingest_api import bodies, inputs, openapi
from ingest_api.inputs import PredictRequest
from ingest_api.predictions import (
    BASIS_HEADER,
    ORIGIN_HEADER,
    Basis,
    BatchPrediction,
    Prediction,
    Predictor,
)
from ingest_api.problems import FieldError, Invalid
from ingest_api.snapshots import Snapshots
from ingest_api.users import RecordScore

RECORD_SECONDS: Final = 0.020

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


def router(*, predictor: Predictor, snapshots: Snapshots, score_record: ScoreRecord) -> APIRouter:
    """The routes, over their collaborators."""
    routes = APIRouter(tags=["prediction"])

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
        return predictor.of_record(known, explain=explain)

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
            400, 408, 413, 415, 422, 503,
        ),
    )  # fmt: skip
    async def predict(
        request: Request,
        explain: Explain = False,
        basis: Annotated[Basis, Query(description="What to score.")] = "inputs",
    ) -> Response:
        totals = inputs.decode_one(await bodies.read(request, inputs.MAX_BYTES))
        prediction = await of_record(totals, explain) if basis == "record" else None
        headers = predictor.headers["inputs" if prediction is None else "record"]
        if prediction is None:
            (prediction,) = predictor.of_inputs(inputs.as_rows([totals]), explain=explain)
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
            400, 408, 413, 415, 422, 503,
        ),
    )  # fmt: skip
    async def predict_batch(request: Request, explain: Explain = False) -> Response:
        items = inputs.decode_many(await bodies.read(request, inputs.MAX_BATCH_BYTES))
        answered = predictor.of_inputs(inputs.as_rows(items), explain=explain)
        for item in items:
            snapshots.offer(item)
        return openapi.reply(BatchPrediction(tuple(answered)), headers=predictor.headers["inputs"])

    return routes
