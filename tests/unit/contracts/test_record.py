"""The layout of the record in Redis: a change of it is a new version."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from contracts.record import (
    BOOKKEEPING,
    FACTS,
    NO_CROSSING,
    OUTLOOK,
    RECORD,
    RECORD_VERSION,
    blank_facts,
    blank_records,
)
from contracts.times import NEVER


def test_the_record_has_its_size():
    """
    504 bytes, of which 444 are facts.
    """
    assert (504, 444) == (RECORD.itemsize, FACTS.itemsize)


def test_the_version_comes_first():
    """
    The first byte of a stored record says which layout the others have.
    """
    assert RECORD_VERSION == blank_records(1).tobytes()[0]


def test_the_layout_of_this_version():
    """
    Whoever changes names, types or order of the fields changes RECORD_VERSION with them.
    """
    layout = repr((FACTS.descr, OUTLOOK.descr, RECORD.descr)).encode()

    assert (2, "05f6f56ca290f3ab") == (RECORD_VERSION, hashlib.sha256(layout).hexdigest()[:16])


@pytest.mark.parametrize("layout", [FACTS, OUTLOOK])
def test_a_record_is_packed_and_holds_no_floats(layout):
    """
    Fields follow one another without a gap, and are whole numbers of a fixed byte order.
    """
    end = 0
    for name in layout.names:
        field, offset = layout.fields[name][:2]
        assert end == offset
        assert field.base.kind in "ui"
        assert field.base.byteorder in "|<="
        end = offset + field.itemsize
    assert end == layout.itemsize


@pytest.mark.parametrize("layout", [FACTS, OUTLOOK])
def test_fields_are_aligned_within_their_part(layout):
    """
    Every field of FACTS starts at a multiple of its own width, or of four for wide ones.
    """
    for name in layout.names:
        field, offset = layout.fields[name][:2]
        assert 0 == offset % min(field.base.itemsize, 4), name


def test_records_survive_the_way_through_redis():
    """
    Bytes in, bytes out: many records decode with one call.
    """
    records = blank_records(3)
    records["facts"]["pages"] = [1, 2, 3]

    stored = b"".join(record.tobytes() for record in records)

    assert records.tobytes() == np.frombuffer(stored, RECORD).tobytes()


def test_a_blank_user_was_never_seen():
    """
    Times are NEVER, the offset lies before the first, counters are 0, nothing is on the curve.
    """
    blank = blank_records(1)[0]

    for name in ("log_time", "last_seen", "first_seen", "signup_at", "snapshot_at"):
        assert blank["facts"][name] == NEVER
    assert -1 == blank["facts"]["offset"]
    assert 0 == blank["facts"]["events"]
    assert (NEVER, NEVER) == (blank["outlook"]["due"], blank["outlook"]["scored_at"])
    assert (blank["outlook"]["curve"] == NO_CROSSING).all()
    assert blank["facts"] == blank_facts(1)[0]


def test_bookkeeping_names_fields():
    """
    What is called bookkeeping exists.
    """
    assert set(BOOKKEEPING) <= set(FACTS.names)
