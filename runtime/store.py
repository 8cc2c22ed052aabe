"""The connection to Redis, and the check that it may be trusted with facts."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from contracts.errors import Misconfigured
from runtime.redis_errors import redis_errors

CONNECT_SECONDS = 2.0


def connect(url: str, *, timeout_seconds: float = 10.0) -> Redis:
    """Return a client of bytes; connects when first used, retries once after a lost connection."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=CONNECT_SECONDS,
        health_check_interval=30,
    )


async def check_policy(redis: Redis) -> None:
    """Raise Misconfigured if Redis may drop keys by itself: an evicted record is a lost user."""
    with redis_errors("reading its maxmemory-policy"):
        try:
            answer = await redis.config_get("maxmemory-policy")
        except (NoPermissionError, ResponseError):
            return  # managed services hide CONFIG; their own console shows the policy
    policy = answer.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise Misconfigured(
            f"Redis runs maxmemory-policy {policy} and would drop users when memory is short: "
            "set `maxmemory-policy noeviction` and start again"
        )


def text(value: bytes | str) -> str:
    """A Redis answer as text, whichever way the client was told to decode."""
    return value if isinstance(value, str) else value.decode()
