"""What is sent: encoded events in time order, and how they are cut into chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from contracts.errors import BadRecord
from contracts.events import ActivityEvent, encode, instant_ms
from contracts.record import ID_WINDOW
from model.event_files import Progress, Recorded, read_recorded
from model.event_log import Order


class Sendable(NamedTuple):
    """An event ready to go. `ms` is its log time; `value` its JSON."""

    ms: int
    user_id: str
    event_id: str
    value: bytes


class Recording(NamedTuple):
    """What to send, in order of log time; `order` is the field that comes from."""

    records: list[Sendable]
    order: Order


def sendable(event: ActivityEvent, received: int | None = None) -> Sendable:
    """Encode an event that states its id and time; its log time is when it was received (epoch
    ms), if that is known, or else when it occurred. Raises BadRecord if id or time is missing.
    """
    if event.occurred_at is None or event.event_id is None:
        name = "occurred_at" if event.occurred_at is None else "event_id"
        raise BadRecord(f"{name}: required to send an event in order", field=name)
    ms = instant_ms(event.occurred_at) if received is None else received
    return Sendable(ms, event.user_id, event.event_id, encode(event))


def recorded(paths: Sequence[Path], name: str, *, progress: Progress | None = None) -> Recording:
    """Read recorded logs whole (some 400 bytes an event) and sort them by log time, ties as
    recorded: by `received_at` if every event has one, or else by `occurred_at`.

    An event without an id gets `name:n`, n its place in that order: the same input gives the
    same ids, so a repeat is harmless. Reads everything before anything is sent, so that a bad
    line is found first; raises BadRecord naming it.
    """
    events: list[Recorded] = []
    for path in paths:
        before = len(events)

        def read(count: int, before: int = before) -> None:
            if progress is not None:
                progress(before + count)

        events.extend(read_recorded(path, on_progress=read))
    by_receipt = bool(events) and all(received is not None for _, received in events)
    if not by_receipt:
        events = [Recorded(event, None) for event, _ in events]
    events.sort(key=_log_ms)
    for place, (event, _) in enumerate(events):
        if event.event_id is None:
            event.event_id = f"{name}:{place}"
    records = [sendable(event, received) for event, received in events]
    return Recording(records, "received_at" if by_receipt else "occurred_at")


def _log_ms(recorded: Recorded) -> int:
    if recorded.received is not None:
        return recorded.received
    assert recorded.event.occurred_at is not None, "read_recorded refuses such events"
    return instant_ms(recorded.event.occurred_at)


class Queue:
    """Records in time order, handed out in chunks of what is due."""

    def __init__(self, records: Iterable[Sendable]) -> None:
        self._records: Iterator[Sendable] = iter(records)
        self.next: Sendable | None = next(self._records, None)

    def due(self, present_ms: int, most: int) -> list[Sendable]:
        """Take what the log had by `present_ms`: at most `most` records, and few of one user.

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
