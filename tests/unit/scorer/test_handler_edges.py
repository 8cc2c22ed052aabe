"""The scorer at its edges: shards that differ, moments that touch, and what must not happen."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import numpy as np
import pytest

import scorer.handler
from contracts.errors import LogUnavailable
from contracts.lapse import lapses_at
from contracts.partition import SHARDS, shard
from contracts.ranks import HAS_LAPSED, RISK_SPAN
from contracts.record import LAPSED, blank_outlook
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, NEVER, from_ms
from contracts.topics import SCORES
from runtime import keys
from runtime.ledger import Mark, Marks
from runtime.testing import FakeRecord, record
from scorer.reading import Here, Reading, read
from tests.fading_model import FadingModel
from tests.unit.scorer.stand import NOON, PARTITIONS, RULES, Stand, offline, settle, user_at

ADA = user_at(0)
BOB = next(
    user for user in (user_at(0, i) for i in range(1, 50)) if shard(user) != shard(user_at(0))
)
STRANGER = user_at(2)
HERE = Here(log=1, partition=0, partitions=PARTITIONS, beginning=0, topic_id=UUID(int=1))


class TiringModel(FadingModel):
    """Like FadingModel, but who has seen ten pages fades at half the pace."""

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        patience = np.where(facts["pages"] >= 10, 2, 1)
        return np.round(super().score(facts, as_of) / patience, 6)


class ConstantModel(FadingModel):
    """Always the same risk."""

    risk = 0.0

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.full(len(facts), self.risk)


def marked(offset: int, **other: int) -> Marks:
    """Marks of partition 0 at `offset`, but for the users' shards in `other`."""
    stored = [Mark(1, offset)] * SHARDS
    for user_id, at in other.items():
        stored[shard(user_id)] = Mark(1, at)
    return Marks(0, tuple(stored))


def of(user_id: str, offset: int, **fields: Any) -> FakeRecord:
    event = {"user_id": user_id, "type": "page_view"} | fields
    return record(json.dumps(event).encode(), key=user_id, offset=offset, timestamp=NOON + offset)


def reading_of(records: list[FakeRecord], marks: Marks) -> Reading:
    return read(records, HERE, marks, RULES)


def told(reading: Reading) -> list[tuple[str, int]]:
    """(user, offset) of the rows to fold."""
    rows, user = reading.events()
    return [
        (reading.user_ids[who], offset)
        for who, offset in zip(user.tolist(), rows["offset"].tolist(), strict=True)
    ]


async def outlook_of(stand: Stand, user_id: str = ADA) -> np.void:
    outlook: np.void = (await stand.records.load([user_id]))["outlook"][0]
    return outlook


# Reading


def test_a_repeat_is_told_by_the_watermark_of_its_own_shard() -> None:
    """Where shards differ, a record is folded by those that do not hold it yet, and only there."""
    log = [of(ADA, 4), of(BOB, 4), of(ADA, 5), of(BOB, 5), of(ADA, 6), of(BOB, 6)]

    reading = reading_of(log, marked(0, **{ADA: 5, BOB: 6}))

    assert [(ADA, 5), (ADA, 6), (BOB, 6)] == told(reading)


def test_what_is_of_nobody_here_is_repeated_once_any_shard_has_passed_it() -> None:
    """The step before the save published it, so it is neither parked nor sent home again."""
    bad = [record(b"{}", key=b"k", offset=offset, timestamp=NOON) for offset in (8, 9)]
    away = [of(STRANGER, 8), of(STRANGER, 9)]

    reading = reading_of([bad[0], away[0], bad[1], away[1]], marked(0, **{ADA: 9}))

    assert [9] == [letter.record.offset for letter in reading.bad]
    assert 1 == len(reading.away)
    assert b'"1:0:9"' in (reading.away[0].value or b"")


def test_a_repeat_is_no_verdict() -> None:
    """A run of bad records is judged by fresh records only."""
    reading = reading_of([of(ADA, 3), of(ADA, 4)], marked(4))

    assert [(True, ADA.encode())] == reading.verdicts


