"""`GET /users/{user_id}/history`: how a user's risk went."""

from __future__ import annotations

from datetime import datetime

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from contracts.scores import Trigger
from contracts.times import NEVER, to_ms
from ingest_api import openapi
from ingest_api.user_paths import PartOfUser
from ingest_api.users import UserId, Users
from runtime.history import UserHistory


class PastScore(msgspec.Struct, frozen=True):
    """A score as it was given."""

    at: datetime
    """What it was as of, to the second."""
    churn_probability: float
    trigger: Trigger
    new_model: bool
    """Another model made it than the one before: the two need not be comparable."""
    little_evidence: bool
    cancelled: bool
    """The subscription was cancelled, with no activity since."""
    simulated: bool
    """The model has seen no real user."""


class PastScores(msgspec.Struct, frozen=True):
    """How a user's risk went."""

    user_id: str
    scores: tuple[PastScore, ...]
    """Oldest first."""
    complete_from: datetime | None
    """From here on every score is there, before it the highest and the last of each UTC day; null
    where nothing is kept, of this user or at all."""


def router(*, users: Users) -> APIRouter:
    """The route, over what knows the users."""
    routes = APIRouter(tags=["users"], route_class=PartOfUser)

    @routes.get(
        "/users/{user_id:text}/history",
        summary="How a user's risk went",
        responses=openapi.responses(
            {200: openapi.of(PastScores, "Oldest first.")}, 400, 404, 422, 503
        ),
    )
    async def get_history(user_id: UserId) -> Response:
        record = await users.known(user_id)
        history = await users.reader.history(user_id)
        return openapi.reply(past(user_id, int(record["facts"]["first_seen"][0]), history))

    return routes


def past(user_id: str, first_seen: int, history: UserHistory | None) -> PastScores:
    """The scores since the user's record began (epoch ms, NEVER: it has no activity).

    Those before it are of somebody who was erased, or away for longer than the retention.
    """
    if history is None or first_seen == NEVER:
        return PastScores(user_id, (), None)
    scores = tuple(
        PastScore(
            point.at,
            point.probability,
            point.trigger,
            new_model=point.new_model,
            little_evidence=point.little_evidence,
            cancelled=point.cancelled,
            simulated=point.simulated,
        )
        for point in history.points
        if to_ms(point.at) >= first_seen // 1000 * 1000
    )
    return PastScores(user_id, scores, history.complete_from if scores else None)
