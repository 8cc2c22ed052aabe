"""What counts as Redis being away."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from contracts.errors import StoreUnavailable
from runtime.redis_errors import redis_errors


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("gone"),
        ConnectionResetError("gone"),
        TimeoutError(),
        # As uvloop raises it when a connection broke between two commands.
        RuntimeError(
            "unable to perform operation on <TCPTransport closed=True reading=False 0x55ee>; "
            "the handler is closed"
        ),
    ],
)
def test_a_broken_connection_is_a_store_that_is_away(error: Exception) -> None:
    """Whatever the client or the event loop calls it, the worker waits and tries again."""
    with pytest.raises(StoreUnavailable, match="Redis, saving"), redis_errors("saving"):
        raise error


def test_a_bug_stays_a_bug() -> None:
    """Any other RuntimeError is not taken for a store that is away."""
    with pytest.raises(RuntimeError, match="a bug"), redis_errors("saving"):
        raise RuntimeError("a bug")
