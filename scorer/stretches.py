"""Which parts of a topic's log a generation is folded from, and under which partition count.

A user's records lie at their home, and homes follow from the partition count. Where a topic was
given more partitions, its log goes on under a higher number from the offsets at which the rebuild
switched; what lies before is found at the homes of then. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import msgspec

from contracts.record import FACTS
from contracts.times import NEVER


class Ended(msgspec.Struct, frozen=True):
    """Where the log of one number ended, because the same topic goes on under the next."""

    topic_id: str
    partitions: int
    ends: list[int]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the topic that is read under one log number and partition count."""

    number: int
    partitions: int
    starts: tuple[int, ...]
    """Offset per partition; partitions beyond its length start at 0."""
    ends: tuple[int, ...] | None
    """None: as far as the generation that serves has come."""

    def start(self, partition: int) -> int:
        """Offset the stretch begins at."""
        return self.starts[partition] if partition < len(self.starts) else 0


@dataclass(frozen=True, slots=True)
class Pins:
    """The hash that `runtime.log_identity` keeps of one topic and generation."""

    fields: Mapping[str, str]

    @property
    def number(self) -> int:
        """The newest log's."""
        return int(self.fields.get("number", 0))

    @property
    def partitions(self) -> int:
        """The count the generation was made with."""
        return int(self.fields["partitions"])

    def number_of(self, topic_id: UUID) -> int | None:
        """Of this incarnation, None when no worker has met it."""
        found = self.fields.get(f"id:{topic_id}")
        return None if found is None else int(found)

    def ended(self) -> dict[int, Ended]:
        """Log number to where it ended."""
        prefix = "ended:"
        return {
            int(name.removeprefix(prefix)): msgspec.json.decode(value, type=Ended)
            for name, value in self.fields.items()
            if name.startswith(prefix)
        }

    def stretches(self, topic_id: UUID) -> list[Stretch]:
        """All of the log that this incarnation of the topic holds, oldest first."""
        number = self.number_of(topic_id)
        if number is None:
            return []
        made: list[Stretch] = []
        starts: tuple[int, ...] = ()
        for earlier, ended in sorted(self.ended().items()):
            if ended.topic_id == str(topic_id):
                made.append(Stretch(earlier, ended.partitions, starts, tuple(ended.ends)))
                starts = tuple(ended.ends)
        return [*made, Stretch(number, self.partitions, starts, None)]

    def is_whole(self, topic_id: UUID) -> bool:
        """Whether no record was folded from an earlier incarnation of the topic."""
        return self.number <= len(self.stretches(topic_id))

    def following(
        self, topic_id: UUID, partitions: int, rules: str, ends: Mapping[int, int]
    ) -> Pins:
        """The pins of the next generation, whose marks stand at `ends`.

        Another partition count makes the log go on under the next number: positions in another
        partition would not be higher otherwise, and consumers would pass over them.
        """
        fields = dict(self.fields) | {"partitions": str(partitions), "rules": rules}
        number = self.number_of(topic_id)
        if number is not None and partitions != self.partitions:
            ended = Ended(str(topic_id), self.partitions, [ends[p] for p in range(self.partitions)])
            fields[f"ended:{number}"] = msgspec.json.encode(ended).decode()
            fields[f"id:{topic_id}"] = fields["number"] = str(number + 1)
        return replace(self, fields=fields)


def reaches_back(facts: Any, first_record_ms: int | None) -> Any:
    """(n,) bool: whether the log still holds everything that is in the (n,) FACTS.

    first_record_ms: time of the first record that their partition still has, None for none. Who was
    never seen does not tell when their first event was, and counts as cut.
    """
    assert facts.dtype == FACTS
    if first_record_ms is None:
        return facts["offset"] < 0
    seen_since = (facts["first_seen"] != NEVER) & (facts["first_seen"] >= first_record_ms)
    return seen_since | (facts["offset"] < 0)
