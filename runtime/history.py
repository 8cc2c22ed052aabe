"""A user's kept scores, and the population over time, as the history worker leaves them."""

from __future__ import annotations

from datetime import datetime
from typing import cast

import msgspec
from redis.asyncio import Redis

from contracts import history as stored
from contracts.bands import is_simulated, kind_in
from contracts.scores import TRIGGERS, Trigger
from contracts.times import SECOND_MS, from_ms
from runtime import keys
from runtime.redis_errors import redis_errors


class Point(msgspec.Struct, frozen=True):
    """One score of a user."""

    at: datetime
    """To the second."""
    probability: float
    trigger: Trigger
    new_model: bool
    """Another model made it than the one before."""
    little_evidence: bool
    cancelled: bool
    """The subscription was cancelled, with no activity since."""
    simulated: bool
    """The model has seen no real user."""


class UserHistory(msgspec.Struct, frozen=True):
    """What is kept of a user's scores, oldest first."""

    points: tuple[Point, ...]
    complete_from: datetime | None
    """From here on every score is there; before it the highest and the last of a UTC day."""


async def read(redis: Redis, user_id: str) -> UserHistory | None:
    """A user's kept scores; None where there are none: unknown, erased, or history is off.

    Raises StoreUnavailable.
    """
    with redis_errors("reading a history"):
        value = cast("bytes | None", await redis.get(keys.trail(user_id)))
    return None if value is None else history_of(stored.decode(value))


def history_of(trail: stored.Trail) -> UserHistory | None:
    """A trail as it is shown."""
    found = [*stored.points(trail.days), *stored.points(trail.last)]
    if not found:
        return None
    numbers = [found[0].model, *(point.model for point in found)]
    whole = next(stored.points(trail.last), None)
    return UserHistory(
        points=tuple(
            Point(
                at=from_ms(point.at * SECOND_MS),
                probability=point.millionths / stored.MICRO,
                trigger=TRIGGERS[point.trigger],
                new_model=point.model != before,
                little_evidence=kind_in(point.standing) == "little_evidence",
                cancelled=kind_in(point.standing) == "cancelled",
                simulated=is_simulated(point.standing),
            )
            for point, before in zip(found, numbers, strict=False)
        ),
        complete_from=None if whole is None else from_ms(whole.at * SECOND_MS),
    )
