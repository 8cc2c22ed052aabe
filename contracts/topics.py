"""Topic names and the headers every record carries (CloudEvents 1.0, Kafka protocol binding)."""

from __future__ import annotations

from typing import Final

from contracts.times import DAY_MS

ACTIVITY: Final = "activity-event"
SCORES: Final = "churn-score"
ALERTS: Final = "churn-alert"
COMMANDS: Final = "alert-command"

DEAD_LETTER_SUFFIX: Final = ".dead-letter"

SCHEMA_VERSION: Final = 1

CLOCK_HEADER: Final = "ebbtide-clock"
"""A record with this header carries nothing but time: its timestamp is a moment of the log.

Replays and simulations end with one per partition, so that silence is noticed although no user
sends anything.
"""

CLOCK_KEY: Final = b"ebbtide-clock"
"""Clock records share one key, so that compaction keeps the latest of a partition."""

SENT_HOME_HEADER: Final = "ebbtide-sent-home"
"""On a record that lay away from its user's home, and was sent there by a scorer:
topic id:partition:offset of where it lay. Of one place only the first record counts."""

REASON_HEADER: Final = "ebbtide-reason"
SOURCE_HEADER: Final = "ebbtide-source"
TIME_HEADER: Final = "ebbtide-time"
PART_HEADER: Final = "ebbtide-part"
REPLAYED_HEADER: Final = "ebbtide-replayed"
ORIGINAL_PREFIX: Final = "original-"
"""Headers of dead letters: why, from where, the record's own timestamp, which part of a record too
large for one letter, which letter went back, and what the record's own headers are called."""

TOPIC_CONFIGS: Final[dict[str, dict[str, str]]] = {
    ACTIVITY: {"retention.ms": "-1"},
    SCORES: {"cleanup.policy": "compact", "min.compaction.lag.ms": str(7 * DAY_MS)},
    ALERTS: {"retention.ms": "-1"},
    COMMANDS: {"retention.ms": "-1"},
}
"""How a topic is created when it is missing; an existing one is left as its owner made it."""

DEAD_LETTER_CONFIG: Final = {"retention.ms": "-1"}
"""A dead letter keeps its record's time, which may be years back: age must not delete it."""


def dead_letter(topic: str) -> str:
    """Name of the topic that holds what could not be read from `topic`."""
    return topic + DEAD_LETTER_SUFFIX


def cloud_event_headers(
    *, event_id: str, source: str, kind: str, time: str
) -> list[tuple[str, bytes]]:
    """CloudEvents attributes as Kafka headers (binary content mode, `ce_` prefix)."""
    return CloudEvents(source, kind).headers(event_id, time)


class CloudEvents:
    """The headers of many events of one source and kind."""

    __slots__ = ("_kind", "_source")

    def __init__(self, source: str, kind: str) -> None:
        self._source = ("ce_source", source.encode())
        self._kind = ("ce_type", kind.encode())

    def headers(self, event_id: str, time: str) -> list[tuple[str, bytes]]:
        """As `cloud_event_headers`."""
        return [
            _SPEC_VERSION,
            ("ce_id", event_id.encode()),
            self._source,
            self._kind,
            ("ce_time", time.encode()),
            _CONTENT_TYPE,
        ]


_SPEC_VERSION: Final = ("ce_specversion", b"1.0")
_CONTENT_TYPE: Final = ("content-type", b"application/json")
