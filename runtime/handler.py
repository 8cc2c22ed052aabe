"""What a service does with a partition: the interface between the loop and its handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

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


class _AtOnce:
    """Awaited, it is there at once, as often as one likes."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


CONFIRMED: Final[Awaitable[None]] = _AtOnce()
"""For records of which nothing has to be confirmed."""


class Handler(Protocol):
    """What a service does with one partition while it owns it."""

    marks: Marks
    """The marks as of the last save."""
    log_time: int
    """Running maximum of the record timestamps handled, NEVER before the first."""
    suspicious: bool
    """Whether `held` has to be asked."""

    async def handle(
        self, records: Sequence[Record], confirmed: Awaitable[None] = CONFIRMED
    ) -> None:
        """Bring the records' effects and the new watermark into the store, or raise.

        confirmed: that the records are of the log we believe them to be of. It is found out while
        the handler reads the state it needs, and awaited before anything is published or saved;
        raises what the loop has to know.
        """
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
