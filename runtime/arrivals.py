"""Which records sent home are repeats: a pure function of the home's log.

A record that lay away from home names its source when it is sent there: topic, partition, offset.
Whoever sends starts at a stored watermark, keeps the order of the source, and waits for each batch
before the next. So, whatever is sent again or comes late, no record arrives for the first time
behind a later one of its source, and the highest offset seen tells repeats
(docs/decisions/0012-source-watermarks.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from contracts.partition import shard
from contracts.topics import SENT_HOME_HEADER

INCARNATIONS: Final = 4
"""Of how many topics a shard remembers sources: what arrives from a former one is late."""

Arrived = Mapping[str, Mapping[int, int]]
"""Topic id to partition to the next offset of this source; the topic heard of last comes last."""

_SOURCE = re.compile(rb"([0-9a-f-]{36}):([0-9]{1,9}):([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a record lay before it was sent home."""

    topic_id: str
    """As text; of the topic, not our number for its log: that one begins anew with an empty Redis,
    and says nothing of a log that was copied from elsewhere, headers and all."""
    partition: int
    offset: int


def source_header(topic_id: UUID, partition: int, offset: int) -> tuple[str, bytes]:
    """The header that names a source."""
    return SENT_HOME_HEADER, f"{topic_id}:{partition}:{offset}".encode()


def source_of(headers: Sequence[tuple[str, bytes]]) -> Source | None:
    """The source a record names; None for one that lies where its producer put it."""
    for name, value in headers:
        if name == SENT_HOME_HEADER:
            parts = _SOURCE.fullmatch(value or b"")
            if parts is not None:
                return Source(parts[1].decode(), int(parts[2]), int(parts[3]))
    return None


class Arrivals:
    """What has arrived at one home partition, followed record by record in log order."""

    def __init__(self, stored: Sequence[Arrived] = ()) -> None:
        self._stored = stored
        self.changed: dict[int, dict[str, dict[int, int]]] = {}
        """By shard, where anything arrived: what the shard knows after that."""

    def is_repeat(self, user_id: str, headers: Sequence[tuple[str, bytes]]) -> bool:
        """Whether a usable record has arrived before; one that has not, has by now."""
        source = source_of(headers)
        if source is None:
            return False
        topics = self._of(shard(user_id))
        nexts = topics.get(source.topic_id, {})
        if source.offset < nexts.get(source.partition, 0):
            return True
        topics.pop(source.topic_id, None)
        topics[source.topic_id] = nexts | {source.partition: source.offset + 1}
        while len(topics) > INCARNATIONS:
            del topics[next(iter(topics))]
        return False

    def _of(self, index: int) -> dict[str, dict[int, int]]:
        if index not in self.changed:
            stored = self._stored[index] if self._stored else {}
            self.changed[index] = {topic: dict(nexts) for topic, nexts in stored.items()}
        return self.changed[index]


def pack(arrived: Arrived) -> bytes:
    """The form in which a shard stores it."""
    return msgspec.json.encode(arrived)


def unpack(stored: bytes | None) -> Arrived:
    """What `pack` was given; nothing for None."""
    return {} if stored is None else msgspec.json.decode(stored, type=dict[str, dict[int, int]])
