"""`GET /policy`: the alert policy in force."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from contracts.policies import PolicyInForce
from ingest_api import openapi
from ingest_api.alert_desk import AlertDesk


class PolicyPage(msgspec.Struct, frozen=True):
    """What alerts are judged by."""

    policy: PolicyInForce | None
    """null: no alerts worker of this release has told it yet."""


def router(*, desk: AlertDesk) -> APIRouter:
    """The route, over what is stored."""
    routes = APIRouter(tags=["alerts"])

    @routes.get(
        "/policy",
        summary="The alert policy in force",
        description="As the alerts worker last told it, at most a minute ago while it runs. "
        "Channels come by name, without addresses and secrets.",
        responses=openapi.responses({200: openapi.of(PolicyPage, "The policy.")}, 503),
    )
    async def get_policy() -> Response:
        return openapi.reply(PolicyPage(await desk.policy()))

    return routes
