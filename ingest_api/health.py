"""`/livez`, `/readyz` and `/metrics`: what the gateway says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from fastapi import APIRouter, Query
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import Response

from contracts.errors import Unavailable
from contracts.times import from_ms
from ingest_api import openapi
from ingest_api.problems import NotReady

OK: Final = "ok"
PING_SECONDS: Final = 1.0
REMEMBERED_SECONDS: Final = 1.0


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The model serves; each dependency is `ok` or says what is wrong."""

    status: Literal["ready"] = "ready"
    model: str
    """Its version."""
    kafka: str
    redis: str
    as_of: datetime
    """This gateway's now, of this machine or of the log: what a page counts ages from."""


class Dependency:
    """A dependency asked by a real round trip, at most once a second and never for long."""

    def __init__(self, ping: Callable[[], Awaitable[None]]) -> None:
        self._ping = ping
        self._told = ""
        self._told_at = float("-inf")
        self._asking = asyncio.Lock()

    async def state(self) -> str:
        """OK, or the reason why not."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() - self._told_at >= REMEMBERED_SECONDS:
                self._told = await self._ask()
                self._told_at = loop.time()
        return self._told

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._ping()
        except Unavailable as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {PING_SECONDS:g} s"
        return OK


def router(
    *,
    model_version: str,
    kafka: Dependency,
    redis: Dependency,
    registry: CollectorRegistry,
    now: Callable[[], int],
) -> APIRouter:
    """The routes, over what they ask. now: epoch ms."""
    routes = APIRouter(tags=["operation"])

    @routes.get(
        "/livez",
        summary="Whether the process answers",
        responses=openapi.responses({200: openapi.of(Alive, "It does.")}),
    )
    async def livez() -> Response:
        return openapi.reply(Alive())

    @routes.get(
        "/readyz",
        summary="Whether the model serves, and what the dependencies say",
        responses=openapi.responses(
            {200: openapi.of(Ready, "Predictions are answered.")}, 422, 503
        ),
    )
    async def readyz(
        need: Annotated[
            Literal["events"] | None, Query(description="503 also when Kafka is away.")
        ] = None,
    ) -> Response:
        states = await asyncio.gather(kafka.state(), redis.state())
        if need == "events" and states[0] != OK:
            raise NotReady(*states)
        return openapi.reply(
            Ready(model=model_version, kafka=states[0], redis=states[1], as_of=from_ms(now()))
        )

    @routes.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes
