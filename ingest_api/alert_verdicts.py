"""`GET /alerts/verdicts`: what people said alerts were worth."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from contracts.commands import Verdict
from contracts.standing import StandingVerdict
from ingest_api import openapi
from ingest_api.alert_desk import AlertDesk
from ingest_api.kept import Kept
from ingest_api.pages import once
from runtime import verdicts

KEPT_SECONDS: Final = 3.0


class RuleVerdicts(msgspec.Struct, frozen=True):
    """How many of each verdict one rule's episodes have."""

    rule: str
    helped: int
    wrong: int
    duplicate: int


class Verdicts(msgspec.Struct, frozen=True):
    """The verdict that stands on each episode."""

    verdicts: tuple[StandingVerdict, ...]
    """The latest first, as many as were asked for."""
    found: int
    """How many there are under the filters."""
    counts: tuple[RuleVerdicts, ...]
    """By rule, over all that are kept, or the user's, whatever the other filters."""


def router(*, desk: AlertDesk) -> APIRouter:
    """The route, over what is stored."""
    routes = APIRouter(tags=["alerts"])
    latest = Kept(desk.verdicts, KEPT_SECONDS)

    @routes.get(
        "/alerts/verdicts",
        dependencies=[once(but={"rule", "verdict"})],
        summary="What people said alerts were worth",
        description="The last verdict on each episode counts. The latest thousand of each of 16 "
        "shards are kept, for 400 days; the answer is at most 3 s old. All that were ever given "
        "are on the topic `alert-command`.",
        responses=openapi.responses({200: openapi.of(Verdicts, "The latest first.")}, 422, 503),
    )
    async def list_verdicts(
        rule: Annotated[tuple[str, ...], Query(description="Only on these rules.")] = (),
        verdict: Annotated[tuple[Verdict, ...], Query(description="Only these.")] = (),
        user: Annotated[str, Query(max_length=256, description="Only on them.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        known = await desk.verdicts_of(user) if user else await latest.answer()
        found = [
            one
            for one in known
            if (not rule or one.rule in rule) and (not verdict or one.verdict in verdict)
        ]
        counts = verdicts.counted(known)
        return openapi.reply(
            Verdicts(
                tuple(found[:limit]),
                len(found),
                tuple(
                    RuleVerdicts(name, of_rule["helped"], of_rule["wrong"], of_rule["duplicate"])
                    for name, of_rule in counts.items()
                ),
            )
        )

    return routes
