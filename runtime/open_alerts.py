"""Which users somebody worries about: the open episode that the alerts worker keeps of a user.

The beginning of what `alerts.episode` stores is all a reader needs; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import structlog
from redis.asyncio import Redis

from contracts.alerts import Arm, Severity
from runtime import keys
from runtime.redis_errors import redis_errors
from runtime.store import mget

logger = structlog.get_logger(__name__)

UNNAMED_RULE: Final = "default"
"""Of an episode that a release opened which knew one rule only."""

_READABLE: Final = (1, 2)


class OpenAlert(msgspec.Struct, frozen=True, array_like=True):
    """An open episode, in the order in which it is stored; times in epoch ms."""

    dedup_key: bytes
    opened_at: int
    probability: float
    """At the episode's last alert."""
    escalated_at: int | None
    rule: str = ""
    severity: Severity = "warning"
    arm: Arm = "treated"
    acknowledged_at: int | None = None
    snoozed_until: int | None = None


class _Episode(msgspec.Struct, frozen=True, array_like=True):
    log: int
    offset: int
    scored_at: int
    alerted_at: int | None
    open: OpenAlert | None


_decoder = msgspec.msgpack.Decoder(_Episode)


async def of_users(redis: Redis, user_ids: Sequence[str]) -> list[OpenAlert | None]:
    """The open alert of each, None where none is; raises StoreUnavailable.

    What another release stored counts as none. The held-out have theirs, too (`arm`).
    """
    with redis_errors("reading open alerts"):
        stored = await mget(redis, [keys.episode(user_id) for user_id in user_ids])
    return [None if value is None else _open(value) for value in stored]


def _open(stored: bytes) -> OpenAlert | None:
    if not stored or stored[0] not in _READABLE:
        return None
    try:
        found = _decoder.decode(memoryview(stored)[1:]).open
    except msgspec.MsgspecError as error:
        logger.warning("episode_unreadable", reason=str(error))
        return None
    if found is None or found.rule:
        return found
    return msgspec.structs.replace(found, rule=UNNAMED_RULE)
