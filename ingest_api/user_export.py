"""`GET /users.csv`: the whole of a list of users as a table, written while it is read.

One page's worth of users is in memory at a time. Lists are read by the same steps as pages are, and
take turns with them, so an export takes long rather than much.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ingest_api import openapi
from ingest_api.event_stream import EventStream
from ingest_api.head import IS_HEAD
from ingest_api.mass_reads import Read, export
from ingest_api.pages import once
from ingest_api.problems import Overloaded
from ingest_api.user_list import LISTS, Cursor, RankedUser, Selection, UserList

MEDIA_TYPE: Final = "text/csv; charset=utf-8"
PIECE_USERS: Final = 500
AT_ONCE: Final = 2
"""Exports under way at most: each of them holds a connection for minutes."""

COLUMNS: Final = (
    "user_id", "churn_probability", "change", "last_seen_at", "at_risk_at", "reason",
    "monthly_value", "value_at_risk", "location", "referral_source", "device_type", "plan",
    "value", "active_days", "usual_gap_hours", "little_evidence", "cancelled", "alert_rule",
    "alert_severity", "alert_opened_at", "lapsed",
)  # fmt: skip

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")

Cell = str | float | None


def cell(value: str | None) -> str | None:
    """A text as a spreadsheet takes it for one: what would be a formula begins with a quote."""
    return f"'{value}" if value is not None and value.startswith(_FORMULA) else value


def moment(at: datetime | None) -> str | None:
    """A moment as everywhere else on the wire."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def table(rows: Iterable[Iterable[Cell]]) -> bytes:
    """Rows as RFC 4180 has them."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def row(user: RankedUser) -> tuple[Cell, ...]:
    """A user as the columns have them."""
    of, alert = user.attributes, user.open_alert
    return (
        cell(user.user_id),
        user.churn_probability,
        user.change,
        moment(user.last_seen_at),
        moment(user.at_risk_at),
        cell(user.reason),
        user.monthly_value,
        user.value_at_risk,
        *(cell(name) for name in (of.location, of.referral_source, of.device_type, of.plan)),
        of.value,
        user.evidence.active_days,
        user.evidence.usual_gap_hours,
        str(user.little_evidence).lower(),
        str(user.cancelled).lower(),
        None if alert is None else cell(alert.rule),
        None if alert is None else alert.severity,
        None if alert is None else moment(alert.opened_at),
        str(user.lapsed).lower(),
    )


class CsvStream(EventStream):
    """A table, piece by piece."""

    media_type = MEDIA_TYPE


class Exports:
    """The exports under way."""

    def __init__(self, users: UserList) -> None:
        self._users = users
        self._under_way = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places; raises Overloaded when all are taken."""
        if self._under_way >= AT_ONCE:
            raise Overloaded(f"{AT_ONCE} exports are under way, and no more are made at once")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def pieces(self, part: Selection, read: Read) -> AsyncGenerator[bytes, None]:
        """The table, its head with the first users; raises StoreUnavailable between pieces.

        Counts in `read` what it gives out, before it does.
        """
        users, cursor = await self._users.part(part, Cursor(part.digest, None), PIECE_USERS)
        read.rows += len(users)
        yield table([COLUMNS, *map(row, users)])
        while cursor is not None:
            users, cursor = await self._users.part(part, cursor, PIECE_USERS)
            read.rows += len(users)
            if users:
                yield table(map(row, users))
        read.is_whole = True


async def _whole(begin: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield begin
        async for piece in rest:
            yield piece


def router(*, users: UserList) -> APIRouter:
    """The route of the table."""
    routes = APIRouter(tags=["users"])
    exports = Exports(users)

    @routes.get(
        "/users.csv",
        summary="The list of users as a table",
        description=_DESCRIPTION,
        response_class=Response,
        responses={
            200: {"description": "The table.", "content": {"text/csv": {}}},
            **openapi.responses({}, 422, 503),
        },
        dependencies=[once(but=LISTS)],
    )
    async def export_users(part: Annotated[Selection, Query()], request: Request) -> Response:
        part.check()
        headers = {
            "Content-Disposition": 'attachment; filename="users-at-risk.csv"',
            "Content-Type": MEDIA_TYPE,
        }
        if request.scope.get(IS_HEAD):
            return Response(headers=headers)
        with ExitStack() as held:
            held.enter_context(exports.place())
            pieces = exports.pieces(part, export(request))
            # Before the answer begins, so that a store that is away is told by its status.
            begin = await anext(pieces)
            answer = CsvStream(_whole(begin, pieces), held=held.pop_all())
        answer.headers.update(headers)
        return answer

    return routes


_DESCRIPTION = f"""The parameters are those of `GET /users`, without `limit` and `cursor`: the table
has all of the list, in its order, and is written while it is read, so users may be scored in
between. Texts that a spreadsheet would take for a formula begin with a quote.

Ordered by change, each stretch of users is in order, those at the highest risk first. A table
that could not be finished ends without the end that HTTP asks for, so clients know. {AT_ONCE} are
made at once."""
