"""Reading the indexes of users in their order, piece by piece.

Everybody stands in one of the streams (shard, class) of an index, highest value first, equal values
by user id, highest first. A `Place` is a user in that order; what lies behind it is found whether
or not that user still stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from redis.asyncio import Redis

from contracts.partition import SHARDS
from contracts.ranks import CLASSES, RISK_SPAN, WORTH_SPAN
from contracts.topics import ACTIVITY
from runtime import keys
from runtime.generations import Ask, Reader
from runtime.redis_errors import redis_errors
from runtime.store import text


@dataclass(frozen=True)
class Index:
    """A sorted set in each shard, and its span (`contracts.ranks`)."""

    key: Callable[[int, int], str]
    span: float


BY_RISK: Final = Index(keys.rank, RISK_SPAN)
BY_WORTH: Final = Index(keys.worth, WORTH_SPAN)

TIES: Final = 32
"""Users of the same value as a place that are read with what lies behind it; of more, the place
among them is looked for."""
MARGIN: Final = 16
"""Entries read twice around a place that was looked for: others may have come or gone meanwhile."""


class Place(NamedTuple):
    """A user in the order of an index: highest first."""

    value: float
    user_id: str


class Stream(NamedTuple):
    """The users of one class in one shard."""

    shard: int
    of_class: int


@dataclass(frozen=True)
class Piece:
    """Users of a stream, in order; `is_last`: nobody lies behind them."""

    entries: list[Place]
    is_last: bool


class UserRanks:
    """The indexes, as the serving generation has them. Everything raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._reader = Reader(redis, ACTIVITY)

    async def counts(self, index: Index) -> list[int]:
        """Users of each class."""
        low_high = [(-c * index.span, -c * index.span + index.span / 2) for c in range(CLASSES)]
        asked = [
            (shard, _count(index, low, high)) for shard in range(SHARDS) for low, high in low_high
        ]
        with redis_errors("counting users"):
            answers = await self._reader.to_each(asked)
        return [sum(answers[c::CLASSES]) for c in range(CLASSES)]

    async def behind(
        self, index: Index, places: Mapping[Stream, Place | None], count: int
    ) -> dict[Stream, Piece]:
        """Of each stream the users behind a place, or from its beginning: `count` or a few more."""
        streams = list(places)
        tops = [_top(index, stream, places[stream]) for stream in streams]
        lengths = [count if places[stream] is None else count + TIES for stream in streams]
        asked = [
            (stream.shard, _read(index, top, -stream.of_class * index.span, length))
            for stream, top, length in zip(streams, tops, lengths, strict=True)
        ]
        with redis_errors("reading the ranks"):
            answers = await self._reader.to_each(asked)
        found = {}
        for stream, answer, length in zip(streams, answers, lengths, strict=True):
            piece = _piece(index, stream, answer, places[stream], len(answer) < length)
            if not piece.entries and not piece.is_last:
                place = places[stream]
                assert place is not None
                piece = await self._behind_many(index, stream, place, length)
            found[stream] = piece
        return found

    async def _behind_many(self, index: Index, stream: Stream, place: Place, length: int) -> Piece:
        """The same where more users have the place's value than are read at once."""
        score = _top(index, stream, place)
        bottom = -stream.of_class * index.span

        async def at(first: int, last: int) -> list[tuple[bytes, float]]:
            with redis_errors("reading the ranks"):
                [answer] = await self._reader.to_each([(stream.shard, _range(index, first, last))])
            return list(answer)

        with redis_errors("counting users"):
            higher, as_high = await self._reader.to_each(
                [
                    (stream.shard, _count(index, f"({score!r}", "+inf")),
                    (stream.shard, _count(index, score, "+inf")),
                ]
            )
        while as_high - higher > TIES:
            middle = (higher + as_high) // 2
            entry = await at(middle, middle)
            if _piece(index, stream, entry, None, False).entries[:1] >= [place]:
                higher = middle
            else:
                as_high = middle
        first = max(higher - MARGIN, 0)
        last = higher + length + MARGIN
        answer = await at(first, last)
        within = [entry for entry in answer if entry[1] >= bottom]
        is_last = len(within) < len(answer) or len(answer) < last - first + 1
        return _piece(index, stream, within, place, is_last)


def _top(index: Index, stream: Stream, place: Place | None) -> float:
    if place is None:
        return -stream.of_class * index.span + index.span / 2
    return place.value - stream.of_class * index.span


def _piece(
    index: Index,
    stream: Stream,
    answer: Sequence[tuple[bytes, float]],
    place: Place | None,
    is_last: bool,
) -> Piece:
    below = stream.of_class * index.span
    if below:
        # Back to the digits it was written with, so that a place is the same wherever it is read.
        entries = [Place(round(score + below, 6), text(user)) for user, score in answer]
    else:
        entries = [Place(score, text(user)) for user, score in answer]
    if place is not None:
        entries = [entry for entry in entries if entry < place]
    return Piece(entries, is_last)


def _count(index: Index, low: float | str, high: float | str) -> Ask:
    return lambda pipe, shard, generation: pipe.zcount(index.key(shard, generation), low, high)


def _read(index: Index, top: float, bottom: float, length: int) -> Ask:
    return lambda pipe, shard, generation: pipe.zrange(
        index.key(shard, generation), top, bottom,
        desc=True, withscores=True, byscore=True, offset=0, num=length,
    )  # fmt: skip


def _range(index: Index, first: int, last: int) -> Ask:
    return lambda pipe, shard, generation: pipe.zrange(
        index.key(shard, generation), first, last, desc=True, withscores=True
    )
