"""Reading record batches whose header names are no text.

Kafka asks for UTF-8 there, but brokers take anything and some clients send it. aiokafka then raises
for the whole batch, again and again, so one record would stop its partition for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_BEFORE_LENGTH, _BEFORE_REST = 8, 12  # base offset; base offset and length


def install() -> None:
    """Let all consumers of this process read leniently."""
    # The fetcher looks the class up when it needs it; there is no other way in.
    fetcher.MemoryRecords = LenientRecords


class LenientRecords:
    """aiokafka's MemoryRecords (the batches of one fetch), strict where that works."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._strict = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        """Of all batches, also the one that is cut off."""
        return int(self._strict.size_in_bytes())

    def has_next(self) -> bool:
        """Whether another whole batch is there."""
        return bool(self._strict.has_next())

    def next_batch(self) -> LenientBatch:
        """The next batch."""
        length = self._data[self._at + _BEFORE_LENGTH : self._at + _BEFORE_REST]
        end = self._at + _BEFORE_REST + int.from_bytes(length, "big")
        batch = LenientBatch(self._strict.next_batch(), self._data[self._at : end])
        self._at = end
        return batch


class LenientBatch:
    """A record batch; names of headers that are no UTF-8 come with their bytes written out."""

    def __init__(self, strict: Any, data: bytes) -> None:
        self._strict = strict
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strict, name)

    def __next__(self) -> Any:
        return next(self._strict)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._strict))
        except UnicodeDecodeError:
            # Brokers give old batches, which have no headers, to nobody who can read this one.
            lenient: Any = iter(_DefaultRecordBatchPy(self._data))
            lenient._buffer = _Buffer(lenient._buffer)
            return iter(list(lenient))


class _Buffer(bytearray):
    """Bytes whose slices decode whatever they hold."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Buffer(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")
