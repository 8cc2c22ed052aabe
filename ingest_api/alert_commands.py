"""`POST /alerts/{id}/...`: what a person says of an alert, on its way to the alerts worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Header, Path
from starlette.requests import Request
from starlette.responses import Response

from contracts.commands import (
    Actor,
    AlertCommand,
    CommandKind,
    Note,
    Verdict,
    command_id,
    encode_command,
)
from contracts.errors import LogUnavailable
from contracts.times import DAY_MS, HOUR_MS, from_ms, to_ms
from contracts.topics import COMMANDS, cloud_event_headers
from ingest_api import bodies, openapi
from ingest_api.access import actor
from ingest_api.log import ActivityLog
from ingest_api.metrics import GatewayMetrics
from ingest_api.problems import CommandUnavailable, FieldError, Invalid, UnknownAlert
from ingest_api.publishing import SOURCE
from ingest_api.records import UserReader
from runtime.kafka import Message

MAX_BYTES: Final = 16_384
MIN_HOURS: Final = 0.01
MAX_HOURS: Final = 24 * 366
COMMAND_KIND: Final = "ebbtide.alert-command"

AlertId = Annotated[
    str,
    Path(min_length=1, max_length=256, description="An `alert_id`, or the episode's `dedup_key`."),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=256,
        description="The same key says the same once, whatever the body; without one, the same "
        "body does.",
    ),
]


class Acknowledgement(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody takes care of it: the episode does not escalate."""

    actor: Actor = ""
    """Who, as you call them. With keys it is the key's name, whatever stands here."""
    note: Note = ""


class Snooze(msgspec.Struct, forbid_unknown_fields=True):
    """Not now: the episode keeps quiet for so many `hours`, or `until` then."""

    hours: Annotated[float, msgspec.Meta(ge=MIN_HOURS, le=MAX_HOURS)] | None = None
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    actor: Actor = ""
    note: Note = ""


class Judgement(msgspec.Struct, forbid_unknown_fields=True):
    """What the alert was worth.

    `helped`: somebody acted on it. `wrong`: the user was not leaving. `duplicate`: it said nothing
    new. The last verdict on an episode counts.
    """

    verdict: Verdict
    note: Note = ""
    actor: Actor = ""


class CommandAccepted(msgspec.Struct, frozen=True):
    """Kafka has the command; the alerts worker acts on it in its turn."""

    command_id: str
    kind: CommandKind
    user_id: str
    dedup_key: str
    until: datetime | None = None


def router(
    *, reader: UserReader, log: ActivityLog, now: Callable[[], int], metrics: GatewayMetrics
) -> APIRouter:
    """The routes, over their collaborators. now: epoch ms."""
    routes = APIRouter(tags=["alerts"])

    async def publish(known: str, key: str | None, kind: CommandKind, **said: Any) -> Response:
        """Send what was said; raises UnknownAlert, StoreUnavailable, CommandUnavailable."""
        found = await reader.find_alert(known)
        if found is None:
            raise UnknownAlert(
                f"no alert or episode has the id {known!r}: take alert_id or dedup_key from "
                "GET /alerts or a message on churn-alert, no older than 90 days"
            )
        at = now()
        parts = ("key", key) if key is not None else _in_text(said)
        command = AlertCommand(
            command_id=command_id(found.dedup_key, kind, *parts),
            user_id=found.user_id,
            dedup_key=found.dedup_key,
            kind=kind,
            at=from_ms(at),
            **said,
        )
        try:
            await log.publish([_message(command)], COMMANDS)
        except LogUnavailable as error:
            raise CommandUnavailable(str(error)) from error
        metrics.commands.labels(kind).inc()
        return openapi.reply(
            CommandAccepted(
                command.command_id, kind, command.user_id, command.dedup_key, command.until
            ),
            202,
        )

    @routes.post(
        "/alerts/{alert_id}/acknowledge",
        status_code=202,
        summary="Take an alert on",
        openapi_extra=openapi.body(Acknowledgement, example={"actor": "grace"}),
        responses=_RESPONSES,
    )
    async def acknowledge(request: Request, alert_id: AlertId, key: Key = None) -> Response:
        said = bodies.decode(Acknowledgement, await bodies.read(request, MAX_BYTES))
        who = actor(request, said.actor)
        return await publish(alert_id, key, "acknowledge", actor=who, note=said.note)

    @routes.post(
        "/alerts/{alert_id}/snooze",
        status_code=202,
        summary="Put an alert off",
        openapi_extra=openapi.body(Snooze, example={"hours": 24, "actor": "grace"}),
        responses=_RESPONSES,
    )
    async def snooze(request: Request, alert_id: AlertId, key: Key = None) -> Response:
        said = bodies.decode(Snooze, await bodies.read(request, MAX_BYTES))
        until = snoozed_until(said, now())
        who = actor(request, said.actor)
        return await publish(alert_id, key, "snooze", until=until, actor=who, note=said.note)

    @routes.post(
        "/alerts/{alert_id}/verdict",
        status_code=202,
        summary="Say what an alert was worth",
        description="Kept, and exported by `ebbtide alerts verdicts --json` as labels for "
        "`ebbtide train --use-verdicts`.",
        openapi_extra=openapi.body(
            Judgement, example={"verdict": "helped", "note": "called her", "actor": "grace"}
        ),
        responses=_RESPONSES,
    )
    async def verdict(request: Request, alert_id: AlertId, key: Key = None) -> Response:
        said = bodies.decode(Judgement, await bodies.read(request, MAX_BYTES))
        who = actor(request, said.actor)
        return await publish(
            alert_id, key, "verdict", verdict=said.verdict, actor=who, note=said.note
        )

    return routes


def snoozed_until(said: Snooze, now_ms: int) -> datetime:
    """The end of the snooze; raises Invalid for none, for two, and for one that is no future."""
    if (said.hours is None) == (said.until is None):
        raise Invalid([FieldError("hours", "state either hours or until")])
    if said.until is None:
        assert said.hours is not None
        return from_ms(now_ms + round(said.hours * HOUR_MS))
    if not now_ms < to_ms(said.until) <= now_ms + MAX_HOURS * HOUR_MS:
        raise Invalid(
            [
                FieldError(
                    "until",
                    f"must lie within {MAX_HOURS * HOUR_MS // DAY_MS} days after "
                    f"{from_ms(now_ms).isoformat()}; got {said.until.isoformat()}",
                )
            ]
        )
    return said.until


_RESPONSES: Final = openapi.responses(
    {202: openapi.of(CommandAccepted, "Kafka has it.")}, 400, 404, 408, 413, 415, 422, 503
)


def _in_text(said: dict[str, Any]) -> list[str]:
    """What was said, name and value in turn, without what would end a part of a digest early."""
    parts = []
    for name, value in said.items():
        text = value.isoformat() if isinstance(value, datetime) else str(value)
        parts += [name, text.replace("\0", " ")]
    return parts


def _message(command: AlertCommand) -> Message:
    headers = cloud_event_headers(
        event_id=command.command_id,
        source=SOURCE,
        kind=COMMAND_KIND,
        time=command.at.isoformat(),
    )
    return Message(command.user_id.encode(), encode_command(command), to_ms(command.at), headers)
