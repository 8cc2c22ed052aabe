"""What every answer tells browsers not to do with it."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
"""Also on `/predict`, where the rest would be bytes for nobody: its answers name no user."""

GUARDS: Final = (
    NO_SNIFFING,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Answers are about people: no cache is to keep them.
    (b"cache-control", b"no-store"),
)
"""A route that sets one of these itself keeps its own."""

_PREDICT: Final = "/predict"


class Guarded:
    """ASGI middleware: adds the guards that a route has not set."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guards = (NO_SNIFFING,) if scope["path"] == _PREDICT else GUARDS

        async def guarding(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                there = {name for name, _ in headers}
                headers += [guard for guard in guards if guard[0] not in there]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, guarding)


def guarded(answer: Response) -> Response:
    """The same for a response that no route made."""
    for name, value in GUARDS:
        answer.headers.setdefault(name.decode(), value.decode())
    return answer
