"""From the id of an alert, or of its episode, to the user it is about.

An id says nothing of the user, so the entries lie in the user's shard, where they are written in
one step with the episode, and whoever asks asks all shards at once.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec
from redis.asyncio import Redis

from contracts.alerts import ChurnAlert
from contracts.partition import SHARDS
from contracts.times import DAY_MS, to_ms
from runtime import keys, verdicts
from runtime.ledger import Effects
from runtime.redis_errors import redis_errors
from runtime.store import mget, text

KEPT_MS: Final = 90 * DAY_MS
"""How long after an alert its ids are known: a verdict may wait for the horizon to pass."""
KEPT_IDS: Final = 500
"""Ids of one user that an erasure finds; whatever is older goes with its lifetime."""


class Found(msgspec.Struct, frozen=True, array_like=True):
    """Whom an id is about, and the episode."""

    user_id: str
    dedup_key: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Found)


def remember(alert: ChurnAlert, effects: Effects) -> None:
    """Add to the effects that `alert_id` and `dedup_key` of the alert are known."""
    entry = _encoder.encode(Found(alert.user_id, alert.dedup_key))
    ids = keys.alert_ids(alert.user_id)
    for known in (alert.dedup_key, alert.alert_id):
        effects.put(keys.alert_of(alert.user_id, known), entry, KEPT_MS)
        effects.index(ids, known, float(to_ms(alert.occurred_at)))
    effects.keep_highest(ids, KEPT_IDS)


async def forget(redis: Redis, user_id: str, effects: Effects) -> None:
    """Add to the effects that nothing leads to an erased user; raises StoreUnavailable."""
    ids = keys.alert_ids(user_id)
    with redis_errors("finding a user's alerts"):
        known = cast("list[bytes]", await redis.zrange(ids, 0, -1))
    for each in known:
        effects.delete(keys.alert_of(user_id, text(each)))
    # Some of the ids are of episodes, and these may have a verdict.
    verdicts.forget(user_id, [text(each) for each in known], effects)
    if known:
        effects.delete(ids)


async def find(redis: Redis, known: str) -> Found | None:
    """Whom an alert_id or a dedup_key is about, None where nobody knows; raises StoreUnavailable.

    An entry of another release counts as none.
    """
    with redis_errors("looking up an alert"):
        answers = await mget(redis, [keys.alert(shard, known) for shard in range(SHARDS)])
    for answer in answers:
        if answer is not None:
            try:
                return _decoder.decode(answer)
            except msgspec.MsgspecError:
                continue
    return None
