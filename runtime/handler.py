"""What a service does with a partition: the interface between the loop and its handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.topics import CLOCK_HEADER
from runtime.ledger import Marks
from runtime.log_identity import Log


class Record(Protocol):
    """What a handler reads of a Kafka record."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def is_tick(record: Record) -> bool:
    """Whether a record only says what time it is: `ebbtide tick` and the simulator write such."""
    return bool(record.headers) and any(name == CLOCK_HEADER for name, _ in record.headers)


class Handler(Protocol):
    """What a service does with one partition while it owns it."""

    marks: Marks
    """The marks as of the last save."""
    log_time: int
    """Running maximum of the record timestamps handled, NEVER before the first."""
    suspicious: bool
    """Whether `held` has to be asked."""

    async def handle(self, records: Sequence[Record]) -> None:
        """Bring the records' effects and the new watermark into the store, or raise."""
        ...

    async def sweep(self, clock_ms: int) -> bool:
        """Fire timers due by `clock_ms`; whether more may be due at once."""
        ...

    async def held(self) -> bool:
        """Whether a person has to look before the partition may go on."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a handler starts: the log, the partition's marks, the log's first offset."""

    log: Log
    marks: Marks
    beginning: int


OpenPartition = Callable[[Opening], Awaitable[Handler]]