def test_a_record_sent_home_keeps_its_id_headers_and_time() -> None:
    """Nothing but a missing id and its source is added on the way."""
    stranger = of(STRANGER, 3, event_id="their-own")
    stranger.headers = [("ce_source", b"shop")]

    [sent] = reading_of([stranger], marked(0)).away

    assert "their-own" == json.loads(sent.value or b"")["event_id"]
    source = ("ebbtide-sent-home", b"00000000-0000-0000-0000-000000000001:0:3")
    assert (STRANGER.encode(), NOON + 3, [("ce_source", b"shop"), source]) == (
        sent.key, sent.timestamp_ms, sent.headers,
    )  # fmt: skip


def test_a_tombstone_away_from_home_is_sent_home() -> None:
    """It stays a tombstone, under its user's key."""
    [sent] = reading_of([record(None, key=STRANGER, offset=3, timestamp=NOON)], marked(0)).away

    assert (STRANGER.encode(), None, NOON) == (sent.key, sent.value, sent.timestamp_ms)


def test_log_time_is_the_latest_and_no_unusable_record_moves_it() -> None:
    """Timestamps may fall, and what a bad record claims is not believed."""
    late = of(ADA, 1)
    absurd = record(b"{}", key=b"k", offset=3, timestamp=NOON + 1000 * DAY_MS)
    absurd_tombstone = record(None, key=ADA, offset=4, timestamp=2**60)

    reading = reading_of([of(ADA, 2), late, absurd, absurd_tombstone], marked(0))

    assert NOON + 2 == reading.log_time


# When a score is due


@pytest.mark.parametrize("seen_since", [False, True])
@pytest.mark.parametrize(("older_ms", "scored"), [(HOUR_MS, 1), (HOUR_MS + 1, 0)])
async def test_a_backfill_begins_after_an_hour(
    older_ms: int, scored: int, *, seen_since: bool
) -> None:
    """An event exactly an hour older than its log time is still scored at once."""
    stand = Stand()
    scorer = await stand.opened()
    if seen_since:
        await scorer.handle([stand.event(NOON)])
    before = len(stand.scores())

    await scorer.handle([stand.event(NOON - older_ms, log_time=NOON)])

    assert scored == len(stand.scores()) - before


async def test_a_score_is_as_of_the_log_time_and_the_session_ends_after_the_visit() -> None:
    """Log time dates the activity score; half an hour counts from when the user was there."""
    stand = Stand()
    scorer = await stand.opened()

    await scorer.handle([stand.event(NOON - 10 * MINUTE_MS, log_time=NOON)])

    assert from_ms(NOON) == stand.scores()[0].scored_at
    assert NOON + 20 * MINUTE_MS == (await outlook_of(stand))["due"]


async def test_a_session_that_ended_before_its_log_time_is_told_after_the_activity() -> None:
    """The silence score is the later one, or whoever orders scores would ignore it."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON - 45 * MINUTE_MS, log_time=NOON)])

    await settle(scorer, NOON + MINUTE_MS)

    activity, silence = stand.scores()
    assert ("activity", "silence") == (activity.trigger, silence.trigger)
    assert activity.scored_at < silence.scored_at


async def test_a_long_backfill_costs_one_score() -> None:
    """The timer stays an hour after the first old event, however many follow."""
    stand = Stand()
    scorer = await stand.opened()
    for minute in range(0, 50, 10):
        old = stand.event(NOON - 5 * DAY_MS + minute, log_time=NOON + minute * MINUTE_MS)
        await scorer.handle([old])

    assert NOON + HOUR_MS == (await outlook_of(stand))["due"]


async def test_a_passive_event_waits_an_hour_and_never_postpones() -> None:
    """An invoice triggers no score of its own and leaves an earlier timer alone."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])

    await scorer.handle([stand.event(NOON + MINUTE_MS, type="invoice_sent", value=5)])
    assert NOON + 30 * MINUTE_MS == (await outlook_of(stand))["due"]
    await settle(scorer, NOON + HOUR_MS)
    await scorer.handle([stand.event(NOON + 2 * HOUR_MS, type="invoice_sent", value=5)])

    assert ["activity", "silence"] == [score.trigger for score in stand.scores()]
    assert NOON + 3 * HOUR_MS == (await outlook_of(stand))["due"]


