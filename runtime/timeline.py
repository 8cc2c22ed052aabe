"""A user's last events: how the history service keeps them, and how the gateway reads them.

A list in Redis, in log order. One entry is some 15 bytes: a byte of flags (bits 0 to 3: pages,
seconds, cents and a type of one's own follow; bits 4 and 5: the login state; bits 6 and 7: the
version, 0), the time in whole seconds and 32 bits of the event id's hash as little-endian u4, the
type (a byte into `NAMED_TYPES`, or its length and its UTF-8), and what follows as varints.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import structlog
from redis.asyncio import Redis

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import EVENT_ROW, NAMED_TYPES, NO_VALUE, RowTuple
from contracts.partition import shard as shard_of
from contracts.record import ID_WINDOW, UNKNOWN
from contracts.times import NEVER
from contracts.topics import ACTIVITY
from runtime import keys
from runtime.generations import Reader
from runtime.ledger import Mark
from runtime.store import text

logger = structlog.get_logger(__name__)

LEDGER: Final = f"{ACTIVITY}.timeline"
"""Name of the watermarks of who fills the lists."""

_PAGES, _SECONDS, _CENTS, _TEXT = 1, 2, 4, 8
_LOGIN_SHIFT: Final = 4
_VERSION_SHIFT: Final = 6
_HEAD: Final = struct.Struct("<BII")
_ROW: Final = EVENT_ROW.names or ()
_OCCURRED_AT, _ID_AT, _CENTS_AT, _PAGES_AT, _SECONDS_AT, _LOGIN_AT = (
    _ROW.index(name) for name in ("occurred_at", "id", "cents", "pages", "seconds", "login")
)
_SLOTS: Final = {name: slot for slot, name in enumerate(NAMED_TYPES)}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An event as far as the timeline keeps it."""

    occurred_at: int
    """Epoch seconds."""
    id: int
    """The low 32 bits of `contracts.events.id_hash`."""
    type: str
    pages: int = 0
    seconds: int = 0
    cents: int | None = None
    login: int = UNKNOWN
    """As in `contracts.record`."""


class Stored(msgspec.Struct, frozen=True):
    """What lies in Redis of one user."""

    entries: tuple[Entry, ...]
    """In log order."""
    mark: Mark | None
    """The next record of the user's partition that the lists do not hold; None: nobody fills
    them."""


def entry_of(event_type: str, values: RowTuple) -> Entry:
    """What to keep of an event; `values` as `contracts.events.row` makes them."""
    cents = values[_CENTS_AT]
    return Entry(
        occurred_at=values[_OCCURRED_AT] // 1000,
        id=values[_ID_AT] & 0xFFFFFFFF,
        type=event_type,
        pages=values[_PAGES_AT],
        seconds=values[_SECONDS_AT],
        cents=None if cents == NO_VALUE else cents,
        login=values[_LOGIN_AT],
    )


def pack(entry: Entry) -> bytes:
    """Return the entry as it is stored."""
    slot = _SLOTS.get(entry.type)
    flags = entry.login << _LOGIN_SHIFT
    rest = bytearray()
    if slot is None:
        flags |= _TEXT
        name = entry.type.encode()
        _put(rest, len(name))
        rest += name
    else:
        rest.append(slot)
    if entry.pages:
        flags |= _PAGES
        _put(rest, entry.pages)
    if entry.seconds:
        flags |= _SECONDS
        _put(rest, entry.seconds)
    if entry.cents is not None:
        flags |= _CENTS
        _put(rest, entry.cents * 2 if entry.cents >= 0 else -entry.cents * 2 - 1)
    return _HEAD.pack(flags, entry.occurred_at, entry.id) + rest


def unpack(stored: bytes) -> Entry:
    """Read what `pack` wrote; raises BadRecord for anything else."""
    try:
        flags, occurred_at, event_id = _HEAD.unpack_from(stored)
        if flags >> _VERSION_SHIFT:
            raise BadRecord(f"an event of version {flags >> _VERSION_SHIFT}; 0 is read")
        at = _HEAD.size
        number, at = _take(stored, at)
        if flags & _TEXT:
            kind = stored[at : at + number].decode()
            at += number
        else:
            kind = NAMED_TYPES[number]
        pages, at = _take(stored, at) if flags & _PAGES else (0, at)
        seconds, at = _take(stored, at) if flags & _SECONDS else (0, at)
        cents = None
        if flags & _CENTS:
            folded, at = _take(stored, at)
            cents = -(folded + 1) // 2 if folded & 1 else folded // 2
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise BadRecord(f"not an event of a timeline: {error}") from None
    return Entry(
        occurred_at=occurred_at,
        id=event_id,
        type=kind,
        pages=pages,
        seconds=seconds,
        cents=cents,
        login=flags >> _LOGIN_SHIFT & 3,
    )


def counted(entries: Iterable[Entry]) -> list[Entry]:
    """Without those whose id is among the 16 before it: the fold drops them, too."""
    window: deque[int] = deque(maxlen=ID_WINDOW)
    kept = []
    for entry in entries:
        if entry.id not in window:
            window.append(entry.id)
            kept.append(entry)
    return kept


def of_this_life(entries: Sequence[Entry], first_seen: int, rules: FoldRules) -> Sequence[Entry]:
    """Those of the life that began at `first_seen` (epoch ms, NEVER: no activity yet).

    What a user did before they were erased, or away for longer than the retention, is nothing the
    record knows. An activity from before the first of the record's shows where that ended.
    """
    begins = 0
    for i, entry in enumerate(entries):
        earlier = first_seen == NEVER or entry.occurred_at < first_seen // 1000
        if earlier and is_activity(entry.type, rules):
            begins = i + 1
    return entries[begins:]


def is_activity(event_type: str, rules: FoldRules) -> bool:
    """Whether the fold counts such an event as something the user did."""
    return event_type != "snapshot" and rules.is_activity(event_type)


class Timelines:
    """Reads them."""

    def __init__(self, redis: Redis) -> None:
        self._reader = Reader(redis, ACTIVITY)

    async def of(self, user_id: str, partition: int) -> Stored:
        """The last events of a user who lives in a partition; raises StoreUnavailable.

        An entry of another release is passed over.
        """
        shard = shard_of(user_id)
        # The mark first: the list holds what the mark says, and perhaps more.
        [mark] = await self._reader.answers(
            lambda pipe, _, generation: pipe.hget(
                keys.marks(shard, LEDGER, generation), str(partition)
            ),
            [shard],
        )
        [values] = await self._reader.answers(
            lambda pipe, _, generation: pipe.lrange(keys.timeline(user_id, generation), 0, -1),
            [shard],
        )
        entries = tuple(entry for value in values if (entry := _readable(value)) is not None)
        return Stored(entries, None if mark is None else Mark.parse(text(mark)))


def _put(into: bytearray, number: int) -> None:
    """Append a number from 0 on, 7 bits a byte, the lowest first."""
    while number > 0x7F:
        into.append(number & 0x7F | 0x80)
        number >>= 7
    into.append(number)


def _take(stored: bytes, at: int) -> tuple[int, int]:
    """The number that `_put` wrote at a place, and the place behind it."""
    number = shift = 0
    while True:
        byte = stored[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte <= 0x7F:
            return number, at
        shift += 7


def _readable(stored: bytes) -> Entry | None:
    try:
        return unpack(stored)
    except BadRecord as bad:
        logger.warning("timeline_unreadable", reason=bad.reason)
        return None
