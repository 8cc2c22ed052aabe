"""`GET /users/{user_id}/events`: what a user did last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
import numpy as np
from fastapi import APIRouter
from starlette.responses import Response

from contracts.activity import FoldRules
from contracts.record import LOGGED_IN, UNKNOWN
from contracts.times import from_ms
from ingest_api import openapi
from ingest_api.user_paths import PartOfUser
from ingest_api.users import UserId, Users
from runtime.ledger import Mark
from runtime.timeline import Entry, counted, is_activity, of_this_life

State = Literal["complete", "behind", "off"]


class TimelineEvent(msgspec.Struct, frozen=True):
    """An event as far as it is kept."""

    occurred_at: datetime
    """To the second."""
    type: str
    is_activity: bool
    """Whether it counts as something the user did."""
    pages: int
    """Pages visited; of a `snapshot`: in total, as it claims."""
    minutes: float
    """Likewise."""
    value: float | None
    """Money, negative for a return; null where none was stated."""
    is_logged_in: bool | None
    """What the event said of it."""


class Timeline(msgspec.Struct, frozen=True):
    """What a user did last."""

    user_id: str
    events: tuple[TimelineEvent, ...]
    """The latest first; of two that came out of order, that which occurred later."""
    state: State
    """`complete`: up to the last event their record knows. `behind`: events the record knows are
    still being read. `off`: nobody keeps events here."""
    has_older: bool
    """Whether the record counts more activity than is shown."""


def router(*, users: Users) -> APIRouter:
    """The route, over what knows the users."""
    routes = APIRouter(tags=["users"], route_class=PartOfUser)

    @routes.get(
        "/users/{user_id:text}/events",
        summary="What a user did last",
        description="The last events of the user (`EBBTIDE_TIMELINE_EVENTS` says how many are "
        "kept), each once. Their own facts are at `GET /users/{user_id}`.",
        responses=openapi.responses(
            {200: openapi.of(Timeline, "The latest first.")}, 400, 404, 422, 503
        ),
    )
    async def get_events(user_id: UserId) -> Response:
        record = await users.known(user_id)
        stored = await users.reader.timeline(user_id, int(record["outlook"]["home"][0]))
        return openapi.reply(
            timeline(user_id, record["facts"][0], stored.entries, stored.mark, users.rules)
        )

    return routes


def timeline(
    user_id: str, facts: np.void, entries: Sequence[Entry], mark: Mark | None, rules: FoldRules
) -> Timeline:
    """What to show of the stored entries of a user whose FACTS are these."""
    of_now = of_this_life(counted(entries), int(facts["first_seen"]), rules)
    events = [_event(entry, rules) for entry in of_now]
    shown = sum(event.is_activity for event in events)
    # A stable sort of what is in log order, turned: of one second, the last in the log is first.
    latest_first = sorted(events, key=lambda event: event.occurred_at)[::-1]
    return Timeline(
        user_id,
        tuple(latest_first),
        _state(mark, facts),
        has_older=shown < int(facts["events"]),
    )


def _state(mark: Mark | None, facts: np.void) -> State:
    if mark is None:
        return "off"
    read = (mark.log, mark.offset) > (int(facts["log_number"]), int(facts["offset"]))
    return "complete" if read else "behind"


def _event(entry: Entry, rules: FoldRules) -> TimelineEvent:
    return TimelineEvent(
        occurred_at=from_ms(entry.occurred_at * 1000),
        type=entry.type,
        is_activity=is_activity(entry.type, rules),
        pages=entry.pages,
        minutes=round(entry.seconds / 60, 2),
        value=None if entry.cents is None else entry.cents / 100,
        is_logged_in=None if entry.login == UNKNOWN else entry.login == LOGGED_IN,
    )
