"""Records without their zeros."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contracts.packing import pack, unpack
from contracts.record import RECORD, RECORD_VERSION, blank_records

_WORDS = RECORD.itemsize // 2


@st.composite
def any_records(draw: st.DrawFn) -> np.ndarray:
    """(n,) RECORD of any bytes, many of them zero."""
    words = draw(
        arrays(
            "<u2",
            st.tuples(st.integers(0, 4), st.just(_WORDS)),
            elements=st.integers(0, 0xFFFF),
            fill=st.just(0),
        )
    )
    return words.view(RECORD).reshape(len(words))


@given(any_records())
def test_records_come_back_to_the_byte(records: np.ndarray) -> None:
    """Whatever they hold, in their order, and may be written to."""
    back = unpack(pack(records))

    assert (RECORD, records.tobytes()) == (back.dtype, back.tobytes())
    assert back.flags.writeable


@given(any_records())
def test_how_a_record_is_packed_depends_on_nothing_else(records: np.ndarray) -> None:
    """Alone or among others it has the same stored form."""
    alone = [pack(records[i : i + 1])[0] for i in range(len(records))]

    assert alone == pack(records)


def test_a_stored_record_begins_with_its_version() -> None:
    """As in any layout, so that who cannot read it can say so."""
    assert RECORD_VERSION == pack(blank_records(1))[0][0]


def test_what_is_not_there_takes_no_room() -> None:
    """34 bytes and 2 for each word of 16 bits that is not zero."""
    full = np.full(RECORD.itemsize, 255, np.uint8).view(RECORD)
    none = np.zeros(1, RECORD)

    assert [34, 32 + RECORD.itemsize] == [len(pack(records)[0]) for records in (none, full)]


def test_packing_leaves_the_records_alone() -> None:
    """Also where they are a part of others, not contiguous."""
    records = blank_records(4)
    records["facts"]["pages"] = [1, 2, 3, 4]
    before = records.tobytes()

    assert records[::2].tobytes() == unpack(pack(records[::2])).tobytes()
    assert before == records.tobytes()


@pytest.mark.parametrize("bit", [251, 255])
def test_a_bit_of_no_word_is_refused(bit: int) -> None:
    """It would be a word of a longer record."""
    damaged = bytearray(pack(blank_records(1))[0] + b"\1\1")
    damaged[2 + bit // 8] |= 1 << bit % 8

    with pytest.raises(ValueError, match="other words"):
        unpack([bytes(damaged)])


@pytest.mark.parametrize("moved", [1, 2])
def test_what_one_record_lacks_another_does_not_make_up(moved: int) -> None:
    """Bytes at the end of one and missing from the next are as bad as each alone."""
    one, other = pack(blank_records(2))

    with pytest.raises(ValueError, match="a stored record"):
        unpack([one + other[:moved], other[moved:]])
    with pytest.raises(ValueError, match="a stored record"):
        unpack([one + other[-moved:], other[:-moved]])
