"""The gateway's door: requests that cannot be taken on are answered 503 before anything is done.

It stands before all routes and before `QuickPredict`, so that both ways refuse alike. What says
how the gateway fares is always let in: it must answer most of all when nothing else does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest_api import problems
from ingest_api.admission import MIB, Admission, Limits, Moment, Reason
from ingest_api.metrics import GatewayMetrics
from ingest_api.problems import Overloaded

ALWAYS: Final = frozenset({"/livez", "/readyz", "/metrics"})
UNANNOUNCED_BYTES: Final = MIB
"""What a body that does not say its length counts for: the routes take no more than this."""
WORK_SECONDS: Final = 0.001
ARRIVED: Final = "ebbtide.arrived"
"""In the scope: the `Moment`, by `clock`, when the server had the request's head."""
CONNECTIONS: Final = "ebbtide.connections"
"""In the scope: how many connections the server holds."""

_PREDICT: Final = "/predict"
_OTHER: Final = "other"
_WORDS: Final[Mapping[Reason, str]] = {
    Reason.IN_FLIGHT: "as many requests are under way as are taken on at once",
    Reason.BODY_BYTES: "the bodies of the requests under way are as many bytes as are kept",
    Reason.CONNECTIONS: "as many connections are open as are kept",
    Reason.WAITED: "requests come faster than they can be answered",
}


class _Clock:
    """Moments of the thread that asks. Processor time is read once a millisecond: it is a system
    call, which costs as much as a tenth of a prediction."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._work = 0.0

    def __call__(self) -> Moment:
        at = time.perf_counter()
        if at - self._read_at >= WORK_SECONDS:
            self._read_at, self._work = at, time.thread_time()
        return Moment(at, self._work)


clock: Final = _Clock()
"""Of the event loop: there is one in a gateway."""


class Shedding:
    """ASGI middleware: takes requests on within `limits`, and counts those it does not."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics, limits: Limits) -> None:
        self._app = app
        self._admission = Admission(limits)
        self._refusals = {reason: _refusal(reason) for reason in Reason}
        self._shed = {
            (is_predict, reason): metrics.shed.labels(_PREDICT if is_predict else _OTHER, reason)
            for is_predict in (True, False)
            for reason in Reason
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        is_predict = scope["path"].startswith(_PREDICT)
        is_get = scope["method"] in ("GET", "HEAD")
        body_bytes = 0 if is_get else _announced(scope["headers"])
        now = clock()
        reason = self._admission.refused(
            is_predict=is_predict,
            arrived=scope.get(ARRIVED, now),
            now=now,
            body_bytes=body_bytes,
            connections=scope.get(CONNECTIONS, 0),
        )
        if reason is not None:
            self._shed[is_predict, reason].inc()
            for message in self._refusals[reason]:
                await send(message)
            return
        holding = _Holding(self._admission, is_predict, body_bytes)
        try:
            await self._app(scope, receive, holding.until_begun(send) if is_get else send)
        finally:
            holding.end()


class _Holding:
    """A request's place among those under way."""

    __slots__ = ("_admission", "_body_bytes", "_is_over", "_is_predict")

    def __init__(self, admission: Admission, is_predict: bool, body_bytes: int) -> None:
        self._admission = admission
        self._is_predict = is_predict
        self._body_bytes = body_bytes
        self._is_over = False

    def end(self) -> None:
        """Give the place back, once."""
        if not self._is_over:
            self._is_over = True
            self._admission.left(is_predict=self._is_predict, body_bytes=self._body_bytes)

    def until_begun(self, send: Send) -> Send:
        """A send that ends it with the answer's beginning: a feed is answered as long as one likes.

        What bounds feeds is the number of connections.
        """

        async def sending(message: Message) -> None:
            self.end()
            await send(message)

        return sending


def _announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes the body may come to; what announces more than is taken is refused unread."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return min(int(value), UNANNOUNCED_BYTES)
    return UNANNOUNCED_BYTES


def _refusal(reason: Reason) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two messages of the answer, made once: a refusal has to cost little."""
    headers = {"Connection": "close"} if reason is Reason.CONNECTIONS else None
    answer = problems.answer(problems.problem_of(Overloaded(_WORDS[reason])), headers)
    return (
        {
            "type": "http.response.start",
            "status": answer.status_code,
            "headers": answer.raw_headers,
        },
        {"type": "http.response.body", "body": answer.body},
    )
