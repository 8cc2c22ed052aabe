"""The form of a dead letter: how a record that could not be used lies in its dead-letter topic.

Usually the letter is the record: its key, its value, its headers as `original-<name>`, and beside
them the reason and the place. A record too large for that is packed and cut into parts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from contracts.times import EARLIEST_MS, LATEST_MS, from_ms
from contracts.topics import (
    ORIGINAL_PREFIX,
    PART_HEADER,
    REASON_HEADER,
    REPLAYED_HEADER,
    SOURCE_HEADER,
    TIME_HEADER,
    cloud_event_headers,
    dead_letter,
)
from runtime.handler import Record
from runtime.kafka import Message

MAX_LETTER_BYTES: Final = 900_000
"""Room for the headers we add below the megabyte a broker takes by default."""
PART_BYTES: Final = 500_000
_REASON_BYTES: Final = 2_000
_KEY_BYTES: Final = 1_000
_HEADER_BYTES: Final = len(ORIGINAL_PREFIX) + 10
"""What a header takes besides its name and value."""


@dataclass(frozen=True, slots=True)
class BadLetter:
    """A record that could not be used, and why."""

    record: Record
    reason: str


class Original(msgspec.Struct, frozen=True, array_like=True):
    """The record as its producer sent it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it was read back."""

    partition: int
    """Where it lies in the dead-letter topic, as `offset`."""
    offset: int
    topic: str
    source: str
    """log:partition:offset of the record; log is Ebbtide's number of the topic."""
    reason: str
    original: Original
    replayed: bool = False

    @property
    def id(self) -> str:
        """What the command line calls it."""
        return f"{self.partition}:{self.offset}"

    @property
    def source_partition(self) -> int:
        """The partition the record came from."""
        return int(self.source.split(":")[1])


def pack(topic: str, log: int, bad: BadLetter) -> list[Message]:
    """The messages of a letter, in order: one, or the parts of a record that is too large."""
    record = bad.record
    place = f"{log}:{record.partition}:{record.offset}"
    # Whatever a producer made up must not stop the parking of it: -1, or the year 50,000.
    time = min(max(record.timestamp, EARLIEST_MS), LATEST_MS - 1)
    reason = bad.reason.encode("utf-8", "backslashreplace")[:_REASON_BYTES]
    headers: list[tuple[str, bytes | None]] = [
        *cloud_event_headers(
            event_id=place,
            source=f"/ebbtide/{topic}",
            kind=f"ebbtide.{dead_letter(topic)}",
            time=from_ms(time).isoformat(),
        ),
        (REASON_HEADER, reason),
        (SOURCE_HEADER, f"{topic}:{place}".encode()),
        (TIME_HEADER, str(record.timestamp).encode()),
    ]
    if _size(record) <= MAX_LETTER_BYTES:
        originals = [(ORIGINAL_PREFIX + name, value) for name, value in record.headers]
        return [Message(record.key, record.value, time, _sendable([*headers, *originals]))]
    packed = msgspec.msgpack.encode(
        Original(record.key, record.value, tuple(record.headers), record.timestamp)
    )
    parts = [packed[at : at + PART_BYTES] for at in range(0, len(packed), PART_BYTES)]
    return [
        Message(
            None if record.key is None else record.key[:_KEY_BYTES],
            part,
            time,
            _sendable([*headers, (PART_HEADER, f"{number}/{len(parts)}".encode())]),
        )
        for number, part in enumerate(parts, 1)
    ]


def note_of_replay(letter: Letter, now_ms: int) -> Message:
    """What is added to the letter's partition once its record went back."""
    note = [(REPLAYED_HEADER, letter.id.encode())]
    return Message(letter.original.key and letter.original.key[:_KEY_BYTES], None, now_ms, note)


def unpack(records: Iterable[Record]) -> list[Letter]:
    """The letters in a partition of a dead-letter topic, from its records in order.

    A letter parked twice, because a worker died in between, is told once, at its first place. What
    is no letter of ours, or has parts missing, is passed over.
    """
    unpacker, fates = Unpacker(), Fates()
    letters = []
    for record in records:
        found = unpacker.take(record)
        fates.note(found)
        if isinstance(found, Letter):
            letters.append(found)
    return [told for letter in letters if (told := fates.of(letter)) is not None]


