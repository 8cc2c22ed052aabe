"""A new model: everybody with a timer is rescored, spread over a stated time."""

from __future__ import annotations

from collections.abc import AsyncIterator

from redis.asyncio import Redis

from contracts.topics import ACTIVITY
from runtime import keys
from runtime.redis_errors import redis_errors
from runtime.store import text
from runtime.timers import TimerIndex


class Activation:
    """Whether one partition has met this model yet, and the walk through its timers if not."""

    def __init__(
        self, redis: Redis, partition: int, timers: TimerIndex, version: str, spread_ms: int
    ) -> None:
        self.spread_ms = spread_ms
        self._redis = redis
        self._key = keys.marks(0, ACTIVITY, timers.generation)
        self._field = f"model:{partition}"
        self._timers = timers
        self._version = version
        self._pages: AsyncIterator[list[str]] | None = None
        self._done = False

    async def pending(self) -> bool:
        """Whether users of the partition still wait to hear of this model."""
        if self._done or self._pages is not None:
            return not self._done
        with redis_errors("reading the active model"):
            active = await self._redis.hget(self._key, self._field)
        if active is not None and text(active) == self._version:
            self._done = True
        else:
            self._pages = self._timers.users()
        return not self._done

    async def page(self) -> list[str]:
        """The next users with a timer; empty at the end, when the model counts as active."""
        if self._pages is None:
            return []
        page = await anext(self._pages, None)
        if page is not None:
            return page
        with redis_errors("noting the active model"):
            await self._redis.hset(self._key, self._field, self._version)
        self._done = True
        return []