async def test_who_was_never_seen_has_no_timer() -> None:
    """Nobody's silence begins with an invoice."""
    stand = Stand()
    scorer = await stand.opened()

    await scorer.handle([stand.event(NOON, type="invoice_sent", value=5)])

    assert NEVER == (await outlook_of(stand))["due"]
    assert {} == stand.redis.state.zsets


async def test_a_duplicate_neither_scores_nor_moves_the_timer() -> None:
    """A client's retry under the same id is no visit."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON, event_id="once")])

    await scorer.handle([stand.event(NOON + MINUTE_MS, event_id="once")])

    assert 1 == len(stand.scores())
    assert NOON + 30 * MINUTE_MS == (await outlook_of(stand))["due"]
    assert 1 == (await stand.facts(ADA))["offset"][0]


async def test_a_snapshot_that_rose_is_scored_at_once() -> None:
    """Higher totals say that the user was there since."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON, pages_visited=5)])

    await scorer.handle([stand.event(NOON + DAY_MS, type="snapshot", pages_visited=9)])

    assert from_ms(NOON + DAY_MS) == stand.scores()[-1].scored_at
    assert NOON + DAY_MS + 30 * MINUTE_MS == (await outlook_of(stand))["due"]


async def test_a_cancellation_is_told_once() -> None:
    """What comes after it without activity is no second cancellation."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    await scorer.handle([stand.event(NOON + DAY_MS, type="subscription_cancelled")])

    await scorer.handle([stand.event(NOON + DAY_MS + 1, type="subscription_cancelled")])
    await scorer.handle([stand.event(NOON + DAY_MS + 2, type="invoice_sent")])

    assert [False, True] == [score.cancelled for score in stand.scores()]


async def test_a_cancellation_with_an_overdue_timer_is_told_before_the_silence() -> None:
    """Behind the log a timer may be due before the cancellation; its score is still the later."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])

    await scorer.handle([stand.event(NOON + DAY_MS, type="subscription_cancelled")])
    await settle(scorer, NOON + DAY_MS + HOUR_MS)

    orders = [(s.position.log, s.position.offset, s.scored_at) for s in stand.scores()]
    assert 3 == len(orders)
    assert sorted(set(orders)) == orders


# Silence


async def test_the_curve_is_computed_once_a_session() -> None:
    """Later timers of the same silence read it; a new session makes a new one."""
    stand = Stand()
    stand.model = TiringModel()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    await settle(scorer, NOON + HOUR_MS)
    assert 1 + 2 == stand.model.calls

    await settle(scorer, NOON + 2 * DAY_MS)
    assert 1 + 2 + 2 == stand.model.calls  # patience at a day, the first level at two
    first = stand.scores()[-1].at_risk_at
    again = NOON + 3 * DAY_MS
    await scorer.handle([stand.event(again, pages_visited=20)])
    await settle(scorer, again + HOUR_MS)

    assert from_ms(NOON + 7 * DAY_MS) == first
    # Half the pace: 14 days of silence would be needed, and the grid ends after 12.
    assert None is stand.scores()[-1].at_risk_at


async def test_a_level_at_the_last_hour_of_the_grid_is_told() -> None:
    """The end of the grid belongs to it; after that there is no score."""
    stand = Stand()
    stand.model.grid_hours = np.array([1, 24, 24 * 7])
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    for day in range(20):
        await settle(scorer, NOON + day * DAY_MS)

    assert 0.7 == stand.scores()[-1].churn_probability
    assert from_ms(NOON + 7 * DAY_MS) == stand.scores()[-1].scored_at
    await _waits_to_lapse(stand)


async def _waits_to_lapse(stand: Stand) -> None:
    last_seen = (await stand.facts(ADA))["last_seen"][0]
    assert lapses_at(last_seen, stand.model.horizon_days) == (await outlook_of(stand))["due"]


