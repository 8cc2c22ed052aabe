"""The scorer's batches and sweeps on doubles: what is published and what is stored."""

from __future__ import annotations

import json

import pytest

from contracts.errors import LogUnavailable, Refused, StoreUnavailable
from contracts.lapse import lapses_at
from contracts.packing import pack
from contracts.partition import home, shard
from contracts.record import NO_CROSSING
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, NEVER, from_ms
from contracts.topics import ACTIVITY, SCORES, dead_letter
from runtime import keys
from runtime.ledger import Mark
from tests.fading_model import FadingModel
from tests.unit.scorer.stand import NOON, PARTITIONS, Stand, offline, settle, user_at

ADA = user_at(0)
BOB = user_at(0, 1)


async def test_an_event_is_scored_as_of_its_log_time() -> None:
    """An activity score is as of the log time of the last event folded."""
    stand = Stand()
    scorer = await stand.opened()

    await scorer.handle([stand.event(NOON - MINUTE_MS), stand.event(NOON)])

    [score] = stand.scores()
    assert (ADA, "activity", from_ms(NOON)) == (score.user_id, score.trigger, score.scored_at)
    assert (1, 1, 0) == (score.position.log, score.position.offset, score.position.partition)


async def test_stored_facts_equal_the_offline_fold() -> None:
    """What Redis holds after batches is what folding the log at once gives, byte for byte."""
    stand = Stand()
    scorer = await stand.opened()
    log = [stand.event(NOON + i * 7 * HOUR_MS, pages_visited=i) for i in range(20)]

    for start in range(0, 20, 3):
        await scorer.handle(log[start : start + 3])

    assert offline(log, ADA).tobytes() == (await stand.facts(ADA)).tobytes()


async def test_redelivery_changes_nothing() -> None:
    """Records handed over again after a restart are passed over."""
    stand = Stand()
    log = [stand.event(NOON), stand.event(NOON + MINUTE_MS)]
    await (await stand.opened()).handle(log)
    stored = stand.redis.backup()
    published = len(stand.scores())

    again = await stand.opened()
    await again.handle(log)

    assert stored.strings == stand.redis.state.strings
    assert published == len(stand.scores())


async def test_a_worker_that_dies_before_saving_repeats_the_same_score() -> None:
    """Published but not saved: the score comes again under its id, and facts count once."""
    stand = Stand()
    log = [stand.event(NOON, pages_visited=3)]
    stand.ledger.fails_before = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        await (await stand.opened()).handle(log)

    await (await stand.opened()).handle(log)

    first, second = stand.scores()
    assert first == second
    assert 3 == (await stand.facts(ADA))["pages"][0]


async def test_nothing_is_saved_when_publishing_fails() -> None:
    """The watermark never passes a score that Kafka did not acknowledge."""
    stand = Stand()
    scorer = await stand.opened()
    stand.publisher.fails = LogUnavailable("away")

    with pytest.raises(LogUnavailable):
        await scorer.handle([stand.event(NOON)])

    assert {} == stand.redis.state.strings


async def test_a_store_that_was_rolled_back_refuses_and_loses_nothing() -> None:
    """After a restored backup the worker is refused, and rereading brings all events back."""
    stand = Stand()
    scorer = await stand.opened()
    log = [stand.event(NOON + i * MINUTE_MS, pages_visited=1) for i in range(6)]
    await scorer.handle(log[:2])
    backup = stand.redis.backup()
    await scorer.handle(log[2:4])
    stand.redis.restore(backup)
    told = stand.scores()

    with pytest.raises(Refused):
        await scorer.handle(log[4:])
    assert told == stand.scores()  # nothing of the older facts was published
    await (await stand.opened()).handle(log[2:])

    assert offline(log, ADA).tobytes() == (await stand.facts(ADA)).tobytes()


