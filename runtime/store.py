"""The connection to Redis, and the check that it may be trusted with facts.

One server or a Redis Cluster: the address decides, and everything above sees one client. What
differs between them is how many keys one command may name, and that is `shard_groups`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, cast

from redis.asyncio import Redis, RedisCluster
from redis.connection import HiredisRespSerializer
from redis.exceptions import NoPermissionError, ResponseError

from contracts.errors import Misconfigured
from contracts.partition import SHARDS
from runtime import keys
from runtime.redis_errors import redis_errors

CONNECT_SECONDS = 2.0
CLUSTER_SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}

_SERIALIZER = HiredisRespSerializer()

_ONE_SERVER = (tuple(range(SHARDS)),)
_CLUSTER = tuple((shard,) for shard in range(SHARDS))


class _Cluster(RedisCluster):
    """redis-py's cluster client, which may be used by many tasks from its first command on.

    Without knowing the slots it would send keyed commands to random nodes, and be redirected.
    """

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        await self.initialize()  # at once where that is done
        return await super().execute_command(*args, **kwargs)


class _PacksInC:
    """A connection that writes commands by hiredis.

    redis-py's for asyncio only read by it and write in Python, where a command of some thousand
    arguments takes eight times as long.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        return cast("list[bytes]", _SERIALIZER.pack(*args))


def connect(url: str, *, timeout_seconds: float = 10.0) -> Redis:
    """Return a client of bytes; connects when first used, retries once after a lost connection.

    `redis+cluster://` and `rediss+cluster://` name any node of a Redis Cluster.
    """
    scheme, separator, address = url.partition("://")
    if scheme not in CLUSTER_SCHEMES:
        redis = Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=CONNECT_SECONDS,
            health_check_interval=30,
        )
        pool = redis.connection_pool
        kind = pool.connection_class
        pool.connection_class = type(kind.__name__, (_PacksInC, kind), {})
        return redis
    cluster = _Cluster.from_url(
        f"{CLUSTER_SCHEMES[scheme]}{separator}{address}",
        socket_timeout=timeout_seconds,
        socket_connect_timeout=CONNECT_SECONDS,
        health_check_interval=30,
        # A node that is away takes its own shards with it and nobody else's.
        require_full_coverage=False,
        # A redirection corrects the one slot; by default every fifth closes all connections, also
        # those in use.
        reinitialize_steps=0,
    )
    # Not a subclass, but the commands we use are there under the same names.
    return cast("Redis", cluster)


def shard_groups(redis: Redis) -> tuple[tuple[int, ...], ...]:
    """The shards, in groups whose keys one command or script may name together."""
    return _CLUSTER if isinstance(redis, RedisCluster) else _ONE_SERVER


async def mget(redis: Redis, names: Sequence[str]) -> list[bytes | None]:
    """The strings of any shards' keys, in order; those of one shard are read at one moment."""
    groups = shard_groups(redis)
    if len(groups) == 1:  # spares the sorting below, which would be a fifth of a load
        return cast("list[bytes | None]", await redis.mget(names)) if names else []
    group_of = {shard: i for i, group in enumerate(groups) for shard in group}
    places: dict[int, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(group_of[keys.shard_in(name)], []).append(place)
    answers = await asyncio.gather(
        *(redis.mget([names[place] for place in of_group]) for of_group in places.values())
    )
    found = [
        (place, value)
        for of_group, answer in zip(places.values(), answers, strict=True)
        for place, value in zip(of_group, answer, strict=True)
    ]
    return [cast("bytes | None", value) for _, value in sorted(found, key=itemgetter(0))]


async def check_policy(redis: Redis) -> None:
    """Raise Misconfigured if Redis may drop keys by itself: an evicted record is a lost user."""
    with redis_errors("reading its maxmemory-policy"):
        try:
            if isinstance(redis, RedisCluster):
                answers = list(
                    (await redis.config_get("maxmemory-policy", target_nodes="primaries")).values()
                )
            else:
                answers = [await redis.config_get("maxmemory-policy")]
        except (NoPermissionError, ResponseError):
            return  # managed services hide CONFIG; their own console shows the policy
    for answer in answers:
        policy = answer.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            raise Misconfigured(
                f"Redis runs maxmemory-policy {policy} and would drop users when memory is short: "
                "set `maxmemory-policy noeviction` and start again"
            )


def text(value: bytes | str) -> str:
    """A Redis answer as text, whichever way the client was told to decode."""
    return value if isinstance(value, str) else value.decode()
