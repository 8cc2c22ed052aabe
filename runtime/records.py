"""Reading packed user records from Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from typing import Final

import numpy as np
from redis.asyncio import Redis

from contracts import packing
from contracts.errors import Misconfigured
from contracts.partition import SHARDS
from contracts.partition import shard as shard_of
from contracts.record import OLDER_VERSIONS, RECORD, RECORD_VERSION, blank_records
from contracts.topics import ACTIVITY
from runtime import keys
from runtime.generations import Reader
from runtime.ledger import Marks
from runtime.redis_errors import redis_errors
from runtime.together import Together
from runtime.unmoved import Unmoved

USERS_TOGETHER: Final = 1_000
"""Of batches whose records are read in one round trip."""


class RecordStore:
    """The records of many users in one round trip.

    `generation`: the only one to read, for who is about to write it; None follows what serves.
    """

    def __init__(self, redis: Redis, generation: int | None = None) -> None:
        self._reader = Reader(redis, ACTIVITY, generation)
        self._loads = Together(self._load, size=len, most=USERS_TOGETHER)
        self._unmoved = Unmoved(redis, ACTIVITY)

    async def load(self, user_ids: Sequence[str]) -> np.ndarray:
        """(n,) RECORD in the order of `user_ids`, blank where nothing is known.

        Raises StoreUnavailable, Refused when another generation serves than the only one to read,
        and Misconfigured for a record of a newer release.
        """
        return await self._loads.ask(user_ids)

    async def load_at(self, marks: Marks, user_ids: Sequence[str]) -> np.ndarray:
        """The same of the marks' generation, read while these marks stood; else raises Refused."""
        prefixes = [keys.record_prefix(shard, marks.generation) for shard in range(SHARDS)]
        names = [prefixes[shard_of(user_id)] + user_id for user_id in user_ids]
        return unpack(await self._unmoved.strings(names, marks))

    async def _load(self, asked: Sequence[Sequence[str]]) -> list[np.ndarray]:
        records = unpack(await self.load_packed(list(chain.from_iterable(asked))))
        bounds = pairwise(accumulate(map(len, asked), initial=0))
        return [records[start:end] for start, end in bounds]

    async def load_packed(self, user_ids: Sequence[str]) -> list[bytes | None]:
        """The records as they are stored."""
        if not user_ids:
            return []
        with redis_errors("loading records"):
            return await self._reader.strings(keys.record_prefix, user_ids)


Upgrades = Mapping[int, Callable[[bytes], bytes]]
"""Older version to what turns its stored bytes into the bytes of a RECORD of this release."""

_BLANK = packing.pack(blank_records(1))[0]
_CURRENT = bytes([RECORD_VERSION])


def unpack(values: Sequence[bytes | None], older: Upgrades = OLDER_VERSIONS) -> np.ndarray:
    """(n,) RECORD, writable, from stored bytes; None is a blank record.

    Raises Misconfigured where the bytes are of a version this release does not know.
    """
    current = [_BLANK if value is None else value for value in values]
    others = [i for i, value in enumerate(current) if value[:1] != _CURRENT]
    of_others = []
    for i in others:
        of_others.append(_upgraded(current[i], older))
        current[i] = _BLANK
    try:
        records = packing.unpack(current)
    except ValueError as error:
        raise Misconfigured(
            f"Redis holds {error}: a newer Ebbtide wrote it, or it is damaged; upgrade, or run "
            "`ebbtide rebuild`"
        ) from None
    if others:
        records[others] = np.frombuffer(b"".join(of_others), RECORD)
    return records


def _upgraded(value: bytes, older: Upgrades) -> bytes:
    row = older[value[0]](value) if value and value[0] in older else b""
    if len(row) != RECORD.itemsize:
        raise Misconfigured(
            f"Redis holds a user record of version {value[0] if value else '?'} with "
            f"{len(value)} bytes; this release reads version {RECORD_VERSION} and versions "
            f"{sorted(older)}: upgrade Ebbtide, or run `ebbtide rebuild`"
        )
    return row
