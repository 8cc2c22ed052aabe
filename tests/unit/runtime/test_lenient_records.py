"""Batches are read as aiokafka reads them, and also where a header's name is no text."""

from __future__ import annotations

import struct

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from runtime.lenient_records import LenientRecords

NONE, GZIP = 0, 1


def batch(first: int, name: str, codec: int = NONE) -> bytes:
    """Two records, the second with a header."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 10_000)
    builder.append(0, 5, b"key", b"one", [])
    builder.append(1, 6, None, None, [(name, b"x"), ("other", None)])
    made = bytearray(builder.build())
    struct.pack_into(">q", made, 0, first)
    return bytes(made)


def spoiled(made: bytes) -> bytes:
    """The batch with bytes that are no UTF-8 in the header's name, and a right checksum."""
    changed = bytearray(made.replace(b"name", b"n\xff\xfee"))
    struct.pack_into(">I", changed, 17, calc_crc32c(bytes(changed[21:])))
    return bytes(changed)


def read(records: MemoryRecords | LenientRecords) -> list[tuple]:
    """Everything a consumer would see."""
    found = []
    while records.has_next():
        one = records.next_batch()
        assert one.validate_crc()
        found += [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in one]
        found.append(one.next_offset)
    return found


@pytest.mark.parametrize("codec", [NONE, GZIP])
def test_good_batches_are_read_as_ever(codec):
    """Several in one fetch, the last one cut off."""
    data = batch(0, "name", codec) + batch(2, "name", codec) + batch(4, "name", codec)[:-3]

    assert read(MemoryRecords(data)) == read(LenientRecords(data))
    assert MemoryRecords(data).size_in_bytes() == LenientRecords(data).size_in_bytes()


def test_a_name_that_is_no_text_comes_with_its_bytes_written_out():
    """Its neighbours, in the same batch and in others, are untouched."""
    good, bad = batch(0, "name") + batch(2, "name"), batch(0, "name") + spoiled(batch(2, "name"))
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords(bad))

    told = read(LenientRecords(bad))

    expected = read(MemoryRecords(good))
    expected[-2] = (*expected[-2][:4], (("n\\xff\\xfee", b"x"), ("other", None)))
    assert expected == told
