"""What was on the wire: the log of events as scorers must read it, and the scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import EVENT_ROW, LogPlace, decode, row, tombstone_row
from contracts.partition import home
from contracts.scores import ChurnScore, decode_score
from contracts.times import NEVER
from contracts.topics import CLOCK_HEADER
from runtime.arrivals import Source, source_of
from tests.chaos.tap import Tapped


@dataclass(frozen=True)
class Log:
    """The usable records of `activity-event` that are at home, in log order."""

    user_ids: list[str]
    rows: np.ndarray  # (n,) EVENT_ROW
    user: np.ndarray  # (n,) index into user_ids
    types: list[str | None]
    """(n,) type of each event, None of an erasure."""
    clock: np.ndarray  # (n,) latest log time of the partition's usable records before each row
    bad: list[Tapped]
    away: int
    repeats: int
    """Records that were sent home once more."""
    ids_at_home: set[str]
    """event_ids of records at home; of nameless ones, log:partition:offset."""
    ids_away: set[str]
    """Likewise, of records away from home."""


def is_clock(record: Tapped) -> bool:
    """Whether it tells the time and nothing else."""
    return any(name == CLOCK_HEADER for name, _ in record.headers)


def read_log(records: Iterable[Tapped], rules: FoldRules, partitions: int) -> Log:
    """Decode the log as the scorer must.

    A record sent home from a place that was heard of before is a repeat: by the set of all places,
    where the scorer has only the highest of each source, so that a gap it takes for one shows.
    """
    index: dict[str, int] = {}
    rows, user, types, clock, bad, away, repeats = [], [], [], [], [], 0, 0
    ids: set[str] = set()
    ids_away: set[str] = set()
    sources: set[tuple[int, Source]] = set()
    reached = [NEVER] * partitions
    for record in sorted(records, key=lambda r: (r.log, r.partition, r.offset)):
        if is_clock(record):
            reached[record.partition] = max(reached[record.partition], record.timestamp)
            continue
        place = LogPlace(record.log, record.partition, record.offset, record.timestamp)
        try:
            if record.value is None:
                if not record.key:
                    raise BadRecord("a tombstone without a key")
                user_id, event_id, type_ = record.key.decode(), None, None
                values = tombstone_row(place)
            else:
                event = decode(record.value)
                user_id, event_id, type_ = event.user_id, event.event_id, event.type
                values = row(event, place, rules)
        except (BadRecord, UnicodeDecodeError):
            bad.append(record)
            continue
        before = reached[record.partition]
        reached[record.partition] = max(before, record.timestamp)
        own_id = place.event_id if event_id is None else event_id
        source = source_of(record.headers)
        if source is not None:
            if (record.partition, source) in sources:
                repeats += 1
                continue
            sources.add((record.partition, source))
        if home(user_id, partitions) != record.partition:
            away += 1
            if record.value is not None:
                ids_away.add(own_id)
            continue
        clock.append(before)
        rows.append(values)
        types.append(type_)
        user.append(index.setdefault(user_id, len(index)))
        ids.add(own_id)
    return Log(
        list(index),
        np.array(rows, EVENT_ROW),
        np.array(user, np.intp),
        types,
        np.array(clock, np.int64),
        bad,
        away,
        repeats,
        ids,
        ids_away,
    )


@dataclass(frozen=True)
class WireScore:
    """A score as it passed, and where on its topic."""

    record: Tapped
    score: ChurnScore | None
    """None: the user's scores are erased."""


def read_scores(records: Iterable[Tapped]) -> list[WireScore]:
    """Decode `churn-score` in log order; clock records aside."""
    return [
        WireScore(record, None if record.value is None else decode_score(record.value))
        for record in sorted(records, key=lambda r: (r.log, r.partition, r.offset))
        if not is_clock(record)
    ]
