"""`POST /events`: activity in, answered once Kafka has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from contracts.errors import BadRecord
from contracts.events import ActivityEvent, decode
from ingest_api import bodies, openapi
from ingest_api.log import ActivityLog
from ingest_api.metrics import GatewayMetrics
from ingest_api.problems import FieldError, Invalid, TooLarge
from ingest_api.publishing import EventWriter
from runtime.kafka import Message

MAX_BYTES: Final = 1024 * 1024
MAX_EVENTS: Final = 1_000


class Rejected(msgspec.Struct, frozen=True):
    """An event of the list that was not accepted."""

    index: int
    reason: str


class EventsAccepted(msgspec.Struct, frozen=True):
    """Kafka has `accepted` of the events; the others are named."""

    accepted: int
    rejected: tuple[Rejected, ...]


_EXAMPLE = {
    "user_id": "ada",
    "event_id": "web-7f3a",
    "type": "page_view",
    "pages_visited": 3,
    "time_spent": 4.5,
}

_DESCRIPTION = """One event, or a list of up to 1000 in at most 1 MiB. Answered after Kafka has
acknowledged. Valid events of a list are accepted and the others come back with their reasons.

Give every event an `event_id` of its own and a retry is harmless: after a 503 or a lost connection
send the same events with the same ids, also when part of them was acknowledged, and each counts
once. Without one the gateway makes an id, and a repeat counts again.

`occurred_at` absent means now; more than a day in the future is refused."""


def router(
    *, log: ActivityLog, writer: EventWriter, now: Callable[[], int], metrics: GatewayMetrics
) -> APIRouter:
    """The route, over its collaborators."""
    routes = APIRouter(tags=["activity"])

    @routes.post(
        "/events",
        status_code=202,
        summary="Send activity",
        description=_DESCRIPTION,
        openapi_extra=openapi.body(
            ActivityEvent, example=_EXAMPLE, or_list_of=ActivityEvent, at_most=MAX_EVENTS
        ),
        responses=openapi.responses(
            {202: openapi.of(EventsAccepted, "Kafka has them.", {"accepted": 1, "rejected": []})},
            400, 408, 413, 415, 422, 503,
        ),
    )  # fmt: skip
    async def post_events(request: Request) -> Response:
        items = split(await bodies.read(request, MAX_BYTES))
        messages, refused = sort_out(items, writer, now())
        metrics.events_rejected.inc(len(refused))
        if not messages:
            detail = f"none of {len(items)} events is valid" if items else "the list is empty"
            raise Invalid([_field_error(index, error) for index, error in refused], detail)
        await log.publish(messages)
        metrics.events_accepted.inc(len(messages))
        rejected = tuple(Rejected(index, error.reason) for index, error in refused)
        return openapi.reply(EventsAccepted(len(messages), rejected), 202)

    return routes


def split(body: bytes) -> list[bytes]:
    """The JSON of each event: of the one, or of each in the list.

    Raises Malformed, and TooLarge for a list that is too long.
    """
    try:
        if body.lstrip()[:1] != b"[":
            msgspec.json.decode(body, type=msgspec.Raw)
            return [body]
        items = [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        items = _with_numbers_that_are_none(body, error)
    if len(items) > MAX_EVENTS:
        raise TooLarge(f"the list has {len(items)} events; at most {MAX_EVENTS} are taken")
    return items


def sort_out(
    items: list[bytes], writer: EventWriter, received_ms: int
) -> tuple[list[Message], list[tuple[int, BadRecord]]]:
    """The records of the valid events, and the others by their index with what is wrong."""
    messages, refused = [], []
    for index, item in enumerate(items):
        try:
            messages.append(writer.message(_event(item), received_ms))
        except BadRecord as error:
            refused.append((index, error))
    return messages, refused


def _field_error(index: int, error: BadRecord) -> FieldError:
    field = error.field or ""
    return FieldError(field, error.reason.removeprefix(f"{field}: "), index)


def _event(item: bytes) -> ActivityEvent:
    try:
        return decode(item)
    except BadRecord as error:
        if error.field is None and (b"NaN" in item or b"Infinity" in item):
            found = bodies.not_finite(bodies.lenient(item))
            if found is not None:
                raise BadRecord(f"{found.field}: {found.reason}", field=found.field) from None
        raise


def _with_numbers_that_are_none(body: bytes, error: Exception) -> list[bytes]:
    """The items of a body that fails only because NaN or Infinity stands in it."""
    value: Any = bodies.lenient(body)
    if bodies.not_finite(value) is None:
        raise bodies.malformed(error) from None
    return [json.dumps(item).encode() for item in (value if isinstance(value, list) else [value])]
