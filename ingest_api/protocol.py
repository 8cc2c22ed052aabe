"""uvicorn's HTTP protocol with a bound on what comes before a body: it has none of its own.

It also notes what only a server knows and what stands before the routes goes by, and lets
`EventStream` hang up.
"""

from __future__ import annotations

from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingest_api.event_stream import ABORT
from ingest_api.quick import WHOLE
from ingest_api.shedding import ARRIVED, CONNECTIONS, clock

MAX_HEAD_BYTES: Final = 65_536
"""Request line and headers. A head that arrives whole, in one piece, is read even if longer."""

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

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._head_bytes += len(data)
        super().data_received(data)
        too_long = self._in_head and self._head_bytes > MAX_HEAD_BYTES
        if too_long and not self.transport.is_closing():
            words = b"Request line and headers may have %d bytes." % MAX_HEAD_BYTES
            self.transport.write(_REFUSAL % (len(words), words))
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_head = False
        scope = cast("dict[str, Any]", self.scope)
        scope[ARRIVED] = clock()
        scope[CONNECTIONS] = len(self.connections)
        # Closing would wait for a client that reads nothing, for as long as it likes.
        scope["extensions"] = {ABORT: {"call": self.transport.abort}}
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        cast("dict[str, Any]", self.scope)[WHOLE] = True
        super().on_message_complete()
        # Where in the piece at hand the next request begins is not known: it counts from the next.
        self._in_head, self._head_bytes = True, 0
