"""The latest alerts, as the alerts worker leaves them beside its episodes."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import msgspec
import structlog
from redis.asyncio import Redis

from contracts.alerts import ChurnAlert, decode_alert
from contracts.partition import SHARDS
from runtime import keys
from runtime.redis_errors import redis_errors

logger = structlog.get_logger(__name__)

KEPT = 1_000
"""Alerts kept in each shard."""


class RecentAlerts:
    """Reads them, over all shards."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def latest(self, limit: int) -> list[ChurnAlert]:
        """Up to `limit` alerts, newest first, each once; raises StoreUnavailable."""
        if limit <= 0:
            return []
        with redis_errors("reading recent alerts"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in range(SHARDS):
                    pipe.zrange(keys.recent_alerts(shard), 0, limit - 1, desc=True)
                answers = await pipe.execute()
        members = [member for answer in answers for member in answer]
        alerts = {alert.alert_id: alert for alert in map(_readable, members) if alert is not None}
        newest_first = sorted(alerts.values(), key=_when, reverse=True)
        return newest_first[:limit]


async def members_of(redis: Redis, shard: int, user_ids: Collection[str]) -> list[bytes]:
    """The stored alerts of some users in one shard, as they are stored."""
    with redis_errors("finding a user's recent alerts"):
        members = await redis.zrange(keys.recent_alerts(shard), 0, -1)
    return [
        member
        for member in cast("list[bytes]", members)
        if (alert := _readable(member)) is not None and alert.user_id in user_ids
    ]


def _when(alert: ChurnAlert) -> tuple[object, ...]:
    return alert.occurred_at, alert.position, alert.alert_id


def _readable(member: bytes) -> ChurnAlert | None:
    try:
        return decode_alert(member)
    except msgspec.MsgspecError as error:
        logger.warning("recent_alert_unreadable", reason=str(error))
        return None
