"""`GET /alerts` and `GET /alerts/{id}`: what was alerted about, and what became of one alert."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from contracts.alerts import AlertKind, Arm, ChurnAlert, Severity
from contracts.standing import StandingVerdict
from ingest_api import openapi
from ingest_api.alert_commands import AlertId
from ingest_api.alert_desk import AlertDesk
from ingest_api.deliveries import Delivery, delivery_of
from ingest_api.mass_reads import further_page
from ingest_api.pages import MOST, NextCursor, moment, once, place_of, text_of
from ingest_api.problems import FieldError, Invalid, UnknownAlert
from runtime.alert_history import KEPT_MS, OPEN_STATES, STATE_AFTER, State, Wanted


class Alerts(msgspec.Struct, frozen=True):
    """Some alerts, newest first."""

    alerts: tuple[ChurnAlert, ...]
    next: str | None = None
    """`cursor` of the next page; null: there is none. A page may be short and have a next one."""
    open: int = 0
    """Users with an open episode and an alert within 90 days."""


class AlertPage(msgspec.Struct, frozen=True):
    """One alert, and the episode it is of."""

    alert: ChurnAlert
    """The one asked for; the latest, where the episode was asked for."""
    state: State
    """Of the episode."""
    lifecycle: tuple[ChurnAlert, ...]
    """The episode's alerts that are kept, oldest first."""
    deliveries: tuple[Delivery, ...]
    """What was to be told of the episode, the last changed first."""
    verdict: StandingVerdict | None
    """What somebody last said the episode was worth."""


_OVER: Final = {"resolved", "churned"}

_DESCRIPTION = """Newest first. Of everybody the latest thousand of each of 16 shards are kept, of
one `user` the latest 40; what is older is on the topic `churn-alert`.

`kind` chooses transitions. `state` chooses episodes by how they stand, the newest alert of each:
`open`, `acknowledged` and `snoozed` find all that are open, however long ago they opened, with an
alert within 90 days; `resolved` and `churned` find ends."""


def router(*, desk: AlertDesk, now: Callable[[], int]) -> APIRouter:
    """The routes, over what is stored. now: epoch ms."""
    routes = APIRouter(tags=["alerts"])

    @routes.get(
        "/alerts",
        dependencies=[once(but={"kind", "state", "rule", "severity"})],
        summary="Alerts",
        description=_DESCRIPTION,
        responses=openapi.responses({200: openapi.of(Alerts, "Newest first.")}, 422, 503),
    )
    async def list_alerts(  # noqa: PLR0917 - one for each filter
        request: Request,
        kind: Annotated[tuple[AlertKind, ...], Query(description="Only these.")] = (),
        state: Annotated[tuple[State, ...], Query(description="Only these.")] = (),
        rule: Annotated[tuple[str, ...], Query(description="Only of these rules.")] = (),
        severity: Annotated[tuple[Severity, ...], Query(description="Only these.")] = (),
        arm: Annotated[
            Arm | None, Query(description="`control`: only the held-out; `treated`: only others.")
        ] = None,
        user: Annotated[str, Query(max_length=256, description="Only of this user.")] = "",
        since: Annotated[str, Query(description="Not before, as 2026-09-01T00:00:00Z.")] = "",
        until: Annotated[str, Query(description="Not after, as 2026-09-01T00:00:00Z.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        cursor: NextCursor = "",
    ) -> Response:
        kinds, still_open = choice(kind, state)
        wanted = Wanted(
            kinds=kinds,
            rules=rule,
            severities=severity,
            arm=arm,
            since=moment("since", since),
            until=moment("until", until),
        )
        after = place_of(cursor)
        if user:
            page = await desk.of_user(user, wanted, limit=limit, after=after, latest=still_open)
        elif still_open:
            page = await desk.open(wanted, limit=limit, after=after)
        else:
            page = await desk.alerts(wanted, limit=limit, after=after)
        if cursor or limit > MOST:
            further_page(request, len(page.alerts))
        count = await desk.count_open(now() - KEPT_MS)
        return openapi.reply(Alerts(page.alerts, text_of(page.next), count))

    @routes.get(
        "/alerts/{alert_id}",
        summary="One alert, its lifecycle, its deliveries and its verdict",
        description="Known for 90 days after the user's last alert, among the user's latest 40.",
        responses=openapi.responses({200: openapi.of(AlertPage, "The alert.")}, 404, 422, 503),
    )
    async def get_alert(alert_id: AlertId) -> Response:
        found = await desk.find(alert_id)
        lifecycle: list[ChurnAlert] = []
        if found is not None:
            lifecycle, rows, verdict = await desk.episode(found)
        if found is None or not lifecycle:
            raise UnknownAlert(
                f"no alert or episode that is kept has the id {alert_id!r}: take alert_id or "
                "dedup_key from GET /alerts or a message on churn-alert, no older than 90 days"
            )
        asked = next((one for one in lifecycle if one.alert_id == alert_id), lifecycle[-1])
        return openapi.reply(
            AlertPage(
                alert=asked,
                state=STATE_AFTER[lifecycle[-1].kind],
                lifecycle=tuple(lifecycle),
                deliveries=tuple(map(delivery_of, rows)),
                verdict=verdict,
            )
        )

    return routes


def choice(
    kinds: Sequence[AlertKind], states: Sequence[State]
) -> tuple[tuple[AlertKind, ...], bool]:
    """Which kinds to look for, and whether among the open episodes; raises Invalid."""
    if not states:
        return tuple(kinds), False
    if kinds:
        raise Invalid(
            [FieldError("state", "state either kind, for transitions, or state, for episodes")]
        )
    over = _OVER.intersection(states)
    if over and len(over) < len(set(states)):
        raise Invalid(
            [
                FieldError(
                    "state",
                    f"ask for those that are open ({', '.join(OPEN_STATES)}) or over (resolved, "
                    f"churned), not for both at once; got {', '.join(states)}",
                )
            ]
        )
    return tuple(kind for kind, after in STATE_AFTER.items() if after in states), not over
