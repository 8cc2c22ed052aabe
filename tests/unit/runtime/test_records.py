"""Packed records from Redis."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import Misconfigured
from contracts.record import RECORD, RECORD_VERSION, blank_records
from runtime import keys
from runtime.records import RecordStore, unpack
from runtime.testing import FakeRedis


def one(pages: int) -> bytes:
    made = blank_records(1)
    made["facts"]["pages"] = pages
    return made.tobytes()


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
        one(1)[:-1],
        one(1) + b"\0",
        b"",
    ],
    ids=["newer", "newer-longer", "older", "shorter", "longer", "empty"],
)
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
    """Through what turns its bytes into a record of this one; others are refused, by name."""
    current = one(7)
    older = {0: lambda value: current if value == b"\x00old" else b""}

    records = unpack([b"\x00old", None, current], older)

    assert current == records[0].tobytes() == records[2].tobytes()
    assert -1 == records["facts"]["offset"][1]
    with pytest.raises(
        Misconfigured, match=r"version 9 .*upgrade Ebbtide, or run `ebbtide rebuild`"
    ):
        unpack([b"\x09new"], older)
