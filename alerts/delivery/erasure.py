"""Taking away what is stored of an erased user's deliveries."""

from __future__ import annotations

from collections.abc import Collection

from redis.asyncio import Redis

from contracts.deliveries import STATES, channel_of
from contracts.partition import shard as shard_of
from runtime import keys
from runtime.deliveries import known_of
from runtime.ledger import Effects


async def forget(redis: Redis, user_ids: Collection[str], effects: Effects) -> None:
    """Add to the effects what removes the deliveries of some users, wherever they wait.

    What was told stays told. A digest that names them goes when its own lifetime ends.
    """
    for user_id, known in (await known_of(redis, user_ids)).items():
        shard = shard_of(user_id)
        for row_id, _ in known:
            effects.delete(keys.delivery(shard, row_id))
            for index in (
                keys.delivery_queue(shard, channel_of(row_id)),
                keys.delivery_place(shard, "held"),
                keys.delivery_place(shard, "digest"),
                keys.delivery_log(shard),
                *(keys.deliveries_in(shard, state, channel_of(row_id)) for state in STATES),
            ):
                effects.index(index, row_id, None)
        if known:  # nobody may have written it since
            effects.delete(keys.deliveries_of(user_id))
