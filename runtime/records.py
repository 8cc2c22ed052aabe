"""Reading packed user records from Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from redis.asyncio import Redis

from contracts.errors import Misconfigured
from contracts.record import OLDER_VERSIONS, RECORD, RECORD_VERSION, blank_records
from contracts.topics import ACTIVITY
from runtime import keys
from runtime.generations import Reader
from runtime.redis_errors import redis_errors


class RecordStore:
    """The records of many users in one round trip.

    `generation`: the only one to read, for who is about to write it; None follows what serves.
    """

    def __init__(self, redis: Redis, generation: int | None = None) -> None:
        self._reader = Reader(redis, ACTIVITY, generation)

    async def load(self, user_ids: Sequence[str]) -> np.ndarray:
        """(n,) RECORD in the order of `user_ids`, blank where nothing is known.

        Raises StoreUnavailable, Refused when another generation serves than the only one to read,
        and Misconfigured for a record of a newer release.
        """
        return unpack(await self.load_packed(user_ids))

    async def load_packed(self, user_ids: Sequence[str]) -> list[bytes | None]:
        """The records as they are stored."""
        if not user_ids:
            return []
        with redis_errors("loading records"):
            return await self._reader.strings(keys.record, user_ids)


Upgrades = Mapping[int, Callable[[bytes], bytes]]
"""Older version to what turns its bytes into a record of this release."""

_BLANK = blank_records(1).tobytes()


def unpack(values: Sequence[bytes | None], older: Upgrades = OLDER_VERSIONS) -> np.ndarray:
    """(n,) RECORD, writable, from stored bytes; None is a blank record.

    Raises Misconfigured where the bytes are of a version this release does not know.
    """
    rows = []
    for value in values:
        if value is None:
            rows.append(_BLANK)
        elif len(value) == RECORD.itemsize and value[0] == RECORD_VERSION:
            rows.append(value)
        elif value and value[0] in older:
            rows.append(older[value[0]](value))
        else:
            raise Misconfigured(
                f"Redis holds a user record of version {value[0] if value else '?'} with "
                f"{len(value)} bytes; this release reads version {RECORD_VERSION} with "
                f"{RECORD.itemsize} and versions {sorted(older)}: upgrade Ebbtide, or run "
                "`ebbtide rebuild`"
            )
    return np.frombuffer(bytearray(b"".join(rows)), RECORD)
