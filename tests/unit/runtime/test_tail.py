"""Cursors: places in a topic that survive being written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import BadRecord
from runtime.tail import BEGINNING, Cursor

LOG = "0123456789abcdef" * 2
cursors = st.builds(
    Cursor, st.just(LOG), st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=9).map(tuple)
)


@given(cursor=cursors)
def test_a_cursor_survives_being_written_down(cursor: Cursor) -> None:
    """
    Parsing what str gave gives the cursor.
    """
    assert cursor == Cursor.parse(str(cursor))


@pytest.mark.parametrize(
    "text",
    ["", "7", "1-xyz-1", f"2-{LOG}-1", f"1-{LOG}-", f"1-{LOG}-1.", f"1-{LOG}--1", f"1-{LOG}-1\n",
     f"1-{LOG}-{'9' * 19}", f"1-{LOG}-{'1.' * 4096}1", f"1-{LOG}-\N{ARABIC-INDIC DIGIT ONE}"],
)  # fmt: skip
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """
    Anything str never gave is no cursor.
    """
    with pytest.raises(BadRecord):
        Cursor.parse(text)


@given(cursor=cursors, partition=st.integers(0, 12), offset=st.integers(0, 10**17))
def test_what_was_taken_stays_taken(cursor: Cursor, partition: int, offset: int) -> None:
    """
    After a record the cursor has it, and everything it had before; nothing more.
    """
    after = cursor.after(partition, offset)

    assert after.has(partition, offset)
    assert after.covers(cursor)
    assert not cursor.covers(after) or cursor.has(partition, offset)
    untouched = [n for n in range(len(cursor.offsets)) if n != partition]
    assert [cursor.offsets[n] for n in untouched] == [after.offsets[n] for n in untouched]


@given(one=cursors, other=cursors)
def test_joined_cursors_cover_both_and_no_more(one: Cursor, other: Cursor) -> None:
    """
    Joining is the least cursor that covers both.
    """
    joined = one.joined(other)

    assert joined.covers(one)
    assert joined.covers(other)
    assert joined == other.joined(one)
    for partition, offset in enumerate(joined.offsets):
        assert not joined.has(partition, offset)
        assert offset == 0 or one.has(partition, offset - 1) or other.has(partition, offset - 1)


def test_cursors_of_two_logs_cover_nothing_of_each_other() -> None:
    """
    Offsets mean nothing in another incarnation of the topic.
    """
    assert not Cursor(LOG, (5,)).covers(Cursor("f" * 32, (1,)))
    assert not BEGINNING.covers(Cursor(LOG, (0,)))
