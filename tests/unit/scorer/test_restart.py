"""What a partition's next owner takes over, and batches taken in parts."""

from __future__ import annotations

import json

import pytest

from contracts.errors import StoreUnavailable
from contracts.times import DAY_MS, HOUR_MS, NEVER
from contracts.topics import ACTIVITY
from runtime.ledger import Mark
from scorer.reading import MAX_AWAY
from tests.unit.scorer.stand import NOON, Stand, settle, user_at


async def test_the_last_timers_of_a_stream_fire_after_a_restart() -> None:
    """The stream has ended, its clock is stored: no further record has to come."""
    stand = Stand()
    await (await stand.opened()).handle([stand.event(NOON), stand.tick(NOON + 9 * DAY_MS)])

    again = await stand.opened()
    await settle(again, again.log_time)

    assert NOON + 9 * DAY_MS == again.log_time
    assert max(score.churn_probability for score in stand.scores()) > 0.8


async def test_a_new_log_begins_with_its_own_time() -> None:
    """An older history replayed into a recreated topic must not find everybody silent."""
    stand = Stand()
    await (await stand.opened()).handle([stand.event(NOON)])
    stand.log, stand.offset = 2, 0

    assert NEVER == (await stand.opened()).log_time


async def test_a_crash_between_sending_home_and_saving_repeats_few() -> None:
    """However long the run of one user's records: what is sent twice fits the window at home."""
    stand = Stand()
    scorer = await stand.opened()
    log = [stand.event(NOON + i, user_id=user_at(2)) for i in range(5 * MAX_AWAY + 1)]
    await scorer.handle(log[:-1])
    stand.ledger.fails_before = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        await scorer.handle(log[-1:])
    again = await stand.opened()
    assert Mark(1, len(log) - 1) == again.marks.stored[0]
    await again.handle(log)

    ids = [json.loads(message.value or b"")["event_id"] for message in stand.publisher.of(ACTIVITY)]
    sent = [int(one.rpartition(":")[2]) for one in ids]
    assert [*range(len(log)), len(log) - 1] == sent


async def test_a_failure_half_way_keeps_what_was_saved() -> None:
    """Parts of a batch are saved one by one; the next owner goes on behind the last."""
    stand = Stand()
    scorer = await stand.opened()
    log = [stand.event(NOON + i, user_id=user_at(2)) for i in range(3 * MAX_AWAY)]
    stand.ledger.fails_after = StoreUnavailable("answer lost")

    with pytest.raises(StoreUnavailable):
        await scorer.handle(log)

    assert Mark(1, MAX_AWAY) == (await stand.opened()).marks.stored[0]


async def test_time_of_unusable_records_fires_no_timer() -> None:
    """Microseconds for milliseconds: the record is parked, and nobody is accused."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON), stand.raw(b"{}", NOON * 1000)])

    await settle(scorer, scorer.log_time)

    assert NOON == scorer.log_time < NOON + HOUR_MS
    assert 1 == len(stand.scores())