@dataclass(frozen=True, slots=True)
class WentBack:
    """A note that a letter's record was sent back."""

    letter_id: str


class Unpacker:
    """Turns the records of one partition, in order, into letters and notes about them."""

    def __init__(self) -> None:
        self._parts = _Parts()

    def take(self, record: Record) -> Letter | WentBack | None:
        """What the record completes, None for a part, or for what is not ours."""
        headers = dict(record.headers)
        if REPLAYED_HEADER in headers:
            return WentBack(headers[REPLAYED_HEADER].decode("utf-8", "replace"))
        place = _PLACE.fullmatch(headers.get(SOURCE_HEADER) or b"")
        if place is None:
            return None
        topic, source = (group.decode() for group in place.groups())
        offset, original = record.offset, _whole(record, headers)
        if PART_HEADER in headers:
            complete = self._parts.put(source, record, headers[PART_HEADER])
            if complete is None:
                return None
            offset, original = complete
        reason = (headers.get(REASON_HEADER) or b"?").decode("utf-8", "replace")
        return Letter(record.partition, offset, topic, source, reason, original)


class Fates:
    """What became of the letters of one partition, known once all of it was seen.

    Keeps some bytes of each letter, whatever its size.
    """

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}
        """Digest of a letter to where it was parked first."""
        self._same: dict[str, str] = {}
        """Where it was parked again, to where first."""
        self._went_back: set[str] = set()

    def note(self, found: Letter | WentBack | None) -> None:
        """Take in what the next record completed."""
        match found:
            case Letter():
                first = self._first.setdefault(_digest(found), found.id)
                if first != found.id:
                    self._same[found.id] = first
            case WentBack(letter_id):
                self._went_back.add(self._same.get(letter_id, letter_id))

    def of(self, letter: Letter) -> Letter | None:
        """The letter with what became of it, None where it is told at another place."""
        if letter.id in self._same:
            return None
        return replace(letter, replayed=letter.id in self._went_back)


def _digest(letter: Letter) -> bytes:
    content = msgspec.msgpack.encode((letter.source, letter.original))
    return hashlib.blake2b(content, digest_size=16).digest()


class _Parts:
    """Parts of letters until the last has come; two workers may have parked one at a time."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[int, dict[int, bytes]]] = {}

    def put(self, source: str, record: Record, part: bytes) -> tuple[int, Original] | None:
        """Take a part; the offset of the first one and the record, once it is whole."""
        numbers = _PART.fullmatch(part)
        if numbers is None:
            return None
        number, count = map(int, numbers.groups())
        begun, parts = self._pending.setdefault(source, (record.offset, {}))
        parts[number] = record.value or b""
        if len(parts) < count:
            return None
        del self._pending[source]
        packed = b"".join(parts[number] for number in sorted(parts))
        try:
            return begun, msgspec.msgpack.decode(packed, type=Original)
        except msgspec.MsgspecError:
            return None


_PLACE = re.compile(rb"([^:]+):(\d+:\d+:\d+)")
_PART = re.compile(rb"(\d+)/(\d+)")


def _whole(record: Record, headers: Mapping[str, bytes]) -> Original:
    originals = tuple(
        (name.removeprefix(ORIGINAL_PREFIX), value)
        for name, value in record.headers
        if name.startswith(ORIGINAL_PREFIX)
    )
    told = headers.get(TIME_HEADER) or b""
    timestamp = int(told) if _TIME.fullmatch(told) else record.timestamp
    return Original(record.key, record.value, originals, timestamp)


_TIME = re.compile(rb"-?\d{1,19}")


def _size(record: Record) -> int:
    headers = sum(
        len(name.encode()) + len(value or b"") + _HEADER_BYTES for name, value in record.headers
    )
    return len(record.key or b"") + len(record.value or b"") + headers


def _sendable(headers: Sequence[tuple[str, bytes | None]]) -> list[tuple[str, bytes]]:
    # Kafka knows headers without value, and aiokafka sends them; its types do not say so.
    return list(headers)  # type: ignore[arg-type]
