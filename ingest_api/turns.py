"""Requests for the routes, begun in the order in which they came, a few in each round of the loop.

A server begins whatever it has read: then a round is as long as all of that together, and nothing
is read or accepted before it ends. Here the rest waits, where it can be seen how long it does, and
can be refused without any of it being begun.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol, cast

from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ingest_api.shedding import HOLDING, Holding, Refusal, Shedding

AT_ONCE: Final = 4
"""Begun in a round. What a round costs by itself is a tenth of what a request does."""


class Server(Protocol):
    """The connection a request came on."""

    def begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Let the routes have it."""
        ...

    def refuse(self, cycle: RequestResponseCycle, refusal: Refusal) -> None:
        """Answer it at once."""
        ...


class Turns:
    """The line in front of the routes; `door` says who is let in."""

    def __init__(self, door: Shedding) -> None:
        self._door = door
        self._line: deque[tuple[Server, RequestResponseCycle, ASGI3Application]] = deque()
        self._begun = 0
        """In this round."""
        self._next: asyncio.Handle | None = None

    def is_crowded(self, connections: int) -> bool:
        """Whether so many connections are more than are kept."""
        return connections > self._door.limits.connections

    def wait(self, server: Server, cycle: RequestResponseCycle, app: ASGI3Application) -> bool:
        """See to it in its turn; False for what is begun at once, whatever else waits."""
        if self._door.lets_pass(cast("Scope", cycle.scope)):
            return False
        self._line.append((server, cycle, app))
        if len(self._line) == 1:
            self._go_on()
        if self._next is None:
            self._next = asyncio.get_running_loop().call_soon(self._round)
        return True

    def _round(self) -> None:
        """Behind everything that was begun in the last one."""
        self._begun, self._next = 0, None
        self._go_on()
        if self._begun:
            self._next = asyncio.get_running_loop().call_soon(self._round)

    def _go_on(self) -> None:
        while self._line and self._begun < AT_ONCE:
            server, cycle, app = self._line[0]
            if not cycle.disconnected:
                scope = cast("Scope", cycle.scope)
                answer = self._door.ask(scope)
                if isinstance(answer, Holding):
                    scope[HOLDING] = answer
                    server.begin(cycle, app)
                    self._begun += 1
                else:
                    server.refuse(cycle, answer)
            # After it: what is behind it on its connection comes to the line meanwhile.
            self._line.popleft()
