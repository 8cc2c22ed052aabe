"""What a worker says of itself, and the small HTTP server that says it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from socket import socket

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.errors import Misconfigured


class Health:
    """Reasons why the worker is not ready; ready when there are none."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {"start": "starting"}

    def waits(self, about: str, reason: str) -> None:
        """Note a reason under a name; a later one under the same name replaces it."""
        self._reasons[about] = reason

    def goes_on(self, about: str) -> None:
        """The reason under this name is gone."""
        self._reasons.pop(about, None)

    def part(self, name: str) -> Health:
        """A health of its own for something that belongs to this one: its reasons are ours, too."""
        return _Part(self, name)

    @property
    def reasons(self) -> dict[str, str]:
        """Name to reason, empty when ready."""
        return dict(self._reasons)


class _Part(Health):
    """Writes its reasons into the whole, under names that say whose they are."""

    def __init__(self, whole: Health, name: str) -> None:
        self._whole = whole
        self._name = name
        self.waits("start", "starting")

    def waits(self, about: str, reason: str) -> None:
        self._whole.waits(f"{self._name}: {about}", reason)

    def goes_on(self, about: str) -> None:
        self._whole.goes_on(f"{self._name}: {about}")

    @property
    def reasons(self) -> dict[str, str]:
        mine = f"{self._name}: "
        return {
            about.removeprefix(mine): reason
            for about, reason in self._whole.reasons.items()
            if about.startswith(mine)
        }


@asynccontextmanager
async def served(
    health: Health, registry: CollectorRegistry, host: str, port: int
) -> AsyncIterator[None]:
    """Serve /livez, /readyz and /metrics while the block runs.

    Raises Misconfigured when the port is taken.
    """

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        reasons = health.reasons
        body = {"status": "waiting" if reasons else "ready", "reasons": reasons}
        return JSONResponse(body, status_code=503 if reasons else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    app = Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]
    )
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, lifespan="off"
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                raise Misconfigured(f"the health port {host}:{port} cannot be opened: taken?")
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError, SystemExit):
            await task


class _Server(uvicorn.Server):
    """Leaves signals to the worker, and reports a taken port by ending instead of exiting."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket] | None = None) -> None:
        with suppress(SystemExit):
            await super().serve(sockets)
