"""Activity events as Kafka records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from uuid import uuid4

import msgspec

from contracts.errors import BadRecord
from contracts.events import (
    MAX_EVENT_BYTES,
    MAX_FUTURE_MS,
    ActivityEvent,
    encode,
    instant_ms,
)
from contracts.times import from_ms
from contracts.topics import CloudEvents, cloud_event_headers
from runtime.kafka import Message

SOURCE: Final = "/ebbtide/gateway"
EVENT_KIND: Final = "ebbtide.activity-event"
ERASURE_KIND: Final = "ebbtide.user-erasure"

_event_headers = CloudEvents(SOURCE, EVENT_KIND).headers


@dataclass(frozen=True, slots=True)
class EventWriter:
    """Completes events and makes records of them.

    clock: what a record's timestamp says, the time of receipt or, replaying, the event's own.
    """

    clock: Literal["wall", "stream"]

    def message(self, event: ActivityEvent, received_ms: int) -> Message:
        """The record of an event received at `received_ms`, with id and time stated.

        Raises BadRecord for an event more than a day later than its log time, and for one that is
        too long once complete.
        """
        occurred_ms = received_ms if event.occurred_at is None else instant_ms(event.occurred_at)
        log_time = received_ms if self.clock == "wall" else occurred_ms
        if occurred_ms > log_time + MAX_FUTURE_MS:
            raise BadRecord(
                f"occurred_at: {from_ms(occurred_ms).isoformat()} is more than a day in the "
                "future: check the clock that made it",
                field="occurred_at",
            )
        event_id = event.event_id or str(uuid4())
        occurred_at = from_ms(occurred_ms)
        complete = msgspec.structs.replace(event, event_id=event_id, occurred_at=occurred_at)
        value = encode(complete)
        if len(value) > MAX_EVENT_BYTES:
            raise BadRecord(
                f"the event has {len(value)} bytes; at most {MAX_EVENT_BYTES} are taken: "
                "shorten properties",
                field="properties",
            )
        headers = _event_headers(event_id, occurred_at.isoformat())
        return Message(event.user_id.encode(), value, log_time, headers)


def tombstone(user_id: str, received_ms: int) -> Message:
    """The record that erases a user."""
    headers = cloud_event_headers(
        event_id=str(uuid4()),
        source=SOURCE,
        kind=ERASURE_KIND,
        time=from_ms(received_ms).isoformat(),
    )
    return Message(user_id.encode(), None, received_ms, headers)
