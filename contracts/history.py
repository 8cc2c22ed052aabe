"""What is kept of a user's scores, as it is stored.

A trail is a header, the standings whose outcome is open, and points of eight bytes:

    header | standings | a UTC day's highest and last points | the last points, all of them

A point is the second of a score and one word: probability in millionths (20 bits), trigger (2),
standing (3), and a number of the model (7) that goes up by one with every other model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

from contracts.bands import CELLS, STANDINGS
from contracts.errors import Misconfigured
from contracts.scores import TRIGGERS
from contracts.times import DAY_MS, SECOND_MS

VERSION: Final = 1
MICRO: Final = 1_000_000

_HEADER: Final = Struct("<BBBBHIIIqqq")
_STANDING: Final = Struct("<HHB")
_POINT: Final = Struct("<II")
POINT_BYTES: Final = _POINT.size
_DAY_SECONDS: Final = DAY_MS // SECOND_MS
_MODELS: Final = 128


class Order(NamedTuple):
    """What orders one user's scores."""

    log: int
    offset: int
    scored_at: int


class Day(NamedTuple):
    """Where a user stood when a UTC day ended on which they were scored."""

    day: int
    """Since 1970."""
    horizon: int
    """Days without activity that the score was about."""
    cell: int


class StoredPoint(NamedTuple):
    """A score of the trail."""

    at: int
    """Epoch seconds."""
    millionths: int
    trigger: int
    """Index into contracts.scores.TRIGGERS."""
    standing: int
    """0..contracts.bands.STANDINGS-1"""
    model: int
    """Another than the point's before: the model changed in between."""


@dataclass(slots=True)
class Trail:
    """A user's scores as far as they are kept."""

    order: Order
    last_seen: int
    """Epoch ms, NEVER if unknown."""
    active_days: int
    """That the last score's evidence had."""
    model: int
    """CRC-32 of the last score's model version."""
    model_number: int
    cell: int
    """Where the user stands."""
    open: list[Day] = field(default_factory=list)
    """Standings since the user was last seen, oldest first: whether they come back is open."""
    days: bytes = b""
    """Points before the last ones: of each UTC day the highest and the last."""
    last: bytes = b""
    """The last points, all of them."""


def encode(trail: Trail) -> bytes:
    """Return the stored form; `decode` is the inverse."""
    order = trail.order
    header = _HEADER.pack(
        VERSION,
        trail.cell,
        trail.model_number,
        len(trail.open),
        len(trail.last) // POINT_BYTES,
        order.log,
        trail.active_days,
        trail.model,
        order.offset,
        order.scored_at,
        trail.last_seen,
    )
    return b"".join((header, *(_STANDING.pack(*day) for day in trail.open), trail.days, trail.last))


def decode(stored: bytes) -> Trail:
    """Read what `encode` wrote; raises Misconfigured for what another release wrote."""
    if stored[:1] != bytes([VERSION]) or len(stored) < _HEADER.size:
        raise Misconfigured(
            f"Redis holds a score history of version {stored[0] if stored else '?'}, this release "
            f"reads {VERSION}: run the release that wrote it or a newer one, or delete the key"
        )
    (_, cell, number, standings, points, log, active_days, model, offset, scored_at, last_seen) = (
        _HEADER.unpack_from(stored)
    )
    begin = _HEADER.size + standings * _STANDING.size
    last = len(stored) - points * POINT_BYTES
    if last < begin or (last - begin) % POINT_BYTES or cell >= CELLS:
        raise Misconfigured(
            "Redis holds a score history that cannot be read: restore Redis from a copy, or "
            "delete the key to forget the history"
        )
    return Trail(
        order=Order(log, offset, scored_at),
        last_seen=last_seen,
        active_days=active_days,
        model=model,
        model_number=number,
        cell=cell,
        open=[Day(*each) for each in _STANDING.iter_unpack(stored[_HEADER.size : begin])],
        days=stored[begin:last],
        last=stored[last:],
    )


def pack_point(scored_at: int, millionths: int, trigger: int, standing: int, model: int) -> bytes:
    """A point, of a score at epoch ms; whole seconds are kept."""
    word = millionths | trigger << 20 | standing << 22 | (model % _MODELS) << 25
    return _POINT.pack(scored_at // SECOND_MS, word)


def next_model(number: int) -> int:
    """The number of the model that comes after."""
    return (number + 1) % _MODELS


def points(stored: bytes) -> Iterator[StoredPoint]:
    """The points of `Trail.days` or `Trail.last`, in order."""
    for at, word in _POINT.iter_unpack(stored):
        yield StoredPoint(at, word & 0xFFFFF, word >> 20 & 3, word >> 22 & 7, word >> 25)


def thinned(days: bytes, leaving: bytes, most: int) -> bytes:
    """`days` with a point more, that is no longer among the last ones.

    Of each UTC day the highest point (of equals the first) and the last one stay; of more than
    `most` points the oldest go.
    """
    at, word = _POINT.unpack(leaving)
    day = at // _DAY_SECONDS
    kept = [leaving]
    end = len(days)
    # At most two points of the same day lie at the end: its highest, and its last.
    highest, found = leaving, word & 0xFFFFF
    for begin in (end - POINT_BYTES, end - 2 * POINT_BYTES):
        if begin < 0:
            break
        other = days[begin : begin + POINT_BYTES]
        other_at, other_word = _POINT.unpack(other)
        if other_at // _DAY_SECONDS != day:
            break
        end = begin
        if other_word & 0xFFFFF >= found:
            highest, found = other, other_word & 0xFFFFF
    if highest is not leaving:
        kept.insert(0, highest)
    grown = days[:end] + b"".join(kept)
    return grown[max(len(grown) - most * POINT_BYTES, 0) :]


assert len(TRIGGERS) <= 4, "two bits of a point"
assert STANDINGS <= 8, "three bits"
