"""Records sorted into rows to fold, records to send home and records to park."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.activity import FoldRules
from contracts.events import MAX_EVENT_BYTES, decode
from contracts.partition import SHARDS, home, shard
from contracts.times import NEVER
from contracts.topics import CLOCK_HEADER
from runtime.arrivals import source_header
from runtime.keys import HELD_SHARD
from runtime.ledger import Mark, Marks
from runtime.testing import FakeRecord, record
from scorer.reading import Here, Reading, read
from tests.unit.scorer.stand import NOON, PARTITIONS, user_at

RULES = FoldRules()
HERE = Here(log=1, partition=0, partitions=PARTITIONS, beginning=0, topic_id=UUID(int=1))
NOTHING = Marks(0, (None,) * SHARDS)
ADA, BOB, STRANGER = user_at(0), user_at(0, 1), user_at(2)


def event(user_id: str = ADA, offset: int = 0, at: int = NOON, **fields: Any) -> FakeRecord:
    value = json.dumps({"user_id": user_id, "type": "page_view"} | fields).encode()
    return record(value, key=user_id, offset=offset, timestamp=at)


def with_headers(one: FakeRecord, *headers: tuple[str, bytes]) -> FakeRecord:
    one.headers = headers
    return one


def read_all(*records: FakeRecord, marks: Marks = NOTHING) -> Reading:
    return read(records, HERE, marks, RULES)


def test_rows_keep_the_order_of_the_log() -> None:
    """Each user once, in order of appearance; each row knows its user."""
    reading = read_all(*(event([ADA, BOB][i % 2], offset=i) for i in range(5)))

    rows, user = reading.events()
    assert ([ADA, BOB], [0, 1, 0, 1, 0]) == (reading.user_ids, user.tolist())
    assert [0, 1, 2, 3, 4] == rows["offset"].tolist()


def test_nothing_but_time_gives_no_rows() -> None:
    """A clock record moves the log time and concerns nobody, whatever it carries."""
    reading = read_all(record(b"\xff", timestamp=NOON, headers=[(CLOCK_HEADER, b"")]))

    assert ([], [], [], NOON) == (reading.rows, reading.bad, reading.verdicts, reading.log_time)


@given(st.lists(st.integers(0, 12), min_size=SHARDS, max_size=SHARDS))
def test_a_record_below_its_users_watermark_is_a_repeat(offsets: list[int]) -> None:
    """Each shard has its own; what belongs to nobody here is a repeat when any shard passed it."""
    marks = Marks(0, tuple(Mark(1, offset) for offset in offsets))
    records = [
        one
        for i in range(0, 15, 3)
        for one in (event(ADA, i), event(STRANGER, i + 1), record(b"{", offset=i + 2))
    ]

    reading = read_all(*records, marks=marks)

    fresh = [i for i in range(0, 15, 3) if i >= offsets[shard(ADA)]]
    assert fresh == [row[2] for row in reading.rows]
    assert len([i for i in range(1, 15, 3) if i >= max(offsets)]) == len(reading.away)
    assert [i for i in range(2, 15, 3) if i >= max(offsets)] == [
        letter.record.offset for letter in reading.bad
    ]
    assert len([i for i in range(15) if i >= offsets[HELD_SHARD]]) == len(reading.verdicts)


def test_marks_of_another_log_repeat_nothing() -> None:
    """A recreated topic begins anew, however far the old one was read."""
    assert 1 == len(read_all(event(), marks=Marks(0, (Mark(3, 99),) * SHARDS)).rows)


@pytest.mark.parametrize("timestamp", [-1, 2**62, NOON * 1000])
def test_a_record_without_a_time_moves_no_clock(timestamp: int) -> None:
    """Parked, and its microseconds make nobody silent for fifty thousand years."""
    reading = read_all(event(at=timestamp), event(offset=1))
    tombstone = record(None, key=ADA, timestamp=timestamp)

    assert ([0], NOON) == ([letter.record.offset for letter in reading.bad], reading.log_time)
    assert NEVER == read_all(tombstone).log_time
    assert 1 == len(read_all(tombstone).rows)


def test_a_run_is_judged_by_all_records_of_the_partition() -> None:
    """In order, with the producer's key: usable ones end a run, also those sent home."""
    reading = read_all(event(ADA, 0), record(b"{", key="k", offset=1), event(STRANGER, 2))

    assert [(True, ADA.encode()), (False, b"k"), (True, STRANGER.encode())] == reading.verdicts


