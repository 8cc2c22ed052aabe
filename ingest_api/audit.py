"""Who did what: every action and login as a line of the log, and the latest of them in Redis.

The log is the record: ship it where nobody can change it. What lies in Redis is for people to look
at, bounded, written after the answer, and lost when Redis is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, Protocol, cast

import msgspec
import structlog
from fastapi import APIRouter, Query
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from contracts.errors import StoreUnavailable
from ingest_api import openapi
from ingest_api.problems import AuditUnavailable
from runtime import keys
from runtime.redis_errors import redis_errors

logger = structlog.get_logger("ebbtide.audit")

KEPT: Final = 10_000
QUEUED_MOST: Final = 1_000
WRITTEN_MOST: Final = 100
SECONDS: Final = 2.0
MOST_CHARACTERS: Final = 300
SAID: Final = "ebbtide.said"
"""In the ASGI scope: what an act is to say."""


Kind = Literal["action", "read"]
"""`read`: somebody took out what is known of many. Kept apart, so that reading, which a key with
less may do, pushes no action out."""


class Act(msgspec.Struct, frozen=True):
    """One thing somebody did, was refused, or read of many people."""

    at: datetime
    """When it was answered, by the gateway's wall clock."""
    who: str
    """The key's name; empty where nobody had to say."""
    via: Literal["open", "key", "session"]
    action: str
    """Method and route, `POST /alerts/{alert_id}/snooze`; `login` and `logout`."""
    target: str
    """The path asked for; an erased user's id stays here as the proof of it."""
    status: int
    """What it was answered: 2xx, it was taken on."""
    address: str
    """Of the client, as far as trusted proxies tell."""
    said: str = ""
    """What was asked for, and what came of it, where the action and target do not tell."""
    kind: Kind = "action"


class Acts(msgspec.Struct, frozen=True):
    """The latest, newest first."""

    acts: tuple[Act, ...]
    kept: int
    """So many are kept at most; the gateways' logs have all."""


class AuditStore(Protocol):
    """Where people look. Everything raises StoreUnavailable."""

    async def append(self, acts: Sequence[bytes], kind: Kind) -> None:
        """Keep these, and forget the oldest of their kind beyond KEPT."""
        ...

    async def latest(self, limit: int, skip: int, kind: Kind) -> list[bytes]:
        """Newest first, without the `skip` newest."""
        ...


_LISTS: Final[dict[Kind, str]] = {"action": keys.AUDIT, "read": keys.AUDIT_READS}


class RedisAudit:
    """The AuditStore of a Redis: a list, since acts come one by one and are few."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def append(self, acts: Sequence[bytes], kind: Kind) -> None:
        with redis_errors("keeping the audit log"):
            async with asyncio.timeout(SECONDS):
                pipe = self._redis.pipeline(transaction=True)
                pipe.rpush(_LISTS[kind], *acts)
                pipe.ltrim(_LISTS[kind], -KEPT, -1)
                await pipe.execute()

    async def latest(self, limit: int, skip: int, kind: Kind) -> list[bytes]:
        with redis_errors("reading the audit log"):
            async with asyncio.timeout(SECONDS):
                found = await self._redis.lrange(_LISTS[kind], -skip - limit, -skip - 1)
        return cast("list[bytes]", found)[::-1]


class Trail:
    """Logs acts at once, and writes them to the store in the background."""

    def __init__(self, store: AuditStore | None) -> None:
        self._store = store
        self._queue: asyncio.Queue[Act] = asyncio.Queue(QUEUED_MOST)

    def note(self, act: Act) -> None:
        """Log it, and queue it for the store; never waits."""
        logger.info("audit", **{**msgspec.to_builtins(act), "at": act.at.isoformat()})
        if self._store is None:
            return
        try:
            self._queue.put_nowait(act)
        except asyncio.QueueFull:
            logger.warning("audit_not_kept", acts=1, reason="too many wait")

    async def run(self) -> None:
        """Write what is queued until cancelled."""
        while True:
            acts = [await self._queue.get()]
            while len(acts) < WRITTEN_MOST and not self._queue.empty():
                acts.append(self._queue.get_nowait())
            try:
                assert self._store is not None  # or nothing is queued
                for kind in _LISTS:
                    if of_kind := [msgspec.json.encode(act) for act in acts if act.kind == kind]:
                        await self._store.append(of_kind, kind)
            except StoreUnavailable as error:
                logger.warning("audit_not_kept", acts=len(acts), reason=str(error))


def tell(request: Request, said: str) -> None:
    """Let the act of this request say more; of several sayings the last one holds."""
    request.scope[SAID] = said


def shortened(path: str) -> str:
    """A path as a log and a terminal may be shown it: whatever a client sent."""
    end = "..." if len(path) > MOST_CHARACTERS else ""
    return path[:MOST_CHARACTERS].translate(_Escapes()) + end


class _Escapes(dict[int, str]):
    """For `str.translate`: what would not be printed is spelt out."""

    def __missing__(self, number: int) -> str:
        sign = chr(number)
        return sign if sign.isprintable() else ascii(sign)[1:-1]


def router(store: AuditStore | None) -> APIRouter:
    """`GET /audit`; without a store there is no such route."""
    routes = APIRouter(tags=["access"])
    if store is None:
        return routes

    @routes.get(
        "/audit",
        summary="Who did what",
        description="Actions (all that needs the scope `operate`), also refused ones, logins and "
        "logouts; and, as another list, exports and reading on through lists of users. The latest "
        "of each are kept; the gateways' logs have all, as events called `audit`.",
        responses=openapi.responses({200: openapi.of(Acts, "Newest first.")}, 422, 503),
    )
    async def list_acts(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        skip: Annotated[int, Query(ge=0, le=KEPT, description="Leave out the newest.")] = 0,
        kind: Annotated[
            Kind,
            Query(description="`action`: what was done. `read`: who took out lists of users."),
        ] = "action",
    ) -> Response:
        try:
            found = await store.latest(limit, skip, kind)
        except StoreUnavailable as error:
            raise AuditUnavailable(str(error)) from error
        acts = tuple(msgspec.json.decode(each, type=Act) for each in found)
        return openapi.reply(Acts(acts, KEPT))

    return routes
