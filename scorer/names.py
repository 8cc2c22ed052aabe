"""Names behind category hashes, for people who read scores. Not facts: losing one loses a label."""

from __future__ import annotations

from collections.abc import Iterable

from redis.asyncio import Redis

from contracts.events import category_hash, normalise
from runtime import keys
from runtime.redis_errors import redis_errors
from runtime.store import text

MAX_NAMES = 65_536
"""A field with more distinct values than this is not a category; later names stay hashes."""


class Names:
    """Remembers what each hash stands for, in Redis and in memory."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[int, str] = {}

    async def load(self) -> None:
        """Read what other workers have seen."""
        with redis_errors("reading category names"):
            stored = await self._redis.hgetall(keys.NAMES)
        self._known = {int(text(number)): text(name) for number, name in stored.items()}

    async def learn(self, names: Iterable[str]) -> None:
        """Store names not met before, while there is room."""
        fresh = {
            category_hash(name): normalise(name)
            for name in names
            if category_hash(name) not in self._known
        }
        if not fresh or len(self._known) + len(fresh) > MAX_NAMES:
            return
        with redis_errors("storing category names"):
            await self._redis.hset(keys.NAMES, mapping={str(k): v for k, v in fresh.items()})
        self._known |= fresh

    def name(self, number: int) -> str | None:
        """The name of a hash; the hash itself where the name is unknown; None for 0."""
        if not number:
            return None
        return self._known.get(number, f"#{number:08x}")