@pytest.mark.parametrize("key", [None, b"", b"\xff"])
def test_a_tombstone_without_a_user_is_bad(key: bytes | None) -> None:
    """Its key says whom to erase."""
    assert 1 == len(read_all(record(None, key=key, timestamp=NOON)).bad)


def test_a_tombstone_goes_home_like_any_record() -> None:
    """Without value, to the user in its key."""
    [message] = read_all(record(None, key=STRANGER, timestamp=NOON)).away

    assert (STRANGER.encode(), None, NOON) == (message.key, message.value, message.timestamp_ms)


texts = st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(texts, values, max_size=4),
    st.sampled_from(["", "\n ", "  \r\n\t"]),
    st.sampled_from([{}, {"event_id": None}]),
)
def test_an_event_sent_home_is_the_same_event_with_an_id(
    properties: dict[str, Any], space: str, no_id: dict[str, None]
) -> None:
    """Its place becomes its id, once and for all; everything else is as it came."""
    came = event(STRANGER, 7, properties=properties, **no_id)
    came.value = (came.value or b"") + space.encode()

    [message] = read_all(came).away

    before, after = decode(came.value), decode(message.value or b"")
    assert "1:0:7" == after.event_id
    assert (before.properties, STRANGER) == (after.properties, after.user_id)


def test_an_event_with_an_id_is_sent_home_byte_for_byte() -> None:
    """Its id makes a second sending harmless."""
    came = event(STRANGER, event_id="mine")
    [message] = read_all(came).away
    assert came.value == message.value


def test_going_home_does_not_blow_an_event_up() -> None:
    """1e9 stays 1e9: encoded anew it would triple, break the size limit and be parked at home."""
    numbers = b"[" + b",".join([b"1e9"] * 15_000) + b"]"
    value = b'{"user_id":"%s","type":"x","properties":{"a":%s}}' % (STRANGER.encode(), numbers)

    [message] = read_all(record(value, timestamp=NOON)).away

    assert len(message.value or b"") < MAX_EVENT_BYTES
    assert "1:0:0" == decode(message.value or b"").event_id


def test_a_copy_that_lies_away_goes_on_under_its_own_place() -> None:
    """Where it came from before is passed by others by now; where it lies is read in order."""
    headers = [source_header(UUID(int=1), 1, 900), ("ce_source", b"shop")]
    copies = [with_headers(event(STRANGER, offset), *headers) for offset in (5, 6)]

    reading = read_all(*copies)

    [message] = reading.away
    assert [("ce_source", b"shop"), source_header(UUID(int=1), 0, 5)] == message.headers


def test_a_bad_copy_does_not_count_as_arrived() -> None:
    """What could not be read may come again, corrected."""
    header = source_header(UUID(int=1), 1, 9)
    reading = read_all(
        record(b"{", key=ADA, offset=0, headers=[header]), with_headers(event(ADA, 1), header)
    )

    assert (1, 1) == (len(reading.bad), len(reading.rows))


def test_nobody_is_sent_home_twice_over() -> None:
    """At home by the same rule means here: two partitions cannot hand a record to and fro."""
    for number in range(200):
        user_id = f"user-{number}"
        there = [
            len(read([event(user_id)], Here(1, p, PARTITIONS, 0, UUID(int=1)), NOTHING, RULES).away)
            for p in range(PARTITIONS)
        ]
        assert PARTITIONS - 1 == sum(there)
        assert 0 == there[home(user_id, PARTITIONS)]


def test_names_are_those_stated_by_users_at_home() -> None:
    """What people will read beside a score."""
    reading = read_all(event(location="Oslo", plan="pro"), event(STRANGER, 1, location="Bergen"))
    assert {"Oslo", "pro"} == reading.names
