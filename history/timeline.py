"""The last events of each user, read from `activity-event` beside the scorer.

A reader of its own: the scorer does not wait for it, and a fault in it is no fault of a score. It
keeps what the fold counts (`scorer.reading` decides what is an event, and here the same rules do),
writes events and watermark together, and leaves alone what the scorer takes care of: records that
cannot be read are parked there, records away from home come home there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import LogPlace, decode, erased_user, row
from contracts.partition import homes
from contracts.partition import shard as shard_of
from contracts.times import EARLIEST_MS, LATEST_MS
from contracts.topics import ACTIVITY
from history.settings import HistorySettings
from runtime import keys
from runtime.arrivals import Arrivals, Arrived
from runtime.handler import (
    CONFIRMED,
    Handler,
    Opening,
    OpenPartition,
    Record,
    is_tick,
)
from runtime.ledger import Effects, Ledger, Mark
from runtime.metrics import WorkerMetrics
from runtime.service import Parts, Prepare, Work
from runtime.timeline import LEDGER, entry_of, pack

GROUP: Final = "ebbtide-timeline"


def jobs(settings: HistorySettings) -> list[tuple[Work, Prepare]]:
    """What is read, with what opens its partitions; nothing where no events are to be kept."""

    async def prepare(parts: Parts) -> OpenPartition:
        keeping = Keeping(
            parts.ledger, parts.metrics, settings.fold_rules, settings.timeline_events
        )

        async def open_partition(opening: Opening) -> Handler:
            return TimelineHandler(opening, keeping)

        return open_partition

    return [(job(settings), prepare)] if settings.timeline_events else []


def job(settings: HistorySettings) -> Work:
    """What this job reads, needs and shows."""
    return Work(
        topic=ACTIVITY,
        group=GROUP,
        rules=settings.fold_rules.digest,
        topics=(ACTIVITY,),
        health_host=settings.health_host,
        health_port=settings.history_health_port,
        ledger=LEDGER,
        has_time=True,
    )


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the handlers of all partitions share."""

    ledger: Ledger
    metrics: WorkerMetrics
    rules: FoldRules
    events: int
    """Kept of each user."""


@dataclass(slots=True)
class _OfUser:
    """What a batch brought of one user."""

    is_erased: bool = False
    entries: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a batch brought."""

    users: dict[str, _OfUser]
    arrived: Mapping[int, Arrived]
    """By shard, what it holds of the records sent home, where that has changed."""


class TimelineHandler:
    """The `runtime.handler.Handler` of one partition of `activity-event`."""

    def __init__(self, opening: Opening, keeping: Keeping) -> None:
        self._log = opening.log
        self._beginning = opening.beginning
        self._keeping = keeping
        self.marks = opening.marks
        self.log_time = opening.marks.clock_ms
        self.suspicious = False

    async def handle(
        self, records: Sequence[Record], confirmed: Awaitable[None] = CONFIRMED
    ) -> None:
        """Write the events of the batch and the watermark, or raise."""
        await confirmed
        keeping = self._keeping
        reading = self._read(records)
        effects = Effects(arrived=reading.arrived)
        generation = self.marks.generation
        for user_id, of_user in reading.users.items():
            key = keys.timeline(user_id, generation)
            # What is appended has to follow on what is there.
            if of_user.is_erased or len(of_user.entries) > keeping.events:
                effects.delete(key)
            if of_user.entries:
                effects.append(
                    key,
                    of_user.entries[-keeping.events :],
                    keep=keeping.events,
                    ttl_ms=keeping.rules.retention_ms,
                )
        mark = Mark(self._log.number, records[-1].offset + 1)
        self.marks = await keeping.ledger.save(self.marks, mark, self.log_time, effects)
        keeping.metrics.records.labels(ACTIVITY).inc(len(records))

    async def sweep(self, clock_ms: int) -> bool:
        """Nothing is ever due."""
        return False

    async def held(self) -> bool:
        """Bad records are the scorer's to judge."""
        return False

    def _read(self, records: Sequence[Record]) -> _Reading:
        """What is new of the users who live here, each user's in log order.

        Of the records that were sent home from one place only the first counts.
        """
        next_offsets = [
            self.marks.next_offset(shard, self._log.number, self._beginning)
            for shard in range(len(self.marks.stored))
        ]
        found: list[tuple[str, bytes | None]] = []
        arrivals = Arrivals(self.marks.arrived)
        for record in records:
            if EARLIEST_MS <= record.timestamp < LATEST_MS:
                self.log_time = max(self.log_time, record.timestamp)
            if is_tick(record):
                continue
            try:
                user_id, entry = _read_one(record, self._log.number, self._keeping.rules)
            except BadRecord:
                continue
            if record.offset < next_offsets[shard_of(user_id)]:
                continue
            if record.headers and arrivals.is_repeat(user_id, record.headers):
                continue
            found.append((user_id, entry))
        users = list({user_id for user_id, _ in found})
        at_home = dict(
            zip(users, homes(users, self._log.partitions) == self.marks.partition, strict=True)
        )
        read: dict[str, _OfUser] = {}
        for user_id, entry in found:
            if not at_home[user_id]:
                continue
            if entry is None:
                read[user_id] = _OfUser(is_erased=True)
            else:
                read.setdefault(user_id, _OfUser()).entries.append(entry)
        return _Reading(read, arrivals.changed)


def _read_one(record: Record, log: int, rules: FoldRules) -> tuple[str, bytes | None]:
    """Whose record it is, and what to keep of it, None for an erasure; raises BadRecord."""
    if record.value is None:
        return erased_user(record.key), None
    event = decode(record.value)
    place = LogPlace(log, record.partition, record.offset, record.timestamp)
    return event.user_id, pack(entry_of(event.type, row(event, place, rules)))
