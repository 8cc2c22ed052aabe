"""`GET /storm`, and a person's decision about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from contracts.commands import Actor
from contracts.storms import Decided, Order, StormState
from contracts.times import from_ms
from ingest_api import bodies, openapi
from ingest_api.access import actor
from ingest_api.alert_desk import AlertDesk

MAX_BYTES: Final = 16_384


class StormOrder(msgspec.Struct, frozen=True):
    """What a person decided about the held alerts."""

    order: Order
    actor: str
    """Who, as they called themselves; empty where nobody said."""
    at: datetime


class Storm(msgspec.Struct, frozen=True):
    """So many alerts at once that they are rather our mistake than everybody's leaving."""

    since: datetime
    crossed: int
    """Users who opened an episode within the policy's window, when it began."""
    active: int
    """Users with a risk, then."""
    cause: str
    """The likely one, in words."""
    holding: bool
    """Whether openings and escalations are held; not after a release, nor when it is over."""
    decided: StormOrder | None
    """What a person decided last."""
    over: datetime | None


class StormPage(msgspec.Struct, frozen=True):
    """Whether a storm rages, and what is held."""

    raging: Storm | None
    held: int
    """Deliveries that are held."""
    pending: StormOrder | None
    """Decided, and not done yet: the delivery worker does it within a second, if it runs."""
    last: Storm | None
    """The last storm that is over."""


class Decision(msgspec.Struct, forbid_unknown_fields=True):
    """Who decides."""

    actor: Actor = ""


class StormDecided(msgspec.Struct, frozen=True):
    """The delivery worker does it."""

    order: Order
    actor: str
    at: datetime
    held: int
    """How many deliveries were held just before."""


def router(*, desk: AlertDesk, now: Callable[[], int]) -> APIRouter:
    """The routes, over what is stored. now: epoch ms, as the person who decides has it."""
    routes = APIRouter(tags=["deliveries"])

    @routes.get(
        "/storm",
        summary="Whether alerts are held, and why",
        responses=openapi.responses({200: openapi.of(StormPage, "As it stands.")}, 503),
    )
    async def get_storm() -> Response:
        raging, last, held, order = await desk.storm()
        return openapi.reply(
            StormPage(
                None if raging is None else _storm(raging),
                held,
                None if order is None else _order(order),
                None if last is None else _storm(last),
            )
        )

    async def decide(request: Request, order: Literal["release", "discard"]) -> Response:
        said = bodies.decode(Decision, await bodies.read(request, MAX_BYTES))
        decided = Decided(order=order, actor=actor(request, said.actor), at=now())
        held = await desk.decide(decided)
        return openapi.reply(StormDecided(order, decided.actor, from_ms(decided.at), held), 202)

    answers = openapi.responses(
        {202: openapi.of(StormDecided, "The delivery worker does it.")},
        400, 408, 413, 415, 422, 503,
    )  # fmt: skip

    @routes.post(
        "/storm/release",
        status_code=202,
        summary="Tell what is held",
        description="And hold nothing more until the storm has cleared.",
        openapi_extra=openapi.body(Decision, example={"actor": "grace"}),
        responses=answers,
    )
    async def release(request: Request) -> Response:
        return await decide(request, "release")

    @routes.post(
        "/storm/discard",
        status_code=202,
        summary="Tell nobody what is held so far",
        openapi_extra=openapi.body(Decision, example={"actor": "grace"}),
        responses=answers,
    )
    async def discard(request: Request) -> Response:
        return await decide(request, "discard")

    return routes


def _storm(state: StormState) -> Storm:
    return Storm(
        since=from_ms(state.since),
        crossed=state.crossed,
        active=state.active,
        cause=state.cause,
        holding=not state.overruled and state.over is None,
        decided=None if state.decided is None else _order(state.decided),
        over=None if state.over is None else from_ms(state.over),
    )


def _order(decided: Decided) -> StormOrder:
    return StormOrder(decided.order, decided.actor, from_ms(decided.at))
