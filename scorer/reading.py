"""From Kafka records to rows `fold` can take, and what has to go elsewhere.

Pure: a record and its place decide everything, so that a replay reads the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import (
    EVENT_ROW,
    ActivityEvent,
    LogPlace,
    RowTuple,
    decode,
    erased_user,
    row,
    tombstone_row,
    with_event_id,
)
from contracts.partition import homes, shard
from contracts.times import EARLIEST_MS, LATEST_MS, NEVER
from contracts.topics import SENT_HOME_HEADER
from runtime import keys
from runtime.arrivals import Arrivals, Arrived, source_header
from runtime.handler import Record, is_tick
from runtime.kafka import Message
from runtime.ledger import Marks
from runtime.letters import BadLetter


@dataclass(slots=True)
class Reading:
    """What a batch of records comes to."""

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
    arrived: Mapping[int, Arrived] = field(default_factory=dict)
    """By shard, what it holds of the records sent home, where that has changed."""
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
    topic_id: UUID


def read(records: Sequence[Record], here: Here, marks: Marks, rules: FoldRules) -> Reading:
    """Sort a batch into rows to fold, records to send home and records to park.

    A record below its user's shard watermark is a repeat and is passed over; one that belongs to
    nobody here counts as repeated when any shard has passed it. Of the records that were sent home
    from one place only the first counts.
    """
    reading = Reading()
    next_offsets = [
        marks.next_offset(index, here.log, here.beginning) for index in range(len(marks.stored))
    ]
    passed = max(next_offsets)
    judged = next_offsets[keys.HELD_SHARD]
    fresh: list[tuple[Record, LogPlace, str, ActivityEvent | None, RowTuple]] = []
    arrivals = Arrivals(marks.arrived)
    for record in records:
        if is_tick(record):
            reading.reach(record.timestamp)
            continue
        place = LogPlace(here.log, record.partition, record.offset, record.timestamp)
        try:
            user_id, event, values = _read_one(record, place, rules)
        except BadRecord as bad:
            if record.offset >= passed:
                reading.bad.append(BadLetter(record, bad.reason))
            if record.offset >= judged:
                reading.verdicts.append((False, record.key))
            continue
        reading.reach(record.timestamp)
        if record.offset >= judged:
            reading.verdicts.append((True, record.key))
        if record.offset < passed and record.offset < next_offsets[shard(user_id)]:
            continue
        if record.headers and arrivals.is_repeat(user_id, record.headers):
            continue
        fresh.append((record, place, user_id, event, values))
    at_home = _at_home([user_id for _, _, user_id, _, _ in fresh], here)
    index_of: dict[str, int] = {}
    names: set[str | None] = set()
    for record, place, user_id, event, values in fresh:
        if user_id not in at_home:
            if record.offset >= passed:
                reading.away.append(_sent_home(record, user_id, event, place, here.topic_id))
            continue
        reading.user.append(index_of.setdefault(user_id, len(index_of)))
        reading.rows.append(values)
        if event is not None:
            names |= {event.location, event.referral_source, event.device_type, event.plan}
    reading.names.update(name for name in names if name is not None)
    reading.user_ids = list(index_of)
    reading.arrived = arrivals.changed
    return reading


def _at_home(user_ids: Sequence[str], here: Here) -> set[str]:
    """Those of the users who live here: found for a whole batch at once."""
    users = list(set(user_ids))
    mine = homes(users, here.partitions) == here.partition
    return {user for user, is_mine in zip(users, mine.tolist(), strict=True) if is_mine}


def _read_one(
    record: Record, place: LogPlace, rules: FoldRules
) -> tuple[str, ActivityEvent | None, RowTuple]:
    if record.value is None:
        return erased_user(record.key), None, tombstone_row(place)
    event = decode(record.value)
    return event.user_id, event, row(event, place, rules)


def _sent_home(
    record: Record, user_id: str, event: ActivityEvent | None, place: LogPlace, topic_id: UUID
) -> Message:
    """The record as it is published at home: same log time, its source, an id made only once."""
    value = record.value
    if value is not None and event is not None and event.event_id is None:
        value = with_event_id(value, place.event_id)
    own = [header for header in record.headers if header[0] != SENT_HOME_HEADER]
    source = source_header(topic_id, record.partition, record.offset)
    return Message(user_id.encode(), value, record.timestamp, [*own, source])
