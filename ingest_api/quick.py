"""`POST /predict` past the framework, for the request that asks for nothing special.

Tasks, routing, dependencies and response objects cost several times what the prediction does. A
request without a query whose JSON body is short and fits is answered before any of them: the server
(`ingest_api/protocol.py`) asks here, once it has read all of it. Whatever else it is, also an
error, goes to the routes unchanged, so what they say stands once.

Requests that come in one round of the event loop are answered together, in one call of the model.
Nobody waits for that: they are answered when everything at hand is read, which is what a task of
each would have waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from ingest_api import problems
from ingest_api.guards import NO_SNIFFING
from ingest_api.inputs import PredictRequest
from ingest_api.metrics import GatewayMetrics
from ingest_api.predictions import Predictor
from ingest_api.ready import Asking, Headers, lines
from ingest_api.snapshots import Snapshots

logger = structlog.get_logger(__name__)

PATH: Final = "/predict"
MAX_BYTES: Final = 4_096
"""Of a body. Whoever sends it slowly holds so much, once a connection, and is in no other count."""
TOGETHER: Final = 64
"""At most so many are kept until all there is has been read."""
_CONTENT_TYPE: Final = b"content-type"
_JSON: Final = b"application/json"
_LENGTH: Final = b"content-length"
_UNUSUAL: Final = frozenset({b"content-encoding", b"transfer-encoding", b"expect", b"upgrade"})

_decode = msgspec.json.Decoder(PredictRequest).decode
_encode = msgspec.json.Encoder().encode


class QuickPredict:
    """Answers what fits, and counts and times it as the routes would.

    may: whether a request with these headers may be answered; who may not is for the routes to
    tell. None: everybody may.
    """

    def __init__(
        self,
        predictor: Predictor,
        snapshots: Snapshots,
        metrics: GatewayMetrics,
        may: Callable[[Headers], bool] | None = None,
    ) -> None:
        self._predict = predictor.plain
        self._offer = snapshots.offer
        self._answered = metrics.requests.labels(PATH, "200")
        self._failed = metrics.requests.labels(PATH, "500")
        self._seconds = metrics.request_seconds.labels(PATH)
        self._headers = [
            (_CONTENT_TYPE, _JSON),
            NO_SNIFFING,
            *(
                (name.lower().encode(), value.encode())
                for name, value in predictor.headers["inputs"].items()
            ),
        ]
        self._may = may
        self._waiting: list[tuple[Asking, PredictRequest, float]] = []
        self._of: list[tuple[bytes, bytes]] | None = None
        self._head = b""
        """Everything before the length, with the server's headers `_of`."""

    def fits(self, headers: Headers) -> bool:
        """Whether a POST to PATH with these headers may be answered here, if its body fits."""
        return is_short_json(headers) and (self._may is None or self._may(headers))

    def take(self, asking: Asking, body: bytes, arrived: float) -> bool:
        """Answer it before the loop's next round; False when the body does not fit.

        arrived: by time.perf_counter, when its head was there.
        """
        try:
            totals = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        waiting = self._waiting
        if not waiting:
            asyncio.get_running_loop().call_soon(self.answer)
        waiting.append((asking, totals, arrived))
        if len(waiting) >= TOGETHER:
            self.answer()
        return True

    def answer(self) -> None:
        """Answer everything taken so far."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            predictions = self._predict([totals for _, totals, _ in waiting])
        except Exception as error:
            logger.error("predict_failed", exc_info=error)
            self._fail(waiting, error)
            return
        head = self._head_before_length(waiting[0][0])
        for (asking, totals, _), prediction in zip(waiting, predictions, strict=True):
            body = _encode(prediction)
            asking.reply(b"%b%d\r\n\r\n%b" % (head, len(body), body))
            if totals.user_id is not None:
                self._offer(totals)
        self._answered.inc(len(waiting))
        now = time.perf_counter()
        for _, _, arrived in waiting:
            self._seconds.observe(now - arrived)

    def _head_before_length(self, asking: Asking) -> bytes:
        if self._of is not asking.default_headers:
            self._of = asking.default_headers
            self._head = b"HTTP/1.1 200 OK\r\n%bcontent-length: " % lines(
                [*self._of, *self._headers]
            )
        return self._head

    def _fail(self, waiting: list[tuple[Asking, PredictRequest, float]], error: Exception) -> None:
        """What the routes say of a bug."""
        told = problems.answer(problems.problem_of(error))
        for asking, _, _ in waiting:
            head = lines([*asking.default_headers, *told.raw_headers])
            asking.reply(
                b"HTTP/1.1 500 Internal Server Error\r\n%b\r\n%b" % (head, bytes(told.body))
            )
        self._failed.inc(len(waiting))


def is_short_json(headers: Headers) -> bool:
    """Whether a body is announced that is JSON, comes as it is, and is kept until it is whole.

    headers: names in lower case.
    """
    json = short = False
    for name, value in headers:
        if name == _CONTENT_TYPE:
            json = value == _JSON
        elif name == _LENGTH:
            short = value.isdigit() and int(value) <= MAX_BYTES
        elif name in _UNUSUAL:
            return False
    return json and short
