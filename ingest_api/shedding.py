"""The gateway's door: requests that cannot be taken on are answered 503 before anything is done.

It stands before all routes. A server asks it before it begins a request (`ingest_api/turns.py`),
so that a refusal costs a write; where nobody has asked, it asks itself. `QuickEvents` asks it about
time alone, and `QuickPredict` goes by it: a prediction costs hardly more than its refusal. Of both
there is one a connection, so the number of connections bounds them. What says how the gateway fares
is always let in: it must answer most of all when nothing else does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest_api import problems
from ingest_api.admission import MIB, Admission, Limits, Moment, Reason
from ingest_api.metrics import GatewayMetrics
from ingest_api.problems import Overloaded
from ingest_api.ready import Asking, Ready

ALWAYS: Final = frozenset({"/livez", "/readyz", "/metrics"})
UNANNOUNCED_BYTES: Final = MIB
"""What a body that does not say its length counts for: the routes take no more than this."""
WORK_SECONDS: Final = 0.001
ARRIVED: Final = "ebbtide.arrived"
"""In the scope: the `Moment`, by `clock`, when the server had the request's head."""
CONNECTIONS: Final = "ebbtide.connections"
"""In the scope: how many connections the server holds."""
HOLDING: Final = "ebbtide.holding"
"""In the scope: the request's `Holding`, where it has been let in already."""

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


class Refusal(Ready):
    """An answer, made once: it has to cost little."""

    def __init__(self, answer: Response, *, is_last: bool) -> None:
        """is_last: whether its headers end the connection."""
        super().__init__(answer)
        self.is_last = is_last


class Shedding:
    """ASGI middleware: takes requests on within `limits`, and counts those it does not."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics, limits: Limits) -> None:
        self.limits = limits
        self._app = app
        self._admission = Admission(limits)
        self._refusals = {reason: _refusal(reason) for reason in Reason}
        self._turn: Moment | None = None
        """When the loop's turn began in which requests of `takes` are read."""
        self._is_reading = False
        self._late: list[Asking] = []
        self._shed = {
            (is_predict, reason): metrics.shed.labels(_PREDICT if is_predict else _OTHER, reason)
            for is_predict in (True, False)
            for reason in Reason
        }

    def lets_pass(self, scope: Scope) -> bool:
        """Whether it is none that could be refused."""
        return scope["type"] != "http" or scope["path"] in ALWAYS

    def ask(self, scope: Scope) -> Holding | Refusal:
        """A place for the request, which its end gives back; or what it is told instead."""
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
        if reason is None:
            return Holding(self._admission, is_predict, body_bytes)
        self._shed[is_predict, reason].inc()
        return self._refusals[reason]

    def takes(self, asking: Asking) -> bool:
        """Whether a request is taken on as it is read; if not, it is told so.

        For those that are not begun in turn but read and done with. They wait where nobody sees it:
        in the kernel, for as long as the loop's turn before this one, and what of this one has
        passed. So the turn is what is bounded. What refusals cost is not part of it: with enough of
        them nothing would be taken on at all.
        """
        now = clock()
        if not self._is_reading:
            self._is_reading = True
            asyncio.get_running_loop().call_soon(self._end_reading)
            self._turn = self._turn or now
        if self._admission.is_read_in_time(self._turn or now, now):
            return True
        self._late.append(asking)
        self._shed[False, Reason.WAITED].inc()
        return False

    def _end_reading(self) -> None:
        # Told at once, who asks again at once would be read in the same turn, which would not end.
        late, self._late = self._late, []
        refusal = self._refusals[Reason.WAITED]
        for asking in late:
            asking.reply(refusal.on_the_wire(asking.default_headers))
        self._is_reading, self._turn = False, clock()
        asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        if not self._is_reading:
            self._turn = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.lets_pass(scope):
            await self._app(scope, receive, send)
            return
        answer = scope.pop(HOLDING, None) or self.ask(scope)
        if isinstance(answer, Refusal):
            start = {"type": "http.response.start", "status": answer.status}
            await send({**start, "headers": answer.headers})
            await send({"type": "http.response.body", "body": answer.body})
            return
        is_get = scope["method"] in ("GET", "HEAD")
        try:
            await self._app(scope, receive, answer.until_begun(send) if is_get else send)
        finally:
            answer.end()


class Holding:
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


def _refusal(reason: Reason) -> Refusal:
    is_last = reason is Reason.CONNECTIONS
    headers = {"Connection": "close"} if is_last else None
    told = problems.answer(problems.problem_of(Overloaded(_WORDS[reason])), headers)
    return Refusal(told, is_last=is_last)
