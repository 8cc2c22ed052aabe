"""Runs of bad records, and partitions that wait for a person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import StoreUnavailable
from contracts.topics import dead_letter
from runtime.dead_letters import (
    RUN_KEYS,
    RUN_RECORDS,
    DeadLetters,
    Run,
    accept,
)
from runtime.health import Health
from runtime.ledger import Effects, Mark
from runtime.letters import BadLetter
from runtime.testing import FakeLedger, FakePublisher, FakeRedis, record

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


async def test_parked_letters_lie_in_the_dead_letter_topic() -> None:
    """In the partition their records came from, in order."""
    publisher = FakePublisher()
    letters = DeadLetters(publisher, FakeRedis().client, TOPIC, Health())

    await letters.park(2, 5, [BadLetter(record(b"a"), "x"), BadLetter(record(b"b"), "y")])

    assert [b"a", b"b"] == [message.value for message in publisher.of(dead_letter(TOPIC))]
    assert {2} == {entry.partition for entry in publisher.published}


async def test_a_worker_that_dies_in_the_save_leaves_hold_and_watermark_or_neither() -> None:
    """The hold is part of what the save writes."""
    for dies in ("fails_before", "fails_after"):
        redis = FakeRedis()
        ledger = FakeLedger(redis, TOPIC)
        letters = DeadLetters(FakePublisher(), redis.client, TOPIC, Health())
        effects = Effects()
        letters.hold(effects, 3, Mark(1, 100))
        setattr(ledger, dies, StoreUnavailable("the worker died"))

        with pytest.raises(StoreUnavailable):
            await ledger.save(await ledger.marks(3), Mark(1, 100), 0, effects)

        passed = (await ledger.marks(3)).next_offset(0, 1) == 100
        assert (passed, dies == "fails_after") == (await letters.held(3), passed)


async def test_held_until_accepted() -> None:
    """The health says what to do, and forgets it once a person has accepted."""
    redis, health = FakeRedis(), Health()
    health.goes_on("start")
    letters = DeadLetters(FakePublisher(), redis.client, TOPIC, health)
    assert not await letters.held(3)

    await hold(redis, letters, 3, Mark(1, 100))
    await hold(redis, letters, 5, Mark(2, 7))
    assert await letters.held(3)
    assert not await letters.held(4)
    assert "ebbtide dead-letters accept" in health.reasons["dead letters of partition 3"]

    assert {3: Mark(1, 100)} == await accept(redis.client, TOPIC, 3)
    assert {5: Mark(2, 7)} == await accept(redis.client, TOPIC)
    assert not await letters.held(3)
    assert {} == health.reasons
    assert {} == await accept(redis.client, TOPIC)


async def hold(redis: FakeRedis, letters: DeadLetters, partition: int, mark: Mark) -> None:
    ledger, effects = FakeLedger(redis, TOPIC), Effects()
    letters.hold(effects, partition, mark)
    await ledger.save(await ledger.marks(partition), mark, 0, effects)
