"""How a generation of records takes over from the one that serves.

Its maker claims a number, which no other generation has had; saves of whoever claimed one before
are refused from then on. Then it is made, beside the one that serves. Then `hold` stops all saves
but the maker's for some seconds, so that it can bring the last of them over, and `switch` changes
the generation that serves: on one server all shards at once, on a cluster one after the other.
Whoever dies in between leaves the old generation serving, at the latest when the hold runs out.
"""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from contracts.errors import Refused, StoreUnavailable
from contracts.partition import SHARDS
from runtime import keys
from runtime.generations import each_serving, number
from runtime.redis_errors import redis_errors
from runtime.store import mget, shard_groups

HOLD_MS = 10_000
"""How long workers wait at most for a maker that may have died."""
ATTEMPTS = 30
PAGE = 1_000

_SWITCH_LUA = """
-- KEYS: of each shard the generation that serves; of each the newest; of each the hold.
-- ARGV: number of shards, the generation that takes over. Returns 0 when another is the newest.
local shards = tonumber(ARGV[1])
for shard = 1, shards do
  if redis.call('GET', KEYS[shards + shard]) ~= ARGV[2] then
    return 0
  end
end
for shard = 1, shards do
  redis.call('SET', KEYS[shard], ARGV[2])
  redis.call('DEL', KEYS[2 * shards + shard])
end
return 1
"""


async def claim(redis: Redis, topic: str) -> int:
    """The number of a new generation; raises StoreUnavailable."""
    newest = [keys.newest(shard, topic) for shard in range(SHARDS)]
    with redis_errors("claiming a generation"):
        taken = await each_serving(redis, topic) + list(map(number, await mget(redis, newest)))
        generation = 0
        while generation <= max(taken):
            generation = int(await redis.incr(newest[0]))
        async with redis.pipeline(transaction=False) as pipe:
            for key in newest[1:]:
                pipe.set(key, generation)
            await pipe.execute()
    return generation


async def hold(redis: Redis, topic: str, generation: int) -> None:
    """Refuse every save but those of `generation` for HOLD_MS; raises StoreUnavailable."""
    with redis_errors("holding the shards"):
        async with redis.pipeline(transaction=False) as pipe:
            for shard in range(SHARDS):
                pipe.set(keys.hold(shard, topic), generation, px=HOLD_MS)
            await pipe.execute()


async def is_held(redis: Redis, topic: str, generation: int) -> bool:
    """Whether the hold still stands in every shard."""
    with redis_errors("looking for the hold"):
        holds = await mget(redis, [keys.hold(shard, topic) for shard in range(SHARDS)])
    return all(value is not None and number(value) == generation for value in holds)


async def let_go(redis: Redis, topic: str) -> None:
    """End the hold."""
    with redis_errors("ending the hold"):
        await redis.unlink(*(keys.hold(shard, topic) for shard in range(SHARDS)))


async def switch(redis: Redis, topic: str, generation: int) -> None:
    """Make `generation` the one that serves.

    Tries on for half a minute where a shard of a cluster does not answer, since the others have
    switched and workers wait. Raises Refused when a newer one was claimed, StoreUnavailable.
    """
    script = redis.register_script(_SWITCH_LUA)
    for group in shard_groups(redis):
        names = [
            make(shard, topic) for make in (keys.serving, keys.newest, keys.hold) for shard in group
        ]
        for attempt in range(ATTEMPTS):
            try:
                with redis_errors("switching the generation"):
                    switched = await script(keys=names, args=[len(group), generation])
                break
            except StoreUnavailable:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(1)
        if not switched:
            raise Refused(f"another rebuild was started after that of generation {generation}")


async def unfinished(redis: Redis, topic: str, serving: int, generation: int) -> list[int]:
    """Generations before `generation` that do not serve and of which something is left."""
    left = []
    with redis_errors("looking for unfinished rebuilds"):
        for earlier in set(range(keys.FIRST, generation)) - {serving}:
            names = [keys.marks(shard, topic, earlier) for shard in range(SHARDS)]
            if await redis.exists(*names, keys.log(topic, earlier)):
                left.append(earlier)
    return left


async def forget(redis: Redis, topic: str, generation: int) -> int:
    """Delete a generation that does not serve, in pages; how many records it had."""
    records = 0
    page: list[bytes] = []
    with redis_errors("deleting an old generation"):
        async for key in redis.scan_iter(match=keys.any_of(generation), count=PAGE):
            records += keys.is_record(key)
            page.append(key)
            if len(page) == PAGE:
                await redis.unlink(*page)
                page.clear()
        rest = [keys.marks(shard, topic, generation) for shard in range(SHARDS)]
        await redis.unlink(*page, *rest, keys.log(topic, generation))
    return records
