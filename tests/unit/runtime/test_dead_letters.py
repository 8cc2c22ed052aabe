"""Runs of bad records, and letters that can be parked whatever a producer made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.topics import dead_letter
from runtime.dead_letters import (
    MAX_LETTER_BYTES,
    RUN_KEYS,
    RUN_RECORDS,
    BadLetter,
    DeadLetters,
    Run,
    accept,
)
from runtime.health import Health
from runtime.kafka import Message
from runtime.ledger import Mark
from runtime.testing import FakePublisher, FakeRecord, FakeRedis, record

TOPIC = "things"


@given(st.lists(st.none() | st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=250))
def test_a_run_trips_when_long_and_broad(keys: list[bytes | None]) -> None:
    """RUN_RECORDS bad ones since the last good one, from RUN_KEYS keys or more; None is a key."""
    run = Run()
    for key in keys:
        run.bad(key)

    assert (len(keys) >= RUN_RECORDS and len(set(keys)) >= RUN_KEYS) == run.tripped


def test_one_good_record_ends_a_run() -> None:
    """Length and keys start anew."""
    run = Run()
    for number in range(RUN_RECORDS - 1):
        run.bad(b"%d" % number)
    run.good()
    for _ in range(RUN_RECORDS):
        run.bad(b"same")

    assert not run.tripped


async def parked(bad: FakeRecord) -> Message:
    publisher = FakePublisher()
    letters = DeadLetters(publisher, FakeRedis().client, TOPIC, Health())
    await letters.park(2, 5, [BadLetter(bad, "because")])
    [message] = publisher.of(dead_letter(TOPIC))
    return message


async def test_a_letter_is_the_record_with_reason_and_place() -> None:
    """Key, value, time and headers as they came, plus why and from where."""
    came = record(b"\xff", key=b"\xfe", partition=2, offset=9, timestamp=88, headers=[("h", b"1")])

    letter = await parked(came)

    assert (b"\xfe", b"\xff", 88) == (letter.key, letter.value, letter.timestamp_ms)
    headers = dict(letter.headers)
    assert (b"because", b"things:5:2:9", b"1") == (
        headers["ebbtide-reason"],
        headers["ebbtide-source"],
        headers["original-h"],
    )


@pytest.mark.parametrize("timestamp", [-1, -(2**63), 10**17, 2**63 - 1])
async def test_a_timestamp_that_is_no_time_stops_no_parking(timestamp: int) -> None:
    """Nanoseconds, or nothing: the letter gets the nearest time there is."""
    letter = await parked(record(b"x", timestamp=timestamp))

    assert 0 <= letter.timestamp_ms < 4_102_444_800_000


async def test_a_record_too_large_for_its_letter_is_parked_without_its_bytes() -> None:
    """With the headers we add a broker would refuse it for ever, and the partition would stop."""
    letter = await parked(record(bytes(MAX_LETTER_BYTES + 1), key=b"k"))

    assert (b"k", None) == (letter.key, letter.value)
    assert b"read it at its source" in dict(letter.headers)["ebbtide-left-out"]


async def test_held_until_accepted() -> None:
    """The health says what to do, and forgets it once a person has accepted."""
    redis, health = FakeRedis(), Health()
    health.goes_on("start")
    letters = DeadLetters(FakePublisher(), redis.client, TOPIC, health)
    assert not await letters.held(3)

    await letters.hold(3, Mark(1, 100))
    assert await letters.held(3)
    assert not await letters.held(4)
    assert "ebbtide dead-letters accept" in health.reasons["dead letters of partition 3"]

    assert {3: Mark(1, 100)} == await accept(redis.client, TOPIC)
    assert not await letters.held(3)
    assert {} == health.reasons
    assert {} == await accept(redis.client, TOPIC)
