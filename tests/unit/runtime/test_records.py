"""Packed records from Redis."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import Misconfigured
from contracts.packing import pack
from contracts.record import RECORD, RECORD_VERSION, blank_records
from runtime import keys
from runtime.records import RecordStore, unpack
from runtime.testing import FakeRedis


def row(pages: int) -> np.ndarray:
    made = blank_records(1)
    made["facts"]["pages"] = pages
    return made


def one(pages: int) -> bytes:
    return pack(row(pages))[0]


def test_records_come_in_order_with_blanks_between() -> None:
    """One row per value, blank for None, and the rows may be written to."""
    rows = unpack([one(3), None, one(5)])

    assert [3, 0, 5] == rows["facts"]["pages"].tolist()
    assert blank_records(1).tobytes() == rows[1:2].tobytes()
    rows["facts"]["pages"] = 9


@pytest.mark.parametrize(
    "value",
    [
        bytes([RECORD_VERSION + 1]) + one(1)[1:],
        bytes([RECORD_VERSION + 1]) + one(1)[1:] + b"more",
        bytes([RECORD_VERSION - 1]) + one(1)[1:],
        row(1).tobytes(),
        one(1)[:-1],
        one(1)[:-2],
        one(1) + b"\0",
        one(1) + b"\1\1",
        one(1)[:20],
        bytes([RECORD_VERSION]),
        b"",
    ],
    ids=[
        "newer", "newer-longer", "older", "in-full", "shorter", "less-a-word", "longer",
        "a-word-more", "cut-in-its-bits", "version-only", "empty",
    ],
)  # fmt: skip
def test_a_record_of_another_release_is_refused(value: bytes) -> None:
    """Nothing is overwritten that this release cannot read; the remedy is named."""
    with pytest.raises(Misconfigured, match="ebbtide rebuild"):
        unpack([one(1), value])


async def test_loading_asks_for_each_user() -> None:
    """In the order asked for; nobody is an empty answer."""
    redis = FakeRedis()
    await redis.set(keys.record("ada"), one(7))
    store = RecordStore(redis.client)

    assert [0, 7] == (await store.load(["bob", "ada"]))["facts"]["pages"].tolist()
    nobody = await store.load([])
    assert ((0,), np.dtype(RECORD)) == (nobody.shape, nobody.dtype)


def test_a_record_of_an_earlier_release_is_read() -> None:
    """Through what turns its bytes into a row of this one; others are refused, by name."""
    older = {0: lambda value: row(7).tobytes() if value == b"\x00old" else b""}

    records = unpack([b"\x00old", None, one(7)], older)

    assert row(7).tobytes() == records[0].tobytes() == records[2].tobytes()
    assert -1 == records["facts"]["offset"][1]
    with pytest.raises(
        Misconfigured, match=r"version 9 .*upgrade Ebbtide, or run `ebbtide rebuild`"
    ):
        unpack([b"\x09new"], older)


def test_records_of_version_1_are_read() -> None:
    """They are stored as they are, zeros and all, and become records of this version."""
    stored = b"\x01" + row(7).tobytes()[1:]

    records = unpack([one(3), stored])

    assert row(3).tobytes() + row(7).tobytes() == records.tobytes()
    assert [RECORD_VERSION] * 2 == records["facts"]["version"].tolist()
