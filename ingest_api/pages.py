"""What lists have in common: how a page is asked for, and where the next one begins."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import Depends, Query
from starlette.requests import Request

from contracts.times import to_ms
from ingest_api.problems import FieldError, Invalid
from runtime.newest_first import Place

Value = TypeVar("Value")

MOST: Final = 200

Limit = Annotated[int, Query(ge=1, le=MOST)]
NextCursor = Annotated[
    str,
    Query(max_length=1_000, description="`next` of the page before, under the same filters."),
]


def once(*, but: Collection[str] = ()) -> Any:
    """For a route: refuses, with Invalid, parameters sent twice, of which one would be passed over.

    but: those that are lists.
    """

    def check(request: Request) -> None:
        sent = Counter(name for name, _ in request.query_params.multi_items())
        again = [
            FieldError(name, f"may be given once; got it {count} times")
            for name, count in sent.items()
            if count > 1 and name not in but
        ]
        if again:
            raise Invalid(again)

    return Depends(check)


def text_of(place: Place | None) -> str | None:
    """The place as a cursor."""
    return None if place is None else sealed(place)


def place_of(cursor: str) -> Place | None:
    """The place a cursor names; raises Invalid for what is none."""
    return opened(cursor, Place) if cursor else None


def sealed(value: object) -> str:
    """A value as text that fits into an address."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).decode().rstrip("=")


def opened(cursor: str, kind: type[Value]) -> Value:
    """The value of this kind that was sealed; raises Invalid for what is none."""
    try:
        return msgspec.msgpack.decode(base64.b64decode(cursor + "===", altchars=b"-_"), type=kind)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise Invalid(
            [FieldError("cursor", "is none: send `next` of a page as it is, or leave it out")]
        ) from None


def moment(field: str, value: str) -> int | None:
    """Epoch ms, None for an empty one; raises Invalid for what is no time with its zone."""
    if not value:
        return None
    try:
        # A number might be seconds, milliseconds or a year.
        found = datetime.fromisoformat(value if value[4:5] == "-" else "")
    except ValueError:
        raise Invalid(
            [FieldError(field, f"must be a time such as 2026-09-01T00:00:00Z; got {value!r}")]
        ) from None
    if found.tzinfo is None:
        raise Invalid(
            [FieldError(field, f"needs its zone, such as {found.isoformat()}Z; got none")]
        )
    return to_ms(found)
