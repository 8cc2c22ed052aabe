"""`GET /deliveries`, and sending one again: what became of what people were to be told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from contracts.commands import Actor
from contracts.deliveries import Kind, Row, State
from contracts.times import from_ms
from ingest_api import bodies, openapi
from ingest_api.access import actor
from ingest_api.alert_desk import AlertDesk
from ingest_api.kept import Kept
from ingest_api.mass_reads import further_page
from ingest_api.pages import Limit, NextCursor, once, place_of, text_of
from ingest_api.problems import FieldError, Invalid, UnknownDelivery
from runtime.deliveries import Wanted

COUNTED_SECONDS: Final = 2.0
MAX_BYTES: Final = 16_384


class Delivery(msgspec.Struct, frozen=True):
    """One alert, digest or incident on its way to one channel."""

    id: str
    message_id: str
    """The receiver's idempotency key: the alert's id."""
    channel: str
    kind: Kind
    user_id: str
    """Empty for what is not about one user, as are the next two."""
    dedup_key: str
    rule: str
    label: str
    """The kind of alert, or `digest`, or `incident`."""
    severity: str
    state: State
    reason: str
    """Of the last failure, or why nothing is told. Names no address and no secret."""
    attempts: int
    repeats: int
    """Attempts made although it is unknown what became of the one before."""
    under_way: bool
    """An attempt has begun, and nothing is known of its end."""
    due: datetime
    """Of the next attempt or decision; of the past for what is over."""
    created: datetime
    updated: datetime


class DeliveryCount(msgspec.Struct, frozen=True):
    """Deliveries of one channel in one state."""

    channel: str
    state: State
    count: int


class SwitchedOff(msgspec.Struct, frozen=True):
    """A channel whose receiver wants nothing more (410)."""

    channel: str
    reason: str


class DeliveryList(msgspec.Struct, frozen=True):
    """Some deliveries, the last changed first."""

    deliveries: tuple[Delivery, ...]
    next: str | None
    """`cursor` of the next page; null: there is none. A page may be short and have a next one."""
    counts: tuple[DeliveryCount, ...]
    """Of all there are, those that are over of the last 30 days. Exact up to a thousand of each of
    16 shards, and at most 2 s old."""
    switched_off: tuple[SwitchedOff, ...]


class Resend(msgspec.Struct, forbid_unknown_fields=True):
    """Who wants it."""

    actor: Actor = ""


class Resent(msgspec.Struct, frozen=True):
    """What was done, in words, by delivery."""

    deliveries: dict[str, str]


def router(*, desk: AlertDesk, now: Callable[[], int]) -> APIRouter:
    """The routes, over what is stored. now: epoch ms, as the delivery worker has it."""
    routes = APIRouter(tags=["deliveries"])
    counted = Kept(lambda: desk.delivery_counts(now()), COUNTED_SECONDS)
    off = Kept(desk.switched_off, COUNTED_SECONDS)

    @routes.get(
        "/deliveries",
        dependencies=[once(but={"channel", "state"})],
        summary="What became of what people were to be told",
        description="One for each message and channel. Kept for 30 days after their end; the "
        "latest thousand of each channel and state in each of 16 shards are listed, of one user "
        "the latest 64.",
        responses=openapi.responses(
            {200: openapi.of(DeliveryList, "The last changed first.")}, 422, 503
        ),
    )
    async def list_deliveries(  # noqa: PLR0917 - one for each filter
        request: Request,
        channel: Annotated[tuple[str, ...], Query(description="Only of these.")] = (),
        state: Annotated[tuple[State, ...], Query(description="Only these.")] = (),
        user: Annotated[str, Query(max_length=256, description="Only about them.")] = "",
        alert: Annotated[
            str, Query(max_length=256, description="An `alert_id`, or a `dedup_key`.")
        ] = "",
        named: Annotated[
            str,
            Query(
                alias="id",
                max_length=512,
                description="A delivery's `id`, or a `message_id` for all its channels.",
            ),
        ] = "",
        limit: Limit = 50,
        cursor: NextCursor = "",
    ) -> Response:
        wanted = Wanted(channels=channel, states=state)
        following = None
        if not (user or alert or named):
            page = await desk.deliveries(wanted, limit=limit, after=place_of(cursor))
            rows, following = page.rows, text_of(page.next)
            if cursor:
                further_page(request, len(rows))
        else:
            if cursor:
                raise Invalid(
                    [FieldError("cursor", "leave it out: those of one user are one page")]
                )
            found = await desk.deliveries_called(named) if named else await of_one(user, alert)
            rows = tuple(row for row in found if wanted.holds(row) and is_of(row, user, alert))
        return openapi.reply(
            DeliveryList(
                deliveries=tuple(map(delivery_of, rows)),
                next=following,
                counts=tuple(DeliveryCount(*each) for each in await counted.answer()),
                switched_off=tuple(
                    SwitchedOff(*each) for each in sorted((await off.answer()).items())
                ),
            )
        )

    async def of_one(user: str, alert: str) -> list[Row]:
        """Those about a user, or of an alert, or both."""
        if alert:
            found = await desk.find(alert)
            if found is None or user not in ("", found.user_id):
                return []
            user = found.user_id
        return await desk.deliveries_of(user)

    @routes.post(
        "/deliveries/{delivery_id}/resend",
        status_code=202,
        summary="Send it once more, at once",
        description="Past quiet hours, caps and storms, under the id it had, with the attempts of "
        "a new schedule. A channel that was switched off is switched on again. What the holdout "
        "keeps from everybody is not told.",
        openapi_extra=openapi.body(Resend, example={"actor": "grace"}),
        responses=openapi.responses(
            {202: openapi.of(Resent, "The delivery worker sends it.")},
            400, 404, 408, 413, 415, 422, 503,
        ),
    )  # fmt: skip
    async def resend(
        request: Request,
        delivery_id: Annotated[
            str,
            Path(
                min_length=1,
                max_length=512,
                description="A delivery's `id`, or a `message_id` for all its channels.",
            ),
        ],
    ) -> Response:
        said = bodies.decode(Resend, await bodies.read(request, MAX_BYTES))
        done = await desk.resend(delivery_id, now(), actor(request, said.actor))
        if not done:
            raise UnknownDelivery(
                f"no delivery is called {delivery_id!r}: take an id from GET /deliveries; they "
                "are kept for 30 days after their end"
            )
        return openapi.reply(Resent(done), 202)

    return routes


def is_of(row: Row, user: str, alert: str) -> bool:
    """Whether it is about that user and of that alert or episode; an empty one does not choose."""
    return user in ("", row.user_id) and alert in ("", row.message_id, row.dedup_key)


def delivery_of(row: Row) -> Delivery:
    """A stored delivery without its content."""
    return Delivery(
        id=row.row_id,
        message_id=row.message_id,
        channel=row.channel,
        kind=row.kind,
        user_id=row.user_id,
        dedup_key=row.dedup_key,
        rule=row.rule,
        label=row.label,
        severity=row.severity,
        state=row.state,
        reason=row.reason,
        attempts=row.attempts,
        repeats=row.repeats,
        under_way=row.under_way,
        due=from_ms(row.due),
        created=from_ms(row.created),
        updated=from_ms(row.updated),
    )
