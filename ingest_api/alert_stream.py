"""`GET /alerts/stream`: alerts as they happen, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack, ExitStack
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from contracts.alerts import AlertKind, ChurnAlert, Severity
from contracts.errors import BadRecord, LogUnavailable, Unavailable
from ingest_api import openapi
from ingest_api.alert_feed import AlertFeed, Listening, readable
from ingest_api.event_stream import (
    MEDIA_TYPE,
    EventStream,
    event,
    sign_of_life,
    wait_before_retry,
)
from ingest_api.head import IS_HEAD
from ingest_api.metrics import GatewayMetrics
from ingest_api.problems import AlertsUnavailable, FieldError, Invalid
from runtime.tail import BEGINNING, Cursor, Tail

HEARTBEAT_SECONDS: Final = 15.0
RETRY_MS: Final = 2_000

_ENDINGS: Final = {
    "dropped": "alerts came faster than you read them: connect again with Last-Event-ID",
    "restarted": "the alerts' log is another one: connect again with Last-Event-ID",
    "closing": "the gateway stops: connect again with Last-Event-ID",
}

_DESCRIPTION = """Server-sent events. `event: alert` carries a message of `churn-alert` as its
data; its `id` is a place in the log. Come back with the last one as `Last-Event-ID` (browsers do so
by themselves) and the stream goes on behind it; without one it begins now. An alert may come twice
under the same `alert_id`: drop repeats.

A quiet stream sends a comment every 15 seconds, which moves the id on, too. `event: gap` says that
alerts behind your id may be lost to the log's retention, or that it is a new log: what there is
follows. `event: end` is the last one, with a `reason`: `dropped` (you read too slowly),
`restarted` (another log), `away` (Kafka) or `closing` (the gateway stops). Connect again then.