async def test_a_zombie_writes_and_publishes_nothing() -> None:
    """Two workers believe they own the partition: the one that comes second is refused."""
    stand = Stand()
    zombie, owner = await stand.opened(), await stand.opened()
    first, second = stand.event(NOON), stand.event(NOON + MINUTE_MS)
    await owner.handle([first, second])
    stored, told = stand.redis.backup(), stand.scores()

    with pytest.raises(Refused):
        await zombie.handle([first])

    assert stored == stand.redis.state
    assert told == stand.scores()


async def test_a_shard_that_is_ahead_is_not_moved_back() -> None:
    """One shard of a cluster went back alone: its users count again, the other shards' do not."""
    stand = Stand()
    log = [stand.event(NOON + i * MINUTE_MS, user_id=user, pages_visited=1)
           for i, user in enumerate([ADA, BOB] * 5)]  # fmt: skip
    await (await stand.opened()).handle(log[:4])
    early = stand.redis.backup()
    await (await stand.opened()).handle(log[4:])
    behind = keys.marks(shard(ADA), ACTIVITY)
    stand.redis.state.hashes[behind] = early.hashes[behind]
    stand.redis.state.strings[keys.record(ADA)] = early.strings[keys.record(ADA)]

    for start in range(4, 10, 2):
        await (await stand.opened()).handle(log[start : start + 2])

    for user in (ADA, BOB):
        assert offline(log, user).tobytes() == (await stand.facts(user)).tobytes()


async def test_a_new_log_is_not_mistaken_for_repeats() -> None:
    """Offsets of a recreated topic count although the old log had passed them."""
    stand = Stand()
    await (await stand.opened()).handle([stand.event(NOON + i, pages_visited=1) for i in range(5)])
    stand.log, stand.offset = 2, 0

    await (await stand.opened()).handle([stand.event(NOON + MINUTE_MS, pages_visited=1)])

    facts = await stand.facts(ADA)
    assert (6, 2, 0) == (facts["pages"][0], facts["log_number"][0], facts["offset"][0])


async def test_a_record_away_from_home_is_sent_there_once() -> None:
    """Another partitioner's record goes home with an id and its log time, and counts there only."""
    stand = Stand()
    stranger = user_at(2)
    scorer = await stand.opened()

    await scorer.handle([stand.event(NOON, user_id=stranger)])

    [sent] = [entry for entry in stand.publisher.published if entry.topic == ACTIVITY]
    assert (2, NOON) == (sent.partition, sent.message.timestamp_ms)
    assert "1:0:0" == json.loads(sent.message.value or b"")["event_id"]
    assert 2 == home(stranger, PARTITIONS)
    assert {} == stand.redis.state.strings
    assert Mark(1, 1) == scorer.marks.stored[0]


async def test_a_bad_record_is_parked_with_reason_and_original_bytes() -> None:
    """What does not decode goes to the dead letters, and the next event still counts."""
    stand = Stand()
    scorer = await stand.opened()

    await scorer.handle([stand.raw(b"not json", NOON, key=b"k"), stand.event(NOON)])

    [parked] = stand.publisher.of(dead_letter(ACTIVITY))
    assert (b"k", b"not json") == (parked.key, parked.value)
    assert b"not a JSON event" in dict(parked.headers)["ebbtide-reason"]
    assert 1 == len(stand.scores())


async def test_a_long_run_of_bad_records_waits_for_a_person() -> None:
    """A hundred bad records of several keys are parked, then the partition is held."""
    stand = Stand()
    scorer = await stand.opened()
    bad = [stand.raw(b"{}", NOON, key=b"key-%d" % (i % 3)) for i in range(100)]

    await scorer.handle(bad)

    assert 100 == len(stand.publisher.of(dead_letter(ACTIVITY)))
    assert await scorer.held()
    assert "dead-letters accept" in " ".join(stand.health.reasons.values())


async def test_a_run_of_one_key_is_only_parked() -> None:
    """One broken producer does not stop everybody else."""
    stand = Stand()
    scorer = await stand.opened()

    await scorer.handle([stand.raw(b"{}", NOON, key=b"same") for _ in range(150)])

    assert not await scorer.held()


