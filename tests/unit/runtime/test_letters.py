"""Dead letters: whatever a producer made up fits into one, and comes out of it as it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.kafka import Message
from runtime.letters import (
    MAX_LETTER_BYTES,
    BadLetter,
    Letter,
    Original,
    note_of_replay,
    pack,
    unpack,
)
from runtime.testing import FakeRecord, record

TOPIC = "things"
BROKER_TAKES = 1_048_588

some_bytes = st.none() | st.binary(max_size=20)
headers = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=9), some_bytes))


def lying(messages: list[Message], first: int = 0) -> list[FakeRecord]:
    """The messages as records of one partition of the dead-letter topic."""
    return [
        FakeRecord(2, first + i, one.timestamp_ms, one.key, one.value, list(one.headers))
        for i, one in enumerate(messages)
    ]


def letters(*bad: FakeRecord, reason: str = "because") -> list[Letter]:
    """What is read back of the parked records."""
    return unpack(lying([one for each in bad for one in pack(TOPIC, 5, BadLetter(each, reason))]))


def as_sent(came: FakeRecord) -> Original:
    return Original(came.key, came.value, tuple(came.headers), came.timestamp)


def size(message: Message) -> int:
    """An upper bound of the bytes a record batch of it takes."""
    rest = sum(len(n.encode()) + len(v or b"") + 10 for n, v in message.headers)
    return len(message.key or b"") + len(message.value or b"") + rest + 100


@given(key=some_bytes, value=some_bytes, headers=headers, time=st.integers(-(2**63), 2**63 - 1))
def test_a_letter_is_the_record_with_reason_and_place(key, value, headers, time):
    """Key, value, time and headers as they came, null or empty, plus why and from where."""
    came = FakeRecord(2, 9, time, key, value, headers)

    (letter,) = letters(came)

    assert as_sent(came) == letter.original
    assert ("things", "5:2:9", 2, "because") == (
        letter.topic, letter.source, letter.source_partition, letter.reason,
    )  # fmt: skip
    (message,) = pack(TOPIC, 5, BadLetter(came, "because"))
    assert (key, value) == (message.key, message.value)
    assert 0 <= message.timestamp_ms < 4_102_444_800_000


@settings(max_examples=20)
@given(
    key_bytes=st.sampled_from([0, 10, 2_000_000]),
    value_bytes=st.sampled_from([0, MAX_LETTER_BYTES, MAX_LETTER_BYTES + 1, 3_000_000]),
    header_count=st.sampled_from([0, 1, 60_000, 200_000]),
)
def test_a_record_of_any_size_is_parked_in_messages_a_broker_takes(
    key_bytes, value_bytes, header_count
):
    """And comes back whole."""
    came = record(
        b"v" * value_bytes, key=b"k" * key_bytes, partition=2, headers=[("h", b"")] * header_count
    )

    packed = pack(TOPIC, 5, BadLetter(came, "x" * 100_000))

    assert max(map(size, packed)) < BROKER_TAKES
    assert [as_sent(came)] == [letter.original for letter in unpack(lying(packed))]


def test_a_letter_parked_twice_is_told_once():
    """A worker that died between parking and saving parks again; parts may come in between."""
    large = record(bytes(2 * MAX_LETTER_BYTES), key=b"k", partition=2, offset=3)
    parts = lying(pack(TOPIC, 5, BadLetter(large, "because")))
    small = record(b"x", partition=2, offset=4)

    twice = unpack(lying([*map(message, [*parts[:2], *parts]), *pack_one(small), *pack_one(small)]))

    assert [("5:2:3", 0), ("5:2:4", 6)] == [(letter.source, letter.offset) for letter in twice]


def test_what_is_no_letter_of_ours_is_passed_over():
    """Nor does a letter with a part missing stand in anybody's way."""
    large = lying(pack(TOPIC, 5, BadLetter(record(bytes(2 * MAX_LETTER_BYTES)), "because")))
    strange = [
        record(b"?", headers=[("ebbtide-source", place)])
        for place in (b"", b"things", b"things:1:2", b"things:a:b:c", b"\xff:1:2:3x", None)
    ]
    foreign = [*large[1:], record(b"?"), *strange, record(b"?", headers=[("ebbtide-part", b"1/1")])]

    assert [] == unpack(foreign)


def test_a_replayed_letter_says_so():
    """The note lies behind it; one about nothing is passed over."""
    first, second = record(b"a", partition=2, offset=1), record(b"b", partition=2, offset=2)
    parked = lying([*pack_one(first), *pack_one(second)])
    note = lying([note_of_replay(unpack(parked)[1], 7)], first=2)
    stray = record(None, headers=[("ebbtide-replayed", b"9:9")])

    assert [False, True] == [letter.replayed for letter in unpack([*parked, *note, stray])]


@pytest.mark.parametrize("reason", ["a" * 10_000, "half a pair \ud800"])
def test_any_reason_can_be_told(reason):
    """Shortened, and with what is no text written out."""
    (letter,) = letters(record(b"x", partition=2), reason=reason)

    assert reason[:9] == letter.reason[:9]
    assert len(letter.reason) <= 2_000


def pack_one(came: FakeRecord) -> list[Message]:
    return pack(TOPIC, 5, BadLetter(came, "because"))


def message(of: FakeRecord) -> Message:
    return Message(of.key, of.value, of.timestamp, of.headers)
