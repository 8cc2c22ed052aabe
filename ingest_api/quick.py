"""`POST /predict` past the framework, for the request that asks for nothing special.

Routing, dependencies and response objects cost several times what the prediction does. A request
without a query whose JSON body comes in one piece and fits is answered before any of them.
Whatever else it is, also an error, goes to the routes unchanged, so what they say stands once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest_api import inputs
from ingest_api.metrics import GatewayMetrics
from ingest_api.predictions import Predictor
from ingest_api.snapshots import Snapshots

PATH: Final = "/predict"
_CONTENT_TYPE: Final = b"content-type"
_JSON: Final = b"application/json"
_LENGTH: Final = b"content-length"
_UNUSUAL: Final = frozenset({b"content-encoding", b"transfer-encoding", b"expect"})
WHOLE: Final = "ebbtide.whole"
"""In the scope: all of the body is here, and the first `receive` gives it at once."""
WAIT_SECONDS: Final = 1.0
"""For the body to come; the routes wait longer, and say so when it does not."""

_decode = msgspec.json.Decoder(inputs.PredictRequest).decode
_encode = msgspec.json.Encoder().encode


class QuickPredict:
    """ASGI middleware in front of the routes; counts and times what it answers as they would."""

    def __init__(
        self, app: ASGIApp, predictor: Predictor, snapshots: Snapshots, metrics: GatewayMetrics
    ) -> None:
        self._app = app
        self._predict = predictor.plain
        self._offer = snapshots.offer
        self._answered = metrics.requests.labels(PATH, "200")
        self._seconds = metrics.request_seconds.labels(PATH)
        self._headers = [
            (_CONTENT_TYPE, _JSON),
            *(
                (name.lower().encode(), value.encode())
                for name, value in predictor.headers["inputs"].items()
            ),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_plain(scope):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        if WHOLE in scope:
            first = await receive()
        else:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    first = await receive()
            except TimeoutError:
                await self._app(scope, receive, send)
                return
        totals = _totals(first)
        if totals is None:
            await self._app(scope, _again(first, receive), send)
            return
        body = self._answer(totals)
        if body is None:
            await self._app(scope, _again(first, receive), send)
            return
        headers = [*self._headers, (_LENGTH, b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._offer(totals)
        self._answered.inc()
        self._seconds.observe(time.perf_counter() - began)

    def _answer(self, totals: inputs.PredictRequest) -> bytes | None:
        """The body of the answer; None where the model fails, for the routes to tell."""
        try:
            return _encode(self._predict(totals))
        except Exception:  # the routes ask the same, and say what came of it
            return None


def _is_plain(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["path"] == PATH
        and scope["method"] == "POST"
        and not scope["query_string"]
        and _says_short_json(scope["headers"])
    )


def _says_short_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """What announces more than is taken must be refused unread, and by the routes."""
    json = short = False
    for name, value in headers:
        if name == _CONTENT_TYPE:
            json = value == _JSON
        elif name == _LENGTH:
            short = value.isdigit() and int(value) <= inputs.MAX_BYTES
        elif name in _UNUSUAL:
            return False
    return json and short


def _totals(message: Message) -> inputs.PredictRequest | None:
    """What the request states, if all of it is here and fits."""
    if message["type"] != "http.request" or message.get("more_body"):
        return None
    try:
        return _decode(message["body"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _again(first: Message, receive: Receive) -> Receive:
    """A receive that says `first` once more."""
    waiting = [first]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
