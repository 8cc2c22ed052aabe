"""What `/predict` is compared with: routes that do less, and the one most people would write.

Each runs as `uvicorn bench.serving.routes:NAME` with the gateway's server settings; BENCH_MODEL is
a model folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

_ANSWER = b'{"prediction":"1","confidence":0.82}'
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_ANSWER)).encode()),
    ],
}
_BODY = {"type": "http.response.body", "body": _ANSWER}


class Totals(BaseModel):
    """The request of `/predict`, as one writes it with pydantic."""

    pages_visited: int = Field(ge=0)
    time_spent: float = Field(ge=0)
    days_since_signup: float = Field(ge=0)
    is_logged_in: bool
    user_id: str | None = None


class Answer(BaseModel):
    """Its answer."""

    prediction: str
    confidence: float


async def constant(scope: Any, receive: Any, send: Any) -> None:
    """The bare protocol: an answer without reading, deciding or validating anything."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await receive()
    await send(_START)
    await send(_BODY)


def fastapi_constant() -> FastAPI:
    """FastAPI with pydantic in and out, and no model behind."""
    app = FastAPI()

    @app.post("/predict")
    async def predict(totals: Totals) -> Answer:
        return Answer(prediction="1", confidence=0.82)

    return app


def naive() -> FastAPI:
    """FastAPI with pydantic, and scikit-learn's `predict_proba` of one row inside the route."""
    import numpy as np  # noqa: PLC0415 - the other routes need none of it

    from model.artefact import load  # noqa: PLC0415

    estimator = load(Path(os.environ["BENCH_MODEL"])).inputs
    app = FastAPI()

    @app.post("/predict")
    async def predict(totals: Totals) -> Answer:
        row = [
            totals.pages_visited,
            totals.time_spent,
            totals.days_since_signup,
            totals.is_logged_in,
        ]
        churn = float(estimator.predict_proba(np.array([row], np.float64))[0, 1])
        if churn >= 0.5:
            return Answer(prediction="1", confidence=churn)
        return Answer(prediction="0", confidence=1 - churn)

    return app
