"""Redis troubles under our own names; the only place that knows redis-py's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from contracts.errors import StoreUnavailable


@contextmanager
def redis_errors(doing: str) -> Iterator[None]:
    """Raise StoreUnavailable where redis-py or the socket gave up while `doing` something."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Redis, {doing}: {error}") from error
