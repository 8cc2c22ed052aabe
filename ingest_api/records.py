"""The gateway's edge to Redis: what is stored of users, read within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import numpy as np
from redis.asyncio import Redis

from contracts.alerts import ChurnAlert
from contracts.deliveries import Row
from contracts.standing import StandingVerdict
from contracts.topics import ACTIVITY
from ingest_api.alert_desk import AlertDesk
from runtime import alert_history, alert_index, deliveries, history, keys, open_alerts, verdicts
from runtime.alert_index import Found
from runtime.generations import Reader
from runtime.history import UserHistory
from runtime.open_alerts import OpenAlert
from runtime.recent_alerts import RecentAlerts
from runtime.records import RecordStore
from runtime.redis_errors import redis_errors
from runtime.store import text
from runtime.timeline import Stored, Timelines
from runtime.user_ranks import Index, Piece, Place, Stream, UserRanks

READ_SECONDS: Final = 2.0

_CLOCK_FIELD = "clock:"


class UserReader(Protocol):
    """What the gateway needs of Redis. Everything raises StoreUnavailable."""

    @property
    def desk(self) -> AlertDesk:
        """What is stored of alerts, deliveries and storms."""
        ...

    async def load(self, user_ids: Sequence[str]) -> np.ndarray:
        """(n,) RECORD, blank where nothing is known."""
        ...

    async def ranked(
        self, index: Index, places: Mapping[Stream, Place | None], count: int
    ) -> Mapping[Stream, Piece]:
        """Of streams of an index the users behind a place, or the first."""
        ...

    async def counts(self, index: Index) -> Sequence[int]:
        """Users of each class in an index."""
        ...

    async def stored(self, user_ids: Sequence[str]) -> Sequence[bytes | None]:
        """Their records as they are stored, for `runtime.records.unpack`."""
        ...

    async def open_alerts(self, user_ids: Sequence[str]) -> Sequence[OpenAlert | None]:
        """The open alert of each user."""
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

    async def timeline(self, user_id: str, partition: int) -> Stored:
        """The last events of a user who lives in a partition."""
        ...

    async def history(self, user_id: str) -> UserHistory | None:
        """A user's kept scores, None where there are none."""
        ...

    async def alerts_of(self, user_id: str) -> Sequence[ChurnAlert]:
        """A user's latest alerts, newest first."""
        ...

    async def deliveries_of(self, user_id: str) -> Sequence[Row]:
        """What was to be told of a user, newest first."""
        ...

    async def verdicts_of(self, user_id: str) -> Sequence[StandingVerdict]:
        """What people said of a user's episodes."""
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
        self._timelines = Timelines(redis)
        self._ranks = UserRanks(redis)
        self._timeout = timeout_seconds
        self.desk = AlertDesk(redis, timeout_seconds=timeout_seconds)

    async def load(self, user_ids: Sequence[str]) -> np.ndarray:
        async with self._bounded("loading records"):
            return await self._records.load(user_ids)

    async def ranked(
        self, index: Index, places: Mapping[Stream, Place | None], count: int
    ) -> Mapping[Stream, Piece]:
        async with self._bounded("reading the ranks"):
            return await self._ranks.behind(index, places, count)

    async def counts(self, index: Index) -> Sequence[int]:
        async with self._bounded("counting users"):
            return await self._ranks.counts(index)

    async def stored(self, user_ids: Sequence[str]) -> Sequence[bytes | None]:
        async with self._bounded("loading records"):
            return await self._records.load_packed(user_ids)

    async def open_alerts(self, user_ids: Sequence[str]) -> Sequence[OpenAlert | None]:
        async with self._bounded("reading open alerts"):
            return await open_alerts.of_users(self._redis, user_ids)

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

    async def timeline(self, user_id: str, partition: int) -> Stored:
        async with self._bounded("reading a user's events"):
            return await self._timelines.of(user_id, partition)

    async def history(self, user_id: str) -> UserHistory | None:
        async with self._bounded("reading a user's scores"):
            return await history.read(self._redis, user_id)

    async def alerts_of(self, user_id: str) -> Sequence[ChurnAlert]:
        async with self._bounded("reading a user's alerts"):
            return await alert_history.alerts_of(self._redis, user_id)

    async def deliveries_of(self, user_id: str) -> Sequence[Row]:
        async with self._bounded("reading a user's deliveries"):
            return await deliveries.deliveries_of(self._redis, user_id)

    async def verdicts_of(self, user_id: str) -> Sequence[StandingVerdict]:
        async with self._bounded("reading verdicts on a user's alerts"):
            return await verdicts.verdicts_of(self._redis, user_id)

    async def ping(self) -> None:
        async with self._bounded("asking whether it is there"):
            await self._redis.ping()

    @asynccontextmanager
    async def _bounded(self, doing: str) -> AsyncIterator[None]:
        """Raise StoreUnavailable where Redis fails or takes too long."""
        with redis_errors(doing):
            async with asyncio.timeout(self._timeout):
                yield
