"""The connection to Redis, as far as it needs none."""

from __future__ import annotations

import pytest
from redis.asyncio import Connection

from runtime.store import connect

_COMMANDS: list[tuple[str | bytes | int | float, ...]] = [
    ("GET", "user é"),
    (b"SET", b"\xff\r\n", 7, 0.1 + 0.2, "PX", 10**12),
    ("CONFIG GET", "maxmemory-policy"),
    ("MGET", *(f"user {number}" for number in range(3_000))),
    ("SET", "large", bytes(100_000)),
]


@pytest.mark.parametrize("url", ["redis://a:1/0", "rediss://a:1/0", "unix:///a"])
async def test_commands_are_written_as_redis_py_would(url: str) -> None:
    """To the byte, whatever the connection, and in one piece."""
    redis = connect(url)
    ours = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]

    for command in _COMMANDS:
        assert [b"".join(Connection().pack_command(*command))] == ours.pack_command(*command)
    await redis.aclose()
