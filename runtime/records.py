"""Reading packed user records from Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from redis.asyncio import Redis

from contracts.errors import Misconfigured
from contracts.record import RECORD, RECORD_VERSION, blank_records
from runtime import keys
from runtime.redis_errors import redis_errors


class RecordStore:
    """The records of many users in one round trip."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def load(self, user_ids: Sequence[str]) -> np.ndarray:
        """(n,) RECORD in the order of `user_ids`, blank where nothing is known.

        Raises StoreUnavailable, and Misconfigured for a record of a newer release.
        """
        if not user_ids:
            return blank_records(0)
        with redis_errors("loading records"):
            values = await self._redis.mget([keys.record(user_id) for user_id in user_ids])
        return unpack(cast("list[bytes | None]", values))


_BLANK = blank_records(1).tobytes()


def unpack(values: Sequence[bytes | None]) -> np.ndarray:
    """(n,) RECORD, writable, from stored bytes; None is a blank record.

    Raises Misconfigured where the bytes are not a record of this release.
    """
    for value in values:
        if value is not None and (len(value) != RECORD.itemsize or value[0] != RECORD_VERSION):
            raise Misconfigured(
                f"Redis holds a user record of version {value[0] if value else '?'} with "
                f"{len(value)} bytes; this release reads version {RECORD_VERSION} with "
                f"{RECORD.itemsize}: upgrade Ebbtide, or run `ebbtide rebuild`"
            )
    packed = b"".join(_BLANK if value is None else value for value in values)
    return np.frombuffer(bytearray(packed), RECORD)
