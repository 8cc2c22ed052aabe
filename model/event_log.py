"""A recorded log as columns: the rows that `fold` reads, in log order.

Log time of a recorded event is its `received_at` where every event has one, and otherwise its
`occurred_at`: a late event is known only from when it came. The log is number 1, partition 0, and
an event's offset is its running number after sorting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import numpy as np

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import ACTIVE, EVENT_ROW, ActivityEvent, LogPlace, id_hash, instant_ms, row
from contracts.times import NEVER
from model.event_columns import Columns, columns_of
from model.event_files import (
    BATCH_ROWS,
    Progress,
    Recorded,
    format_of,
    parquet_batches,
    read_events,
    read_recorded,
)

__all__ = ["LOG_NUMBER", "EventLog", "event_log", "load_event_log", "read_events"]

Order = Literal["received_at", "occurred_at"]

LOG_NUMBER: Final = 1
PARTITION: Final = 0


@dataclass(frozen=True)
class EventLog:
    """Events of many users in log order (by log time, ties as recorded).

    user_ids: names, in order of first appearance; rows: (n,) EVENT_ROW; user: (n,) i8 index into
    user_ids; order: the field that log time comes from.
    """

    user_ids: list[str]
    rows: np.ndarray
    user: np.ndarray
    order: Order = "occurred_at"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def active(self) -> np.ndarray:
        """(n,) bool: the event counts as the user doing something."""
        active: np.ndarray = self.rows["kind"] == ACTIVE
        return active


def load_event_log(
    paths: Sequence[Path | str], rules: FoldRules, *, progress: Progress | None = None
) -> EventLog:
    """Read recorded logs into one EventLog; `progress` is told the events read so far.

    Raises BadRecord naming path, line and field, and Misconfigured for an unreadable file.
    """
    parts: list[Columns] = []
    read = 0
    for path in map(Path, paths):
        for part in _parts(path, rules):
            parts.append(part)
            read += len(part.rows)
            if progress is not None:
                progress(read)
    return _in_log_order(parts)


def event_log(events: Iterable[ActivityEvent], rules: FoldRules) -> EventLog:
    """Return events already in memory (a simulation, say) as an EventLog.

    Raises BadRecord for an event without `occurred_at`.
    """
    return _in_log_order(list(_batches((Recorded(event, None) for event in events), rules)))


def _parts(path: Path, rules: FoldRules) -> Iterable[Columns]:
    if format_of(path) == "parquet":
        fast = _parquet_parts(path, rules)
        if fast is not None:
            return fast
    return _batches(read_recorded(path), rules)


def _parquet_parts(path: Path, rules: FoldRules) -> list[Columns] | None:
    """Column-wise reading; None if anything needs, or deserves, a look at single events."""
    parts = []
    try:
        for batch in parquet_batches(path):
            part = columns_of(batch, rules)
            if part is None:
                return None
            parts.append(part)
    except (OSError, ValueError):
        # Damaged somewhere: reading event by event says where.
        return None
    return parts


def _batches(recorded: Iterator[Recorded], rules: FoldRules) -> Iterable[Columns]:
    while batch := list(islice(recorded, BATCH_ROWS)):
        yield _from_events(batch, rules)


def _from_events(batch: list[Recorded], rules: FoldRules) -> Columns:
    rows = np.empty(len(batch), EVENT_ROW)
    for i, (event, _) in enumerate(batch):
        if event.occurred_at is None:
            raise BadRecord("occurred_at: required in a recorded log", field="occurred_at")
        place = LogPlace(LOG_NUMBER, PARTITION, 0, instant_ms(event.occurred_at))
        rows[i] = row(event, place, rules)
    return Columns(
        rows,
        [event.user_id for event, _ in batch],
        np.fromiter((event.event_id is None for event, _ in batch), bool, len(batch)),
        np.array([NEVER if at is None else at for _, at in batch], np.int64),
    )


def _in_log_order(parts: Sequence[Columns]) -> EventLog:
    """Sort, number, and give an id to what came without one."""
    rows = np.concatenate([part.rows for part in parts] or [np.empty(0, EVENT_ROW)])
    nameless = np.concatenate([part.nameless for part in parts] or [np.empty(0, bool)])
    index: dict[str, int] = {}
    user = np.fromiter(
        (index.setdefault(name, len(index)) for part in parts for name in part.users),
        np.int64,
        len(rows),
    )
    received = np.concatenate([part.received for part in parts] or [np.empty(0, np.int64)])
    by_receipt = bool(len(received)) and bool((received != NEVER).all())
    if by_receipt:
        rows["log_time"] = received
    order = np.argsort(rows["log_time"], kind="stable")
    rows, nameless, user = rows[order], nameless[order], user[order]
    rows["offset"] = np.arange(len(rows))
    for offset in np.flatnonzero(nameless).tolist():
        rows["id"][offset] = id_hash(LogPlace(LOG_NUMBER, PARTITION, offset, 0).event_id)
    user, names = _by_first_appearance(user, list(index))
    return EventLog(names, rows, user, "received_at" if by_receipt else "occurred_at")


def _by_first_appearance(user: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    seen, first = np.unique(user, return_index=True)
    ranked = seen[np.argsort(first)]
    rank = np.empty(len(names), np.int64)
    rank[ranked] = np.arange(len(ranked))
    return rank[user], [names[i] for i in ranked]