async def test_silence_is_scored_at_the_end_of_the_session() -> None:
    """Half an hour after the last event the curve is known and a silence score goes out."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])

    await settle(scorer, NOON + 29 * MINUTE_MS)
    assert 1 == len(stand.scores())
    await settle(scorer, NOON + 30 * MINUTE_MS)

    score = stand.scores()[-1]
    assert ("silence", from_ms(NOON + 30 * MINUTE_MS)) == (score.trigger, score.scored_at)
    assert from_ms(NOON + 7 * DAY_MS) == score.at_risk_at
    assert 16 == len(score.crossings)


async def test_every_level_crossed_in_silence_emits_one_score() -> None:
    """The timer climbs the ladder: one score a level, none of them by an event."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])

    for hour in range(24 * 20):
        await settle(scorer, NOON + hour * HOUR_MS)

    silent = [score for score in stand.scores() if score.trigger == "silence"]
    levels = FadingModel.levels
    reached = [sum(score.churn_probability >= levels) for score in silent]
    # End of session, end of patience (a day), then the sixteen levels one by one.
    assert [0, 0, *range(1, 17)] == reached
    [record] = await stand.records.load([ADA])
    assert (
        lapses_at(record["facts"]["last_seen"], FadingModel.horizon_days)
        == (record["outlook"]["due"])
    )


async def test_one_model_call_per_session_not_per_event() -> None:
    """Events cost an activity score each batch; the futures are computed when a session ends."""
    stand = Stand()
    scorer = await stand.opened()
    for minute in range(5):
        await scorer.handle([stand.event(NOON + minute * MINUTE_MS)])
    assert 5 == stand.model.calls

    await settle(scorer, NOON + HOUR_MS)

    assert 5 + 2 == stand.model.calls  # the curve, and the score itself


async def test_a_scorer_that_was_down_does_not_accuse_who_returned_unread() -> None:
    """Behind the log, timers fire by log time: a return in the backlog comes first."""
    stand = Stand()
    first = await stand.opened()
    await first.handle([stand.event(NOON)])
    await settle(first, NOON + HOUR_MS)
    backlog = [stand.event(NOON + 8 * DAY_MS, user_id=BOB), stand.event(NOON + 6 * DAY_MS)]

    again = await stand.opened()
    await again.handle(backlog[1:])
    await settle(again, again.log_time)

    assert all(score.churn_probability < 0.7 for score in stand.scores())


async def test_unchanged_nightly_snapshots_leave_a_silence_as_it_was() -> None:
    """Thirty exports with the same totals move neither curve nor timer nor scores."""

    async def silent_scores(*, with_exports: bool) -> tuple[list[object], bytes]:
        stand = Stand()
        scorer = await stand.opened()
        await scorer.handle([stand.event(NOON, pages_visited=5, time_spent=9)])
        for day in range(1, 31):
            if with_exports:
                export = stand.event(
                    NOON + day * DAY_MS, type="snapshot", pages_visited=5, time_spent=9
                )
                await scorer.handle([export])
            await settle(scorer, NOON + day * DAY_MS)
        told = [(s.scored_at, s.churn_probability, s.crossings) for s in stand.scores()]
        outlook = (await stand.records.load([ADA]))["outlook"]
        return told, outlook.tobytes()

    assert await silent_scores(with_exports=False) == await silent_scores(with_exports=True)


async def test_a_user_known_only_by_totals_is_not_scored() -> None:
    """Nobody who has done nothing yet tops the list of those at risk, or gets a timer."""
    stand = Stand()
    scorer = await stand.opened()

    await scorer.handle([stand.event(NOON, type="snapshot", pages_visited=9, time_spent=12)])
    await settle(scorer, NOON + DAY_MS)

    assert [] == stand.scores()
    assert {} == stand.redis.state.zsets
    assert 9 == (await stand.facts(ADA))["pages_base"][0]