async def test_who_lapses_changes_place_without_a_score() -> None:
    """A ms before they are in their class, then below it by theirs; a visit brings them back."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    rank, lapse = keys.rank(shard(ADA)), int(lapses_at(np.array([NOON]), 14)[0])
    await settle(scorer, lapse - 1)
    told = len(stand.scores())
    before = stand.redis.state.zsets[rank][ADA.encode()]

    await settle(scorer, lapse)

    lapsed = stand.redis.state.zsets[rank][ADA.encode()]
    assert before - HAS_LAPSED * RISK_SPAN == lapsed
    assert told == len(stand.scores())
    assert RULES.expiry(NOON) == (await outlook_of(stand))["due"]
    await scorer.handle([stand.event(lapse + DAY_MS)])
    assert not (await outlook_of(stand))["state"] & LAPSED
    assert lapsed + HAS_LAPSED * RISK_SPAN > stand.redis.state.zsets[rank][ADA.encode()] > lapsed


async def test_who_is_gone_for_longer_than_the_retention_is_in_no_list() -> None:
    """No score, no timer, no rank; the record stays, and one visit starts anew."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    rank = keys.rank(shard(ADA))
    await settle(scorer, NOON + RULES.retention_ms)
    told = len(stand.scores())
    assert [ADA.encode()] == await stand.redis.zrange(rank, 0, -1)

    await settle(scorer, NOON + RULES.retention_ms + 1)

    assert [] == await stand.redis.zrange(rank, 0, -1)
    assert NEVER == (await outlook_of(stand))["due"]
    assert told == len(stand.scores())
    assert 1 == (await stand.facts(ADA))["events"][0]
    await scorer.handle([stand.event(NOON + RULES.retention_ms + DAY_MS)])
    assert [ADA.encode()] == await stand.redis.zrange(rank, 0, -1)
    assert 1 == (await stand.facts(ADA))["events"][0]


async def test_no_score_beyond_the_end_of_the_grid() -> None:
    """Who was last seen before the grid began has no score; only the retention ends later."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON - 20 * DAY_MS, log_time=NOON)])

    await settle(scorer, NOON + DAY_MS)

    assert [] == stand.scores()
    await _waits_to_lapse(stand)


@pytest.mark.parametrize("micro", [57, 290_000, 569_999, 1_000_000])
async def test_probabilities_are_kept_to_the_millionth(micro: int) -> None:
    """Six decimals survive the record as they are, none is cut off."""
    stand = Stand()
    stand.model = ConstantModel()
    risks = (micro / 1_000_000, np.nextafter(micro / 1_000_000, 0))
    for number, risk in enumerate(risks):
        stand.model.risk = float(risk)
        scorer = await stand.opened()
        await scorer.handle([stand.event(NOON, user_id=user_at(0, number))])

    assert [micro / 1_000_000] * 2 == [score.churn_probability for score in stand.scores()]


async def test_a_silence_score_that_was_not_published_is_not_saved() -> None:
    """After Kafka was away the timer is still there and fires again."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    stand.publisher.fails = LogUnavailable("away")

    with pytest.raises(LogUnavailable):
        await settle(scorer, NOON + HOUR_MS)
    assert NOON + 30 * MINUTE_MS == (await outlook_of(stand))["due"]
    await settle(await stand.opened(), NOON + HOUR_MS)

    assert ["activity", "silence"] == [score.trigger for score in stand.scores()]


async def test_a_worker_that_knew_of_no_timer_learns_of_new_ones() -> None:
    """What a batch sets is fired by the same worker, without another look at the index."""
    stand = Stand()
    scorer = await stand.opened()
    await settle(scorer, NOON - HOUR_MS)

    await scorer.handle([stand.event(NOON)])
    await settle(scorer, NOON + HOUR_MS)

    assert "silence" == stand.scores()[-1].trigger


