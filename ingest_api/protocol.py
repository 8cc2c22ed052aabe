"""uvicorn's HTTP protocol, with what only a server can do for the gateway.

It bounds what comes before a body, for uvicorn has no bound of its own; it answers `/predict` and
`/events` where the request was read (`ingest_api/quick.py`, `ingest_api/quick_events.py`); and
other requests wait here for their turn (`ingest_api/turns.py`). It also lets `EventStream` hang up.

`config.app` says how: without a `quick`, `quick_events` and `turns` of its own, everything is begun
at once.
"""

from __future__ import annotations

import time
from asyncio import TimerHandle
from typing import Any, Final, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ingest_api import quick, quick_events
from ingest_api.event_stream import ABORT
from ingest_api.quick import QuickPredict
from ingest_api.quick_events import QuickEvents
from ingest_api.shedding import ARRIVED, CONNECTIONS, Refusal, clock
from ingest_api.turns import Turns

MAX_HEAD_BYTES: Final = 65_536
"""Request line and headers. A head that arrives whole, in one piece, is read even if longer."""
BODY_SECONDS: Final = 1.0
"""For the body to come; the routes wait longer, and say so when it does not."""

_PREDICT: Final = quick.PATH.encode()
_EVENTS: Final = quick_events.PATH.encode()
_REFUSAL: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\n"
    b"connection: close\r\n\r\n%s"
)


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a request whose head does not end within MAX_HEAD_BYTES."""

    _head_bytes = 0
    _in_head = True
    _arrived = 0.0
    _asked = 0
    """Requests that `QuickPredict` has taken and not answered."""
    _body: bytes | None = None
    """Of a request that `_taker` gets when it is whole."""
    _taker: QuickPredict | QuickEvents
    _late: TimerHandle | None = None

    def __init__(self, config: Any, *arguments: Any, **more: Any) -> None:
        super().__init__(config, *arguments, **more)
        self._quick: QuickPredict | None = getattr(config.app, "quick", None)
        self._quick_events: QuickEvents | None = getattr(config.app, "quick_events", None)
        self._turns: Turns | None = getattr(config.app, "turns", None)

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Of every answer."""
        return self.server_state.default_headers

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._body is not None and self._late is None:
            self._late = self.loop.call_later(BODY_SECONDS, self._hand_on)
        too_long = self._in_head and self._head_bytes > MAX_HEAD_BYTES
        if too_long and not self.transport.is_closing():
            words = b"Request line and headers may have %d bytes." % MAX_HEAD_BYTES
            self._settle()
            self.transport.write(_REFUSAL % (len(words), words))
            self.transport.close()

    def on_message_begin(self) -> None:
        # The scope is made when somebody reads it.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        self._in_head = False
        taker = self._quick_way()
        if taker is None:
            self._begin()
        else:
            self._arrived = time.perf_counter()
            self._taker, self._body = taker, b""

    def on_body(self, body: bytes) -> None:
        if self._body is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._body is None:
            super().on_message_complete()
        elif self._is_taken(self._body):
            self._body = None
        else:
            self._hand_on()
            super().on_message_complete()
        # Where in the piece at hand the next request begins is not known: it counts from the next.
        self._in_head, self._head_bytes = True, 0

    def reply(self, answer: bytes) -> None:
        """Write an answer of `QuickPredict`."""
        self._asked -= 1
        self._write(answer)

    def pay(self, owed: Owed, answer: bytes) -> None:
        """Write the answer that was owed, and go on with what came behind it."""
        owed.response_complete = True
        self._write(answer)
        if not owed.keep_alive:
            self.transport.close()

    def begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Let the routes have the request."""
        super()._start_asgi_task(cycle, app)

    def refuse(self, cycle: RequestResponseCycle, refusal: Refusal) -> None:
        """Answer it here."""
        cycle.response_started = cycle.response_complete = True
        self.transport.write(refusal.on_the_wire(self.default_headers))
        if refusal.is_last or not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def eof_received(self) -> None:
        self._settle()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self._settle()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._settle()
        super().send_400_response(msg)

    def handle_websocket_upgrade(self) -> None:
        self._settle()
        super().handle_websocket_upgrade()

    def _quick_way(self) -> QuickPredict | QuickEvents | None:
        """Who may have it, and answers leave in the order of their requests; None: the routes."""
        taker: QuickPredict | QuickEvents | None = None
        if self.url == _PREDICT:
            taker = self._quick
        elif self.url == _EVENTS:
            taker = self._quick_events
        if (
            taker is not None
            and self.parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not (self._turns is not None and self._turns.is_crowded(len(self.connections)))
            and self.parser.should_keep_alive()
            and self.parser.get_http_version() == "1.1"
            and taker.fits(self.headers)
        ):
            return taker
        return None

    def _is_taken(self, body: bytes) -> bool:
        """Whether a request that is whole is answered past the routes."""
        if self._taker is self._quick:
            taken = self._quick.take(self, body, self._arrived)
            self._asked += taken
            return taken
        self._settle()
        owed = Owed(self)
        if not self._taker.take(owed, body, self._arrived):
            return False
        self.cycle = cast("RequestResponseCycle", owed)
        return True

    def _write(self, answer: bytes) -> None:
        if self.transport.is_closing():
            return
        try:
            self.transport.write(answer)
        except (OSError, RuntimeError):  # uvloop's, of a connection that was lost just before
            self.transport.abort()
            return
        self.on_response_complete()

    def _begin(self) -> None:
        """What uvicorn does when it has a head."""
        self._settle()
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        scope = cast("dict[str, Any]", self.scope)
        scope[ARRIVED] = clock()
        scope[CONNECTIONS] = len(self.connections)
        # Closing would wait for a client that reads nothing, for as long as it likes.
        scope["extensions"] = {ABORT: {"call": self.transport.abort}}
        super().on_headers_complete()

    def _hand_on(self) -> None:
        """Let the routes have a request that looked quick."""
        body, self._body, self._late = self._body, None, None
        self._begin()
        if body:
            super().on_body(body)

    def _settle(self) -> None:
        """Answers leave in the order of their requests."""
        if self._asked and self._quick is not None:
            self._quick.answer()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._turns is None or not self._turns.wait(self, cycle, app):
            self.begin(cycle, app)


class Owed:
    """An answer that comes later, in uvicorn's books in the place of a request under way.

    So what comes behind it on its connection waits, and a stopping server waits for it.
    """

    __slots__ = ("_server", "disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self, server: BoundedProtocol) -> None:
        self._server = server
        self.disconnected = self.response_complete = False
        self.keep_alive = True
        self.message_event = _NOBODY

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Of every answer."""
        return self._server.default_headers

    def reply(self, answer: bytes) -> None:
        """Write it."""
        self._server.pay(self, answer)


class _Nobody:
    """Whom uvicorn tells that a body, or the end of a connection, has come."""

    def set(self) -> None:
        """Nobody waits for it."""


_NOBODY: Final = _Nobody()