async def test_a_backfill_changes_facts_and_waits_an_hour() -> None:
    """Old events trigger no score of their own; one comes an hour later."""
    stand = Stand()
    scorer = await stand.opened()
    old = [stand.event(NOON - 9 * DAY_MS + i, log_time=NOON) for i in range(3)]

    await scorer.handle(old)
    assert [] == stand.scores()
    await settle(scorer, NOON + HOUR_MS)

    [score] = stand.scores()
    assert ("silence", from_ms(NOON + HOUR_MS)) == (score.trigger, score.scored_at)


async def test_a_tombstone_erases_everything_but_the_gravestone() -> None:
    """Facts, timer, rank go; the score topic gets a tombstone; a redelivery brings nothing back."""
    stand = Stand()
    scorer = await stand.opened()
    log = [stand.event(NOON, pages_visited=4), stand.raw(None, NOON + 1, key=ADA.encode())]
    await scorer.handle(log)

    assert None is stand.publisher.of(SCORES)[-1].value
    facts = await stand.facts(ADA)
    assert (0, NEVER, 1) == (facts["pages"][0], facts["last_seen"][0], facts["offset"][0])
    assert {} == stand.redis.state.zsets
    await (await stand.opened()).handle(log)
    assert 0 == (await stand.facts(ADA))["pages"][0]


async def test_a_cancellation_is_told_at_once() -> None:
    """subscription_cancelled is no activity, yet its score goes out and says so."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])

    await scorer.handle([stand.event(NOON + DAY_MS, type="subscription_cancelled")])

    assert [False, True] == [score.cancelled for score in stand.scores()]
    assert from_ms(NOON) == stand.scores()[-1].last_seen_at


async def test_a_new_model_rescores_everybody_with_a_timer() -> None:
    """Another model version makes timers due, spread over the stated time, trigger `model`."""
    stand = Stand(spread_ms=10 * MINUTE_MS)
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON), stand.event(NOON, user_id=BOB)])
    await settle(scorer, NOON + HOUR_MS)
    stand.model = FadingModel("fading-2")

    again = await stand.opened()
    now = NOON + 2 * HOUR_MS
    await settle(again, now)
    await settle(again, now + 10 * MINUTE_MS)

    renewed = [score for score in stand.scores() if score.trigger == "model"]
    assert {ADA, BOB} == {score.user_id for score in renewed}
    assert all(now <= s.scored_at.timestamp() * 1000 <= now + 600_000 for s in renewed)
    assert {"fading-2"} == {score.model_version for score in renewed}


async def test_an_index_entry_that_disagrees_is_corrected_not_fired() -> None:
    """Timers in the sorted set are only an index of the records."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    [timers] = [key for key in stand.redis.state.zsets if ":t:" in key]
    await stand.redis.zadd(timers, {ADA: float(NOON + MINUTE_MS)})

    again = await stand.opened()
    await settle(again, NOON + 2 * MINUTE_MS)

    assert 1 == len(stand.scores())
    assert {ADA.encode(): float(NOON + 30 * MINUTE_MS)} == stand.redis.state.zsets[timers]


async def test_clock_records_move_time_alone() -> None:
    """A clock record changes no user, but the partition's log time and watermark."""
    stand = Stand()
    scorer = await stand.opened()

    await scorer.handle([stand.tick(NOON)])

    assert NOON == scorer.log_time
    assert Mark(1, 1) == scorer.marks.stored[5]
    assert [] == stand.scores()


async def test_records_are_one_packed_value_and_ranked() -> None:
    """A user is one string in Redis plus entries in the timer and rank indexes."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])

    records = await stand.records.load([ADA])
    assert {keys.record(ADA): pack(records)[0]} == stand.redis.state.strings
    assert 2 == len(stand.redis.state.zsets)
    assert (records["outlook"]["curve"] == NO_CROSSING).all()
