"""What a partition's next owner takes over, and what comes again after a rollback."""

from __future__ import annotations

import pytest

from contracts.times import DAY_MS, HOUR_MS, NEVER
from contracts.topics import ACTIVITY
from runtime.testing import FakeRecord
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


@pytest.mark.parametrize("saves_forgotten", [1, 3])
async def test_a_rollback_of_many_saves_counts_what_was_sent_home_once(
    saves_forgotten: int,
) -> None:
    """However many of one user's records go home again, the facts are those of the first time."""
    source, home_stand = Stand(partition=0), Stand(partition=2)
    user_id = user_at(2)
    log = [source.event(NOON + i, user_id=user_id, pages_visited=1) for i in range(120)]
    batches = [log[i : i + 30] for i in range(0, 120, 30)]
    backups = []
    scorer = await source.opened()
    for batch in batches:
        backups.append(source.redis.backup())
        await scorer.handle(batch)
    at_home = arriving(source, home_stand)
    scorer_at_home = await home_stand.opened()
    await scorer_at_home.handle(at_home[:50])
    before_rest = home_stand.redis.backup()
    await scorer_at_home.handle(at_home[50:])
    once = await home_stand.facts(user_id)

    source.redis.restore(backups[-saves_forgotten])
    await (await source.opened()).handle(log)
    again = arriving(source, home_stand, since=len(at_home))
    await scorer_at_home.handle(again)

    assert 30 * saves_forgotten == len(again)
    assert once.tobytes() == (await home_stand.facts(user_id)).tobytes()
    assert 120 == once["events"][0]
    # And should home have forgotten, too, it comes to the same from what lies in its log.
    home_stand.redis.restore(before_rest)
    for part in (at_home[50:], again):
        await (await home_stand.opened()).handle(part)
    assert once.tobytes() == (await home_stand.facts(user_id)).tobytes()


def arriving(source: Stand, at_home: Stand, since: int = 0) -> list[FakeRecord]:
    """What the source's scorer has sent home, as records of the log there."""
    return [
        at_home.raw(
            message.value, message.timestamp_ms, key=message.key, headers=list(message.headers)
        )
        for message in source.publisher.of(ACTIVITY)[since:]
    ]


async def test_time_of_unusable_records_fires_no_timer() -> None:
    """Microseconds for milliseconds: the record is parked, and nobody is accused."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON), stand.raw(b"{}", NOON * 1000)])

    await settle(scorer, scorer.log_time)

    assert NOON == scorer.log_time < NOON + HOUR_MS
    assert 1 == len(stand.scores())