Alerts about the held-out (`arm: control`) are left out: whoever acts on them spoils the measurement
of what alerts do. `control=true` shows them."""

Wanted = Callable[[ChurnAlert], bool]


class Ending(msgspec.Struct, frozen=True):
    """Why no more comes."""

    reason: str
    detail: str


class Gap(msgspec.Struct, frozen=True):
    """Why alerts may be missing here."""

    detail: str


_encode = msgspec.json.Encoder().encode

_EXAMPLE = event(
    "alert",
    b'{"alert_id":"5f0c...","kind":"opened","user_id":"ada","churn_probability":0.81,...}',
    "1-01890d5c8b7e7a5d8f60c1f2a3b4c5d6-17.4.9.12",
).decode()


def router(
    *, feed: AlertFeed, metrics: GatewayMetrics, heartbeat_seconds: float = HEARTBEAT_SECONDS
) -> APIRouter:
    """The route, over its collaborators."""
    routes = APIRouter(tags=["alerts"])
    metrics.listeners.set_function(lambda: feed.listeners)

    @routes.get(
        "/alerts/stream",
        summary="Follow the alerts",
        description=_DESCRIPTION,
        responses={
            200: {
                "description": "The events.",
                "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE}},
            },
            **openapi.responses({}, 422, 503),
        },
        response_class=Response,
    )
    async def follow(
        *,
        request: Request,
        kind: Annotated[list[AlertKind] | None, Query(description="Only these.")] = None,
        severity: Annotated[list[Severity] | None, Query(description="Only these.")] = None,
        control: Annotated[bool, Query(description="Also alerts about the held-out.")] = False,
        last_event_id: Annotated[
            str | None, Query(description="For clients that cannot set the header, which wins.")
        ] = None,
        last_event_id_header: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    ) -> Response:
        after = _cursor(last_event_id_header or last_event_id)
        if IS_HEAD in request.scope:
            return Response(media_type=MEDIA_TYPE)
        with ExitStack() as places:
            places.enter_context(feed.place())
            try:
                await feed.ready()
            except LogUnavailable as error:
                raise AlertsUnavailable(str(error)) from error
            client = Client(
                feed,
                wanted=filter_of(kind, severity, control),
                after=after,
                heartbeat_seconds=heartbeat_seconds,
                on_drop=metrics.listeners_dropped.inc,
            )
            return EventStream(
                client.pieces(), held=places.pop_all(), on_stuck=metrics.listeners_dropped.inc
            )
        raise AssertionError  # an ExitStack may swallow exceptions, says its type

    return routes


def filter_of(
    kinds: Collection[AlertKind] | None, severities: Collection[Severity] | None, control: bool
) -> Wanted:
    """Which alerts are wanted; None for kinds or severities wants all of them."""

    def wanted(alert: ChurnAlert) -> bool:
        return (
            (kinds is None or alert.kind in kinds)
            and (severities is None or alert.severity in severities)
            and (control or alert.arm != "control")
        )

    return wanted


class Client:
    """What one client is sent: what followed `after`, if it said so, then what comes.

    on_drop: called when it reads too slowly.
    """

    def __init__(
        self,
        feed: AlertFeed,
        *,
        wanted: Wanted,
        after: Cursor | None,
        heartbeat_seconds: float,
        on_drop: Callable[[], None],
    ) -> None:
        self._feed = feed
        self._wanted = wanted
        self._after = after
        self._heartbeat_seconds = heartbeat_seconds
        self._on_drop = on_drop
        self._at = BEGINNING

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Everything, up to the event that says why it ends."""
        yield wait_before_retry(RETRY_MS)
        try:
            async with AsyncExitStack() as reading:
                if self._after is None:
                    self._at = self._feed.at
                else:
                    tail = await reading.enter_async_context(self._feed.open_tail(self._after))
                    async for piece in self._catch_up(tail):
                        yield piece
                # Nothing was awaited since the feed was looked at: what comes is told once.
                with self._feed.listen(self._wanted, self._at) as listening:
                    await reading.aclose()
                    yield sign_of_life(str(self._at))
                    async for piece in self._follow(listening):
                        yield piece
            why = listening.ended or "closing"
            if why == "dropped":
                self._on_drop()
            yield _ending(why, _ENDINGS[why])
        except Unavailable as error:
            yield _ending("away", str(error))

    async def _catch_up(self, tail: Tail) -> AsyncGenerator[bytes, None]:
        """Until this client has all that the feed has told."""
        self._at = tail.at
        while not self._feed.closing:
            gap = tail.take_gap()
            if gap is not None:
                yield event("gap", _encode(Gap(gap)), str(tail.at))
                self._at = tail.at
            if tail.at.log != self._feed.at.log:
                self._feed.look_again()
                raise LogUnavailable(_ENDINGS["restarted"])
            if self._at.covers(self._feed.at):
                return
            for told in readable(await tail.read()):
                self._at = self._at.after(told.partition, told.offset)
                if self._wanted(told.alert):
                    yield event("alert", told.value, str(self._at))
            self._at = tail.at

    async def _follow(self, listening: Listening) -> AsyncGenerator[bytes, None]:
        """Until the feed ends it."""
        while listening.ended is None:
            told = listening.take()
            if told is not None:
                self._at = self._at.after(told.partition, told.offset)
                yield event("alert", told.value, str(self._at))
                continue
            # Nothing waits, so this client has all it wants of what the feed has told.
            self._at = self._at.joined(self._feed.at)
            if not await listening.wait(self._heartbeat_seconds):
                yield sign_of_life(str(self._at))


def _cursor(stated: str | None) -> Cursor | None:
    if not stated:
        return None
    try:
        return Cursor.parse(stated)
    except BadRecord as bad:
        raise Invalid(
            [
                FieldError(
                    "Last-Event-ID",
                    f"{bad.reason}: send the id of an event as it came, or none to begin now",
                )
            ]
        ) from None


def _ending(reason: str, detail: str) -> bytes:
    return event("end", _encode(Ending(reason, detail)))
