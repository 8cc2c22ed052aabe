"""`GET /users/{user_id}/alerts`: what was alerted about a user, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from contracts import deliveries
from contracts.alerts import Arm, ChurnAlert, Severity
from contracts.deliveries import Row
from contracts.standing import StandingVerdict
from contracts.times import from_ms
from ingest_api import openapi
from ingest_api.user_paths import PartOfUser
from ingest_api.users import UserId, Users
from runtime.alert_history import STATE_AFTER, State


class Told(msgspec.Struct, frozen=True):
    """What became of one alert on one channel."""

    alert_id: str
    channel: str
    state: deliveries.State
    reason: str
    """Of the last failure, or why nothing is told; empty when there is nothing to say."""
    attempts: int
    updated_at: datetime


class UserEpisode(msgspec.Struct, frozen=True):
    """From slipping away to coming back, or leaving."""

    dedup_key: str
    rule: str
    state: State
    severity: Severity
    arm: Arm
    opened_at: datetime
    snoozed_until: datetime | None
    """Of `snoozed`: when it may speak again."""
    alerts: tuple[ChurnAlert, ...]
    """Its transitions, the latest first."""
    deliveries: tuple[Told, ...]
    """The latest first."""
    verdict: StandingVerdict | None
    """What somebody last said it was worth."""


class UserAlerts(msgspec.Struct, frozen=True):
    """What was alerted about a user."""

    user_id: str
    episodes: tuple[UserEpisode, ...]
    """The latest first."""


def router(*, users: Users) -> APIRouter:
    """The route, over what knows the users."""
    routes = APIRouter(tags=["users", "alerts"], route_class=PartOfUser)

    @routes.get(
        "/users/{user_id:text}/alerts",
        summary="What was alerted about a user",
        description="By episode: its transitions, its deliveries and the verdict that stands.",
        responses=openapi.responses(
            {200: openapi.of(UserAlerts, "The latest first.")}, 400, 404, 422, 503
        ),
    )
    async def get_alerts(user_id: UserId) -> Response:
        await users.known(user_id)
        alerts = await users.reader.alerts_of(user_id)
        rows = await users.reader.deliveries_of(user_id)
        verdicts = await users.reader.verdicts_of(user_id)
        return openapi.reply(UserAlerts(user_id, episodes(alerts, rows, verdicts)))

    return routes


def episodes(
    newest_first: Sequence[ChurnAlert], rows: Iterable[Row], verdicts: Iterable[StandingVerdict]
) -> tuple[UserEpisode, ...]:
    """The alerts of a user by episode, each with its deliveries and verdict."""
    of_episode: dict[str, list[ChurnAlert]] = {}
    for alert in newest_first:
        of_episode.setdefault(alert.dedup_key, []).append(alert)
    told: dict[str, list[Told]] = {}
    for row in rows:
        told.setdefault(row.dedup_key, []).append(_told(row))
    said = {verdict.dedup_key: verdict for verdict in verdicts}
    return tuple(
        UserEpisode(
            dedup_key=key,
            rule=alerts[0].rule,
            state=STATE_AFTER[alerts[0].kind],
            severity=alerts[0].severity,
            arm=alerts[0].arm,
            opened_at=alerts[0].opened_at,
            snoozed_until=alerts[0].snoozed_until,
            alerts=tuple(alerts),
            deliveries=tuple(told.get(key, ())),
            verdict=said.get(key),
        )
        for key, alerts in of_episode.items()
    )


def _told(row: Row) -> Told:
    return Told(
        alert_id=row.message_id,
        channel=row.channel,
        state=row.state,
        reason=row.reason,
        attempts=row.attempts,
        updated_at=from_ms(row.updated),
    )
