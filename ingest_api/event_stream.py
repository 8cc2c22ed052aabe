"""Server-sent events: how one looks on the wire, and a response that writes them as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

logger = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "text/event-stream"
WRITE_SECONDS: Final = 10.0
"""How long a client may take to make room for the next event."""
ABORT: Final = "ebbtide.abort"
"""ASGI extension: `call` ends the connection without waiting for what it has not taken."""


def event(name: str, data: bytes, place: str | None = None) -> bytes:
    """An event; `data` is one line, `place` what Last-Event-ID says afterwards."""
    head = b"event: %s\n" % name.encode()
    if place is not None:
        head += b"id: %s\n" % place.encode()
    return b"%sdata: %s\n\n" % (head, data)


def sign_of_life(place: str) -> bytes:
    """No event, but it moves Last-Event-ID on, and keeps proxies from hanging up."""
    return b": alive\nid: %s\n\n" % place.encode()


def wait_before_retry(milliseconds: int) -> bytes:
    """How long the client waits before it comes back."""
    return b"retry: %d\n\n" % milliseconds


class EventStream(Response):
    """Writes pieces until they end or the client leaves.

    A client that takes nothing for WRITE_SECONDS is cut off, and `on_stuck` is called. `held` is
    let go at the end.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        held: ExitStack,
        on_stuck: Callable[[], None] = lambda: None,
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        self._pieces = pieces
        self._held = held
        self._on_stuck = on_stuck
        self._write_seconds = write_seconds
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(_left(receive))
        writing = asyncio.create_task(self._write(scope, send))
        try:
            with self._held:
                await asyncio.wait((leaving, writing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (leaving, writing):
                task.cancel()
            await asyncio.wait((leaving, writing))
        if not writing.cancelled():
            writing.result()

    async def _write(self, scope: Scope, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        body = {"type": "http.response.body"}
        try:
            await send(start)
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    async with asyncio.timeout(self._write_seconds):
                        await send({**body, "body": piece, "more_body": True})
            await send({**body, "body": b""})
        except TimeoutError:
            logger.info("listener_stuck", seconds=self._write_seconds)
            self._on_stuck()
            if ABORT in scope.get("extensions", {}):
                scope["extensions"][ABORT]["call"]()


async def _left(receive: Receive) -> None:
    """Until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