async def test_more_timers_than_a_page_are_all_fired(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full page says that more may be due at once."""
    monkeypatch.setattr(scorer.handler, "SWEEP_USERS", 1)
    stand = Stand()
    worker = await stand.opened()
    await worker.handle([stand.event(NOON, user_id=user_at(0, i)) for i in range(3)])

    await settle(worker, NOON)
    await settle(worker, NOON + HOUR_MS)

    silent = {score.user_id for score in stand.scores() if score.trigger == "silence"}
    assert {user_at(0, i) for i in range(3)} == silent


async def test_index_entries_of_nobody_are_taken_out() -> None:
    """A timer and a rank whose record has expired are removed, and nobody is scored."""
    stand = Stand()
    timers, rank = keys.timers(shard(ADA), 0), keys.rank(shard(ADA))
    await stand.redis.zadd(timers, {ADA: float(NOON)})
    await stand.redis.zadd(rank, {ADA: 0.9})

    await settle(await stand.opened(), NOON)
    await settle(await stand.opened(), NOON + HOUR_MS)

    assert [] == stand.scores()
    assert {} == stand.redis.state.zsets


# What is kept


async def test_offsets_may_have_holes() -> None:
    """The next offset follows the last record's own, whatever compaction took out before."""
    stand = Stand()
    scorer = await stand.opened()
    first = stand.event(NOON)
    stand.offset = 7

    await scorer.handle([first, stand.event(NOON + 1)])

    assert Mark(1, 8) == scorer.marks.stored[0]


async def test_log_time_never_falls() -> None:
    """An older timestamp in a later batch does not turn the partition's clock back."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])

    await scorer.handle([stand.event(NOON - HOUR_MS, log_time=NOON - HOUR_MS)])

    assert NOON == scorer.log_time
    assert from_ms(NOON) == stand.scores()[-1].scored_at


async def test_the_saved_clock_never_falls() -> None:
    """What a sweep believed of time still stands after a batch with an older log time."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    await settle(scorer, NOON + HOUR_MS)

    await scorer.handle([stand.event(NOON + 40 * MINUTE_MS, user_id=BOB)])

    assert NOON + HOUR_MS == (await stand.ledger.marks(0)).clock_ms


async def test_a_record_knows_its_home() -> None:
    """The partition is stored with the user."""
    stand = Stand(partition=2)

    await (await stand.opened()).handle([stand.event(NOON)])

    assert 2 == (await outlook_of(stand, STRANGER))["home"]


async def test_records_are_collected_after_their_lifetime() -> None:
    """Every write of a record starts its lifetime anew, by event and by timer."""
    stand = Stand(record_ttl_ms=5_000)
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    assert {keys.record(ADA): 5_000} == stand.redis.state.lifetimes_ms

    stand.redis.state.lifetimes_ms.clear()
    await settle(scorer, NOON + HOUR_MS)

    assert {keys.record(ADA): 5_000} == stand.redis.state.lifetimes_ms


async def test_category_names_are_told() -> None:
    """Scores carry the names that events stated, not their hashes."""
    stand = Stand()

    await (await stand.opened()).handle([stand.event(NOON, location=" Oslo", plan="Pro")])

    attributes = stand.scores()[0].attributes
    assert ("oslo", "pro", None) == (attributes.location, attributes.plan, attributes.device_type)


async def test_a_score_says_what_the_last_one_was() -> None:
    """Previous is the probability told before, none with the first score."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    await settle(scorer, NOON + DAY_MS)
    await scorer.handle([stand.event(NOON + DAY_MS + HOUR_MS)])

    scores = stand.scores()
    assert [None, *(score.churn_probability for score in scores[:-1])] == [
        score.previous_probability for score in scores
    ]
    assert [0.0, 0.002083, 0.1, 0.0] == [score.churn_probability for score in scores]


async def test_a_good_record_ends_a_run_of_bad_ones() -> None:
    """A hundred bad records with a good one among them are parked without holding anybody."""
    stand = Stand()
    scorer = await stand.opened()
    log = [
        stand.event(NOON) if i == 60 else stand.raw(b"{}", NOON, key=b"key-%d" % (i % 3))
        for i in range(120)
    ]

    await scorer.handle(log)

    assert not await scorer.held()


# Another model


async def test_a_curve_of_another_model_is_not_told() -> None:
    """Its hours stand for another ladder: until the session ends there is no curve."""
    stand = Stand()
    first = await stand.opened()
    await first.handle([stand.event(NOON)])
    await settle(first, NOON + HOUR_MS)
    stand.model = FadingModel("fading-2")

    await (await stand.opened()).handle([stand.event(NOON + DAY_MS)])

    score = stand.scores()[-1]
    assert ("fading-2", (), None) == (score.model_version, score.crossings, score.at_risk_at)


async def test_a_new_model_never_postpones_a_timer() -> None:
    """Who is due before their turn in the spread is rescored then."""
    stand = Stand(spread_ms=100 * DAY_MS)
    first = await stand.opened()
    await first.handle([stand.event(NOON), stand.event(NOON, user_id=BOB)])
    stand.model = FadingModel("fading-2")

    await settle(await stand.opened(), NOON + MINUTE_MS)

    for user_id in (ADA, BOB):
        assert NOON + 30 * MINUTE_MS == (await outlook_of(stand, user_id))["due"]


async def test_a_rescoring_is_later_than_the_score_before() -> None:
    """Though the clock at activation be behind the last score."""
    stand = Stand()
    first = await stand.opened()
    await first.handle([stand.event(NOON)])
    stand.model = FadingModel("fading-2")

    again = await stand.opened()
    await settle(again, NOON - HOUR_MS)
    await settle(again, NOON + MINUTE_MS)

    before, renewed = stand.scores()
    assert ("model", True) == (renewed.trigger, before.scored_at < renewed.scored_at)


# Erasure


async def test_nothing_of_the_outlook_survives_an_erasure() -> None:
    """Score and curve are gone with the facts; who comes back has no previous score."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON)])
    await settle(scorer, NOON + 3 * DAY_MS)

    await scorer.handle([stand.raw(None, NOON + 3 * DAY_MS, key=ADA.encode())])
    assert blank_outlook(1)[0].tobytes() == (await outlook_of(stand)).tobytes()
    await scorer.handle([stand.event(NOON + 4 * DAY_MS)])

    score = stand.scores()[-1]
    assert (None, ()) == (score.previous_probability, score.crossings)


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
async def test_where_an_erasure_is_cut_makes_no_difference(cut: int) -> None:
    """Erased and back within one batch: the score topic hears both, and nothing survives."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON, location="oslo")])
    await settle(scorer, NOON + 3 * DAY_MS)
    log = [
        stand.event(NOON + 3 * DAY_MS),
        stand.raw(None, NOON + 3 * DAY_MS, key=ADA.encode()),
        stand.event(NOON + 3 * DAY_MS + 1),
    ]

    for batch in filter(None, (log[:cut], log[cut:])):
        await scorer.handle(batch)

    assert None is stand.publisher.of(SCORES)[-2].value
    last = stand.scores()[-1]
    assert (None, (), 1) == (last.previous_probability, last.crossings, last.evidence.events)
    assert None is last.attributes.location


@pytest.mark.parametrize("made_up", [-1, 2**60])
async def test_an_erasure_at_a_made_up_time_does_not_move_the_clock(made_up: int) -> None:
    """It is carried out, and who comes back is scored as of their own time and falls silent."""
    stand = Stand()
    scorer = await stand.opened()
    await scorer.handle([stand.event(NOON), stand.raw(None, made_up, key=ADA.encode())])

    await scorer.handle([stand.event(NOON + 1)])
    await settle(scorer, NOON + HOUR_MS)

    assert [from_ms(NOON + 1), from_ms(NOON + 1 + 30 * MINUTE_MS)] == [
        score.scored_at for score in stand.scores()
    ]


async def test_after_redelivery_of_a_whole_life_facts_equal_the_fold() -> None:
    """A new worker on an empty store comes to the same bytes as folding at once."""
    stand = Stand()
    log = [stand.event(NOON + i * 10 * HOUR_MS, pages_visited=i) for i in range(8)]

    for record_ in log:
        await (await stand.opened()).handle([record_])

    assert offline(log, ADA).tobytes() == (await stand.facts(ADA)).tobytes()
    assert from_ms(NOON + 70 * HOUR_MS) == stand.scores()[-1].scored_at
