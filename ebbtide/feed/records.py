"""What is sent: encoded events in time order, and how they are cut into chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from contracts.errors import BadRecord
from contracts.events import ActivityEvent, encode, instant_ms
from contracts.record import ID_WINDOW
from model.event_files import Progress, read_events


class Sendable(NamedTuple):
    """An event ready to go. `ms` is when it occurred; `value` its JSON."""

    ms: int
    user_id: str
    event_id: str
    value: bytes


def sendable(event: ActivityEvent) -> Sendable:
    """Encode an event that states its id and time; raises BadRecord if it does not."""
    if event.occurred_at is None or event.event_id is None:
        name = "occurred_at" if event.occurred_at is None else "event_id"
        raise BadRecord(f"{name}: required to send an event in order", field=name)
    return Sendable(instant_ms(event.occurred_at), event.user_id, event.event_id, encode(event))


def recorded(
    paths: Sequence[Path], name: str, *, progress: Progress | None = None
) -> list[Sendable]:
    """Read recorded logs whole (some 400 bytes an event) and sort them by time, ties as recorded.

    An event without an id gets `name:n`, n its place in that order: the same input gives the
    same ids, so a repeat is harmless. Reads everything before anything is sent, so that a bad
    line is found first; raises BadRecord naming it.
    """
    events: list[ActivityEvent] = []
    for path in paths:
        before = len(events)

        def read(count: int, before: int = before) -> None:
            if progress is not None:
                progress(before + count)

        events.extend(read_events(path, on_progress=read))
    events.sort(key=_occurred_ms)
    for place, event in enumerate(events):
        if event.event_id is None:
            event.event_id = f"{name}:{place}"
    return [sendable(event) for event in events]


def _occurred_ms(event: ActivityEvent) -> int:
    assert event.occurred_at is not None, "read_events refuses such events"
    return instant_ms(event.occurred_at)


class Queue:
    """Records in time order, handed out in chunks of what is due."""

    def __init__(self, records: Iterable[Sendable]) -> None:
        self._records: Iterator[Sendable] = iter(records)
        self.next: Sendable | None = next(self._records, None)

    def due(self, present_ms: int, most: int) -> list[Sendable]:
        """Take what occurred by `present_ms`: at most `most` records, and few of one user.

        Few means the duplicate window: should a chunk be sent twice, because its acknowledgement
        was lost, then every repeat in it is still among its user's last ids and is dropped.
        """
        chunk: list[Sendable] = []
        users: Counter[str] = Counter()
        while (
            self.next is not None
            and self.next.ms <= present_ms
            and len(chunk) < most
            and users[self.next.user_id] < ID_WINDOW
        ):
            chunk.append(self.next)
            users[self.next.user_id] += 1
            self.next = next(self._records, None)
        return chunk
