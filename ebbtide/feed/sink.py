"""Where records go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ebbtide.feed.records import Sendable


@dataclass(frozen=True)
class Refusal:
    """A record the other side will never take, and why."""

    record: Sendable
    reason: str


class Sink(Protocol):
    """Takes chunks in order. A lane is what keeps order: a partition, or the one HTTP stream."""

    @property
    def target(self) -> str:
        """What is written to, so that progress there is not mistaken for progress elsewhere."""

    @property
    def lanes(self) -> int:
        """How many lanes there are."""

    def lane(self, user_id: str) -> int:
        """Which of them a user's records take."""

    async def send(self, chunk: Sequence[Sendable]) -> list[Refusal]:
        """Return once every record is acknowledged or refused for good.

        Raises Unavailable when that does not happen in time.
        """

    async def tick(self, moment_ms: int) -> None:
        """Say that all records up to this moment have been sent, if the other side can hear it."""
