"""Sorted sets by time, spread over shards, read together from the newest to the oldest.

A place in that order is (time, tie): `tie` is what Redis orders equal times by, or a part of the
members that orders them alike. So a page can be continued behind its last entry, whatever has come
meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from runtime.redis_errors import redis_errors

FIRST_CHUNK: Final = 16
LARGEST_CHUNK: Final = 256


class Place(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Where in the order an entry stands; what comes after it is smaller."""

    at: float
    """Epoch ms."""
    tie: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A member, where it stands, and the number of the set it is of."""

    place: Place
    source: int
    member: bytes


@dataclass(slots=True)
class _Lane:
    name: str
    source: int
    read: int = 0
    done: bool = False
    waiting: deque[Entry] = field(default_factory=deque)


async def newest_first(
    redis: Redis,
    names: Sequence[str],
    *,
    tie: Callable[[bytes], bytes] = bytes,
    after: Place | None = None,
    since: float | None = None,
    until: float | None = None,
) -> AsyncIterator[Entry]:
    """The members of all the sets; from `since` to `until` (epoch ms, both inclusive).

    Raises StoreUnavailable. Reads little at first and more at a time the longer it is asked.
    """
    highest: Any = min(
        [bound for bound in (until, None if after is None else after.at) if bound is not None],
        default="+inf",
    )
    lowest: Any = "-inf" if since is None else since
    lanes = [_Lane(name, i) for i, name in enumerate(names)]
    chunk = FIRST_CHUNK
    while True:
        hungry = [lane for lane in lanes if not lane.waiting and not lane.done]
        if hungry:
            with redis_errors("reading what was latest"):
                async with redis.pipeline(transaction=False) as pipe:
                    for lane in hungry:
                        pipe.zrange(
                            lane.name, highest, lowest, desc=True, byscore=True,
                            offset=lane.read, num=chunk, withscores=True,
                        )  # fmt: skip
                    answers = await pipe.execute()
            for lane, answer in zip(hungry, answers, strict=True):
                lane.read += len(answer)
                lane.done = len(answer) < chunk
                for member, at in answer:
                    place = Place(float(at), tie(member))
                    if after is None or place < after:
                        lane.waiting.append(Entry(place, lane.source, member))
            chunk = min(2 * chunk, LARGEST_CHUNK)
            continue
        filled = [lane for lane in lanes if lane.waiting]
        if not filled:
            return
        yield max(filled, key=lambda lane: lane.waiting[0].place).waiting.popleft()
