"""Redis troubles under our own names; the only place that knows redis-py's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisClusterException, RedisError

from contracts.errors import StoreUnavailable


@contextmanager
def redis_errors(doing: str) -> Iterator[None]:
    """Raise StoreUnavailable where redis-py or the socket gave up while `doing` something."""
    try:
        yield
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Redis, {doing}: {error}") from error
    except RuntimeError as error:
        # uvloop's word for a connection that broke between two commands.
        if "the handler is closed" not in str(error):
            raise
        raise StoreUnavailable(f"Redis, {doing}: {error}") from error
    except AttributeError as error:
        # When the cluster client learns of another topology it closes its connections under those
        # who are just opening them, and they meet a writer that is None.
        if not _raised_in_redis_py(error):
            raise
        raise StoreUnavailable(f"Redis, {doing}: the connection was closed meanwhile") from error


def _raised_in_redis_py(error: AttributeError) -> bool:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and str(frame.tb_frame.f_globals["__name__"]).startswith("redis.")
