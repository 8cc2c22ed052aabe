"""From Kafka records to rows `fold` can take, and what has to go elsewhere.

Pure: a record and its place decide everything, so that a replay reads the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import (
    EVENT_ROW,
    ActivityEvent,
    LogPlace,
    RowTuple,
    decode,
    row,
    tombstone_row,
)
from contracts.partition import home, shard
from contracts.record import ID_WINDOW
from contracts.times import EARLIEST_MS, LATEST_MS, NEVER
from contracts.topics import CLOCK_HEADER
from runtime.dead_letters import BadLetter
from runtime.handler import Record
from runtime.kafka import Message
from runtime.ledger import Marks

MAX_AWAY = ID_WINDOW // 2
"""Records of one user sent home between two saves.

A crash before the save sends them again, and the duplicate window of their fold has to reach back
over all of them and over what arrived meanwhile.
"""


@dataclass(slots=True)
class Reading:
    """What a batch of records comes to."""

    taken: int = 0
    """How many of the records were read, from the first on; the others are for another reading."""
    user_ids: list[str] = field(default_factory=list)
    """Each user once, in order of first appearance."""
    user: list[int] = field(default_factory=list)
    """Index into `user_ids` of each row."""
    rows: list[RowTuple] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """Category names stated in the batch."""
    away: list[Message] = field(default_factory=list)
    """Records that another partitioner put here, ready to be published at home."""
    bad: list[BadLetter] = field(default_factory=list)
    verdicts: list[tuple[bool, bytes | None]] = field(default_factory=list)
    """(usable, key) of each fresh record in order: what a run of bad ones is judged by."""
    log_time: int = NEVER
    """Latest timestamp of a usable record: what an unusable one says must not move the clock."""

    def reach(self, timestamp: int) -> None:
        """Move the log time on to a usable record's timestamp, if it is a time at all."""
        if EARLIEST_MS <= timestamp < LATEST_MS:
            self.log_time = max(self.log_time, timestamp)

    def events(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) EVENT_ROW in log order and (n,) index of each row's user."""
        return np.array(self.rows, EVENT_ROW), np.array(self.user, np.intp)


@dataclass(frozen=True, slots=True)
class Here:
    """Where the records come from."""

    log: int
    partition: int
    partitions: int
    beginning: int


def read(records: Sequence[Record], here: Here, marks: Marks, rules: FoldRules) -> Reading:
    """Sort a batch into rows to fold, records to send home and records to park.

    A record below its user's shard watermark is a repeat and is passed over; one that belongs to
    nobody here counts as repeated when any shard has passed it. Reading stops before a user's
    record that would be one too many to send home at once (MAX_AWAY).
    """
    reading = Reading()
    next_offsets = [
        marks.next_offset(index, here.log, here.beginning) for index in range(len(marks.stored))
    ]
    passed = max(next_offsets)
    index_of: dict[str, int] = {}
    away: Counter[str] = Counter()
    for record in records:
        reading.taken += 1
        if any(name == CLOCK_HEADER for name, _ in record.headers):
            reading.reach(record.timestamp)
            continue
        place = LogPlace(here.log, record.partition, record.offset, record.timestamp)
        try:
            user_id, event, values = _read_one(record, place, rules)
        except BadRecord as bad:
            if record.offset >= passed:
                reading.bad.append(BadLetter(record, bad.reason))
                reading.verdicts.append((False, record.key))
            continue
        at_home = home(user_id, here.partitions) == here.partition
        if not at_home and record.offset >= passed:
            if away[user_id] == MAX_AWAY:
                reading.taken -= 1
                break
            away[user_id] += 1
            reading.away.append(_sent_home(record, user_id, event, place))
        reading.reach(record.timestamp)
        if record.offset >= passed:
            reading.verdicts.append((True, record.key))
        if at_home and record.offset >= next_offsets[shard(user_id)]:
            index = index_of.setdefault(user_id, len(index_of))
            reading.user.append(index)
            reading.rows.append(values)
            reading.names.update(_names(event))
    reading.user_ids = list(index_of)
    return reading


def _names(event: ActivityEvent | None) -> Iterator[str]:
    if event is not None:
        for name in (event.location, event.referral_source, event.device_type, event.plan):
            if name is not None:
                yield name


def _read_one(
    record: Record, place: LogPlace, rules: FoldRules
) -> tuple[str, ActivityEvent | None, RowTuple]:
    if record.value is None:
        return _erased_user(record.key), None, tombstone_row(place)
    event = decode(record.value)
    return event.user_id, event, row(event, place, rules)


def _erased_user(key: bytes | None) -> str:
    if not key:
        raise BadRecord("a record without value erases a user and needs the user_id as its key")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise BadRecord("the key is not UTF-8") from None


def _sent_home(
    record: Record, user_id: str, event: ActivityEvent | None, place: LogPlace
) -> Message:
    """The record as it is published at home: same log time, and an id that is made only once."""
    value = record.value
    if value is not None and event is not None and event.event_id is None:
        # Added to the text, not encoded anew: 1e9 would come back as 1000000000.0, and an event
        # near the size limit would break it. Of two fields of a name the last one counts.
        opened = value.rstrip().removesuffix(b"}")
        value = opened + b',"event_id":"%s"}' % place.event_id.encode()
    return Message(user_id.encode(), value, record.timestamp, record.headers)
