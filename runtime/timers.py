"""An index of timers: users of a partition by due time, one sorted set per shard.

Only an index: the record (of silence timers) or the episode (of alert timers) holds the due time,
and an entry that disagrees is put right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import cast

from redis.asyncio import Redis

from contracts.partition import SHARDS
from contracts.times import NEVER
from runtime import keys
from runtime.redis_errors import redis_errors
from runtime.store import text

_PAGE = 1_000


class TimerIndex:
    """Reads the timers of one partition; they are written by the ledger's script."""

    def __init__(
        self,
        redis: Redis,
        partition: int,
        generation: int = keys.FIRST,
        *,
        key: Callable[[int, int], str] | None = None,
    ) -> None:
        """key: of a shard and a partition; by default that of the generation's silence timers."""
        self.generation = generation
        self._redis = redis
        if key is None:
            self._keys = [keys.timers(shard, partition, generation) for shard in range(SHARDS)]
        else:
            self._keys = [key(shard, partition) for shard in range(SHARDS)]

    async def due(self, clock_ms: int, limit: int) -> list[tuple[str, int]]:
        """Up to about `limit` (user_id, due) with due <= clock, earliest first."""
        with redis_errors("reading due timers"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in self._keys:
                    pipe.zrange(
                        key, "-inf", clock_ms, byscore=True, offset=0, num=limit, withscores=True
                    )
                answers = await pipe.execute()
        entries = [(member.decode(), int(due)) for answer in answers for member, due in answer]
        entries.sort(key=lambda entry: entry[1])
        return entries[:limit]

    async def earliest(self) -> int | None:
        """When the next timer is due, None when there is none."""
        with redis_errors("reading the next timer"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in self._keys:
                    pipe.zrange(key, 0, 0, withscores=True)
                answers = await pipe.execute()
        return min((int(answer[0][1]) for answer in answers if answer), default=None)

    async def users(self) -> AsyncIterator[list[str]]:
        """Every user with a timer, in pages; one that moves meanwhile may come twice."""
        for key in self._keys:
            cursor = 0
            while True:
                with redis_errors("walking the timers"):
                    cursor, page = await self._redis.zscan(key, cursor, count=_PAGE)
                if page:
                    yield [text(member) for member, _ in cast("list[tuple[bytes, float]]", page)]
                if not cursor:
                    break


def index_score(due_ms: int) -> float | None:
    """Sorted-set score of a due time, None for NEVER. Exact: a double holds 2**53 ms."""
    return None if due_ms == NEVER else float(due_ms)
