"""The gateway's edge to Redis: what is stored of users, read within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import numpy as np
from redis.asyncio import Redis

from contracts.alerts import ChurnAlert
from contracts.topics import ACTIVITY
from runtime import alert_index, keys
from runtime.alert_index import Found
from runtime.generations import Reader
from runtime.recent_alerts import RecentAlerts
from runtime.records import RecordStore
from runtime.redis_errors import redis_errors
from runtime.store import text

READ_SECONDS: Final = 2.0

_CLOCK_FIELD = "clock:"


class UserReader(Protocol):
    """What the gateway needs of Redis. Everything raises StoreUnavailable."""

    async def load(self, user_ids: Sequence[str]) -> np.ndarray:
        """(n,) RECORD, blank where nothing is known."""
        ...

    async def riskiest(self, limit: int) -> list[tuple[str, float]]:
        """Users with their probability at the last score, highest first."""
        ...

    async def names(self, hashes: Iterable[int]) -> dict[int, str]:
        """Names of category hashes, as far as they are known."""
        ...

    async def clocks(self) -> dict[int, int]:
        """Partition to its clock, epoch ms: how far the scorer has brought time there."""
        ...

    async def recent_alerts(self, limit: int) -> Sequence[ChurnAlert]:
        """The latest alerts, newest first."""
        ...

    async def find_alert(self, known: str) -> Found | None:
        """Whom an alert_id or a dedup_key is about, None where nobody knows."""
        ...

    async def ping(self) -> None:
        """One round trip."""
        ...


class RedisUsers:
    """The UserReader of a Redis."""

    def __init__(self, redis: Redis, *, timeout_seconds: float = READ_SECONDS) -> None:
        self._redis = redis
        self._reader = Reader(redis, ACTIVITY)
        self._records = RecordStore(redis)
        self._alerts = RecentAlerts(redis)
        self._timeout = timeout_seconds

    async def load(self, user_ids: Sequence[str]) -> np.ndarray:
        async with self._bounded("loading records"):
            return await self._records.load(user_ids)

    async def riskiest(self, limit: int) -> list[tuple[str, float]]:
        async with self._bounded("reading the ranks"):
            answers = await self._reader.answers(
                lambda pipe, shard, generation: pipe.zrange(
                    keys.rank(shard, generation), 0, limit - 1, desc=True, withscores=True
                )
            )
        ranked = [(text(user), float(risk)) for answer in answers for user, risk in answer]
        ranked.sort(key=lambda entry: (-entry[1], entry[0]))
        return ranked[:limit]

    async def names(self, hashes: Iterable[int]) -> dict[int, str]:
        wanted = [number for number in hashes if number]
        if not wanted:
            return {}
        async with self._bounded("reading category names"):
            found = await self._redis.hmget(keys.NAMES, [str(number) for number in wanted])
        pairs = zip(wanted, found, strict=True)
        return {number: text(name) for number, name in pairs if name is not None}

    async def clocks(self) -> dict[int, int]:
        # Every batch brings its partition's clock into all shards, so one shard tells.
        async with self._bounded("reading the clocks"):
            [fields] = await self._reader.answers(
                lambda pipe, shard, generation: pipe.hgetall(
                    keys.marks(shard, ACTIVITY, generation)
                ),
                [0],
            )
        return {
            int(text(field).removeprefix(_CLOCK_FIELD)): int(value)
            for field, value in fields.items()
            if text(field).startswith(_CLOCK_FIELD)
        }

    async def recent_alerts(self, limit: int) -> Sequence[ChurnAlert]:
        async with self._bounded("reading recent alerts"):
            return await self._alerts.latest(limit)

    async def find_alert(self, known: str) -> Found | None:
        async with self._bounded("looking up an alert"):
            return await alert_index.find(self._redis, known)

    async def ping(self) -> None:
        async with self._bounded("asking whether it is there"):
            await self._redis.ping()

    @asynccontextmanager
    async def _bounded(self, doing: str) -> AsyncIterator[None]:
        """Raise StoreUnavailable where Redis fails or takes too long."""
        with redis_errors(doing):
            async with asyncio.timeout(self._timeout):
                yield
