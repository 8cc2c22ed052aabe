"""The shell around `fold`: one partition's batches and sweeps.

The order of the steps is the delivery guarantee: park and send home, fold, score, publish, and
last save effects and watermark together. Whatever fails in between, the records are read again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from contracts.lapse import lapses_at
from contracts.partition import shard
from contracts.record import CURVE_STALE, HAS_CURVE, HAS_SCORE, LAPSED
from contracts.scores import TRIGGERS
from contracts.times import HOUR_MS, NEVER
from contracts.topics import ACTIVITY, SCORES
from model.features import usual_gap_ms
from model.silence import next_due, patience, silence_curve
from runtime import keys
from runtime.clock import wall_ms
from runtime.dead_letters import DeadLetters, Run
from runtime.handler import CONFIRMED, Opening, Record
from runtime.kafka import Message, Publisher, by_home
from runtime.ledger import Effects, Ledger, Mark
from runtime.metrics import WorkerMetrics
from runtime.records import RecordStore
from runtime.timers import TimerIndex, index_score
from scorer.activation import Activation
from scorer.judging import Case, Judge, Verdict
from scorer.keeping import keep
from scorer.names import Names
from scorer.reading import Here, Reading, read

SWEEP_USERS = 500
_ACTIVITY, _SILENCE, _MODEL = range(3)
_NO_CURVE = 0xFF ^ HAS_CURVE
_FRESH_CURVE = 0xFF ^ CURVE_STALE
_NOT_LAPSED = 0xFF ^ LAPSED
_FAR = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Tools:
    """What all partitions of a scorer share."""

    judge: Judge
    ledger: Ledger
    publisher: Publisher
    dead_letters: DeadLetters
    names: Names
    metrics: WorkerMetrics
    record_ttl_ms: int | None


class PartitionScorer:
    """A runtime.handler.Handler for one partition of `activity-event`."""

    def __init__(
        self,
        opening: Opening,
        tools: Tools,
        records: RecordStore,
        timers: TimerIndex,
        activation: Activation,
    ) -> None:
        self.marks = opening.marks
        known = opening.marks.newest_log() == opening.log.number and opening.marks.clock_ms
        # What was believed of time when the marks were saved holds as they do: else a stream that
        # has ended would leave its last timers to a next record that never comes.
        self.log_time = opening.marks.clock_ms if known else NEVER
        self.suspicious = True
        self._here = Here(
            opening.log.number,
            opening.marks.partition,
            opening.log.partitions,
            opening.beginning,
            opening.log.topic_id,
        )
        self._next_offset = opening.marks.start(opening.log.number, opening.beginning)
        self._tools = tools
        self._records = records
        self._timers = timers
        self._activation = activation
        self._run = Run()
        self._next_due: int | None = None  # None: not known, look
        self._clock = 0  # latest moment a save told the store

    async def handle(
        self, records: Sequence[Record], confirmed: Awaitable[None] = CONFIRMED
    ) -> None:
        """Fold a batch, score whom it concerns, publish, save."""
        tools = self._tools
        tools.metrics.batch_records.labels(ACTIVITY).observe(len(records))
        with self._stage("read"):
            reading = read(records, self._here, self.marks, tools.judge.rules)
        self._next_offset = records[-1].offset + 1
        with self._stage("load"):
            before = await self._records.load_at(self.marks, reading.user_ids)
            await confirmed
        await self._put_aside(reading)
        effects = Effects(arrived=reading.arrived)
        if reading.rows:
            await tools.names.learn(reading.names)
            verdict = await tools.judge.judge(Case(self._here.partition, reading, before))
            await self._publish(verdict)
            self._keep(effects, reading.user_ids, verdict.after, verdict.erased)
            self._expect_timer(verdict.after["outlook"]["due"])
        self.log_time = max(self.log_time, reading.log_time)
        self._judge(reading, effects)
        await self._save(effects, self.log_time)
        tools.metrics.records.labels(ACTIVITY).inc(len(records))

    async def sweep(self, clock_ms: int) -> bool:
        """Fire the timers due by `clock_ms`; True when more may be due at once."""
        if clock_ms == NEVER:
            return False
        if await self._activation.pending():
            return await self._activate(clock_ms)
        if self._next_due is None:
            earliest = await self._timers.earliest()
            self._next_due = _FAR if earliest is None else earliest
        overdue = max(clock_ms - self._next_due, 0) / 1000
        self._tools.metrics.oldest_timer.labels(str(self._here.partition)).set(overdue)
        if clock_ms < self._next_due:
            return False
        entries = await self._timers.due(clock_ms, SWEEP_USERS)
        if entries:
            await self._fire(entries, clock_ms)
        self._next_due = None
        # Besides the next page: who was silent for long has crossed more than one level.
        return bool(entries)

    async def held(self) -> bool:
        """Whether a run of bad records waits for a person."""
        self.suspicious = await self._tools.dead_letters.held(self._here.partition)
        return self.suspicious

    async def _put_aside(self, reading: Reading) -> None:
        """What is not for this partition is acknowledged elsewhere before the watermark passes."""
        tools = self._tools
        if reading.bad:
            await tools.dead_letters.park(self._here.partition, self._here.log, reading.bad)
            tools.metrics.parked.labels(ACTIVITY).inc(len(reading.bad))
        if reading.away:
            # In the order of the source: homes take what is behind it for repeats
            # (`runtime.arrivals`).
            # By our own count: should the topic have grown, a rebuild will look for them there.
            for partition, at_home in by_home(reading.away, self._here.partitions).items():
                await tools.publisher.publish(ACTIVITY, partition, at_home)
            tools.metrics.sent_home.labels(ACTIVITY).inc(len(reading.away))

    def _judge(self, reading: Reading, effects: Effects) -> None:
        """Hold the partition after a long run of bad records; they are parked by now."""
        tripped = False
        for usable, key in reading.verdicts:
            if usable:
                self._run.good()
            else:
                self._run.bad(key)
                tripped = tripped or self._run.tripped
        if tripped:
            self._run.good()
            mark = Mark(self._here.log, self._next_offset)
            self._tools.dead_letters.hold(effects, self._here.partition, mark)
            self.suspicious = True

    async def _publish(self, verdict: Verdict) -> None:
        with self._stage("publish"):
            for messages in (verdict.tombstones, verdict.scores):
                await self._publish_here(messages)
        if verdict.arrived is not None:
            metrics = self._tools.metrics
            metrics.scores.labels("activity").inc(len(verdict.scores))
            metrics.score_lag.observe(max(wall_ms() - verdict.arrived, 0) / 1000)

    async def _fire(self, entries: list[tuple[str, int]], clock_ms: int) -> None:
        """Score users whose silence reached their due moment, and set their next one."""
        user_ids = [user_id for user_id, _ in entries]
        entered = np.array([due for _, due in entries])
        before = await self._records.load(user_ids)
        effects = Effects()
        due = before["outlook"]["due"]
        genuine = due == entered
        for i in np.flatnonzero(~genuine):
            # The index is only an index: put the entry where the record says.
            home_shard = shard(user_ids[i])
            generation = self.marks.generation
            timer = keys.timers(home_shard, self._here.partition, generation)
            effects.index(timer, user_ids[i], index_score(int(due[i])))
            if before["facts"]["last_seen"][i] == NEVER:
                effects.index(keys.rank(home_shard, generation), user_ids[i], None)
                effects.index(keys.worth(home_shard, generation), user_ids[i], None)
        fired = np.flatnonzero(genuine)
        if len(fired):
            with self._stage("silence"):
                after, published, gone = self._silenced(before[fired])
            names = [user_ids[i] for i in fired]
            scored = np.flatnonzero(published)
            await self._publish_here(self._tools.judge.written(names, after, before[fired], scored))
            for trigger, count in zip(
                *np.unique(after["outlook"]["trigger"][scored], return_counts=True), strict=True
            ):
                self._tools.metrics.scores.labels(TRIGGERS[trigger]).inc(int(count))
            self._keep(effects, names, after, gone)
        await self._save(effects, clock_ms)

    def _silenced(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) RECORD scored as of their due moments, which have a score to tell, and who is gone.

        The curve is computed once a session (or when facts or model changed); after that the timer
        climbs from one of its crossings to the next, to the moment they lapse, when they change
        their place in the lists without a score, and at last to the end of the retention: who
        comes back later starts anew, and is in no list of users until then.
        """
        model = self._tools.judge.model
        after = records.copy()
        facts, outlook = after["facts"], after["outlook"]
        due = records["outlook"]["due"]
        other_model = (outlook["model"] != model.hash) & ((outlook["state"] & HAS_SCORE) != 0)
        grid_end = int(model.grid_hours[-1])
        expiry = self._tools.judge.rules.expiry(facts["last_seen"])
        gone = due >= expiry
        lapse = lapses_at(facts["last_seen"], model.horizon_days)
        within = (due <= facts["last_seen"] + grid_end * HOUR_MS) & ~gone & (due != lapse)
        needs_curve = (
            ((outlook["state"] & CURVE_STALE) != 0)
            | ((outlook["state"] & HAS_CURVE) == 0)
            | (outlook["model"] != model.hash)
        )
        index = np.flatnonzero(needs_curve & within)
        if len(index):
            outlook["curve"][index] = silence_curve(model, facts[index])
            outlook["state"][index] |= HAS_CURVE
            outlook["state"][index] &= _FRESH_CURVE
        scored = np.flatnonzero(within)
        if len(scored):
            triggers = np.where(other_model[scored], _MODEL, _SILENCE)
            self._tools.judge.put_scores(outlook, scored, facts[scored], due[scored], triggers)
        following = next_due(
            outlook["curve"], facts["last_seen"], due, patience(usual_gap_ms(facts)), grid_end
        )
        stop = np.where((following != NEVER) & (following < expiry), following, expiry)
        stop = np.where(due < lapse, np.minimum(stop, lapse), stop)
        outlook["due"] = np.where(gone, NEVER, stop)
        state = outlook["state"] & _NOT_LAPSED
        outlook["state"] = np.where(due >= lapse, state | LAPSED, state)
        return after, within, gone

    async def _activate(self, clock_ms: int) -> bool:
        """Make a page of timers due soon, because the model is another than the one they know."""
        user_ids = await self._activation.page()
        if user_ids:
            records = await self._records.load(user_ids)
            outlook = records["outlook"]
            spread = self._activation.spread_ms
            soon = clock_ms + np.array([_offset(user_id, spread) for user_id in user_ids], np.int64)
            soon = np.maximum(soon, outlook["scored_at"] + 1)
            old = (outlook["model"] != self._tools.judge.model.hash) & (outlook["due"] > soon)
            # Beyond the grid nothing is scored, and timers only wait for the end of the retention.
            grid_end = int(self._tools.judge.model.grid_hours[-1])
            old &= soon <= records["facts"]["last_seen"] + grid_end * HOUR_MS
            chosen = np.flatnonzero(old)
            outlook["due"][chosen] = soon[chosen]
            effects = Effects()
            self._keep(
                effects,
                [user_ids[i] for i in chosen],
                records[chosen],
                np.zeros(len(chosen), bool),
            )
            await self._save(effects, clock_ms)
            self._next_due = None
        return True

    async def _publish_here(self, messages: list[Message]) -> None:
        """Publish what is about users of this partition, at their homes in `churn-score`."""
        if not messages:
            return
        publisher, here = self._tools.publisher, self._here
        if await publisher.partitions(SCORES) == here.partitions:
            await publisher.publish_at_once(SCORES, here.partition, messages)
        else:
            await publisher.publish_home(SCORES, messages)

    def _keep(
        self, effects: Effects, user_ids: list[str], records: np.ndarray, gone: np.ndarray
    ) -> None:
        """Add records, timers and ranks to what the save writes."""
        keep(
            effects,
            user_ids,
            records,
            generation=self.marks.generation,
            homes=[self._here.partition] * len(user_ids),
            gone=gone,
            ttl_ms=self._tools.record_ttl_ms,
        )

    def _expect_timer(self, due: np.ndarray) -> None:
        pending = due[due != NEVER]
        if self._next_due is not None and len(pending):
            self._next_due = min(self._next_due, int(pending.min()))

    async def _save(self, effects: Effects, clock_ms: int) -> None:
        with self._stage("save"):
            mark = Mark(self._here.log, self._next_offset)
            self._clock = max(self._clock, clock_ms)
            self.marks = await self._tools.ledger.save(self.marks, mark, self._clock, effects)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._tools.metrics.stage_seconds.labels(name).observe(time.perf_counter() - started)


def _offset(user_id: str, spread_ms: int) -> int:
    """Where in the spread a user's rescoring falls: fixed, so that a restart does not reshuffle."""
    return crc32(user_id.encode()) * spread_ms >> 32
