"""Scores in, alerts out, for one partition of `churn-score`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import msgspec
from redis.asyncio import Redis

from alerts import episode as episodes
from alerts.episode import Episode
from alerts.policy import Rule, judge
from contracts.alerts import ChurnAlert, encode_alert
from contracts.partition import shard as shard_of
from contracts.scores import ChurnScore, decode_score
from contracts.times import NEVER, from_ms, to_ms
from contracts.topics import ALERTS, CLOCK_HEADER, SCORES, cloud_event_headers
from runtime import keys
from runtime.clock import wall_ms
from runtime.dead_letters import DeadLetters, Run
from runtime.handler import Opening, Record
from runtime.kafka import Message, Publisher
from runtime.ledger import Effects, Ledger, Mark, check_unmoved
from runtime.letters import BadLetter
from runtime.metrics import WorkerMetrics
from runtime.recent_alerts import KEPT, members_of
from runtime.redis_errors import redis_errors
from runtime.store import mget

SOURCE = "/ebbtide/alerts"
KIND = "ebbtide.churn-alert"
PUBLISHED_AT_HEADER = "ebbtide-published-at"


@dataclass(frozen=True, slots=True)
class Desk:
    """What the handlers of all partitions share."""

    rule: Rule
    redis: Redis
    ledger: Ledger
    publisher: Publisher
    dead_letters: DeadLetters
    metrics: WorkerMetrics
    episode_ttl_ms: int | None
    now_ms: Callable[[], int] = wall_ms
    """Only for the header that says when an alert was published."""


@dataclass(frozen=True, slots=True)
class Item:
    """A record that could be read: a user's score, or None for their erasure."""

    user_id: str
    score: ChurnScore | None


class AlertsHandler:
    """The `runtime.handler.Handler` of the alerts worker. It has no timers."""

    def __init__(self, opening: Opening, desk: Desk) -> None:
        self._log = opening.log.number
        self._beginning = opening.beginning
        self._desk = desk
        self._run = Run()
        self.marks = opening.marks
        self.log_time = NEVER
        # Whoever owned the partition before may have left it waiting for a person.
        self.suspicious = True

    async def handle(self, records: Sequence[Record]) -> None:
        """Judge the scores in log order, publish the alerts, save episodes and watermark.

        A crash before the save repeats alerts under the ids they had.
        """
        desk = self._desk
        items, letters, tripped = self._read(records)
        if letters:
            await desk.dead_letters.park(self.marks.partition, self._log, letters)
            desk.metrics.parked.labels(SCORES).inc(len(letters))
        with desk.metrics.stage_seconds.labels("load").time():
            stored = await self._load({item.user_id for item in items})
            await check_unmoved(desk.ledger, self.marks)
        outcome = _judge_all(stored, items, desk.rule)
        with desk.metrics.stage_seconds.labels("publish").time():
            await self._publish(outcome.alerts)
        with desk.metrics.stage_seconds.labels("save").time():
            effects = Effects()
            await self._forget({item.user_id for item in items if item.score is None}, effects)
            _remember(stored, outcome, desk.episode_ttl_ms, effects)
            mark = Mark(self._log, records[-1].offset + 1)
            if tripped:
                desk.dead_letters.hold(effects, self.marks.partition, mark)
            self.log_time = max(self.log_time, *(record.timestamp for record in records))
            self.marks = await desk.ledger.save(self.marks, mark, self.log_time, effects)
        self._count(len(records), outcome.alerts)
        self.suspicious = self.suspicious or tripped

    async def sweep(self, clock_ms: int) -> bool:
        """Nothing is ever due: the scorer emits a score whenever a silent user's risk moves."""
        return False

    async def held(self) -> bool:
        """Whether bad records made the partition wait for a person."""
        self.suspicious = await self._desk.dead_letters.held(self.marks.partition)
        return self.suspicious

    def _read(self, records: Sequence[Record]) -> tuple[list[Item], list[BadLetter], bool]:
        """What is new among the records, what cannot be read, and whether too much of it."""
        items: list[Item] = []
        letters: list[BadLetter] = []
        tripped = False
        for record in records:
            if any(name == CLOCK_HEADER for name, _ in record.headers):
                continue
            item = item_of(record)
            if isinstance(item, BadLetter):
                letters.append(item)
                self._run.bad(record.key)
                if self._run.tripped:
                    tripped = True
                    self._run.good()
                continue
            self._run.good()
            mark = self.marks.next_offset(shard_of(item.user_id), self._log, self._beginning)
            if record.offset >= mark:
                items.append(item)
        return items, letters, tripped

    async def _load(self, user_ids: Iterable[str]) -> dict[str, Episode | None]:
        users = sorted(user_ids)
        if not users:
            return {}
        with redis_errors("loading episodes"):
            values = await mget(self._desk.redis, [keys.episode(user_id) for user_id in users])
        return {
            user_id: None if value is None else episodes.decode(value)
            for user_id, value in zip(users, values, strict=True)
        }

    async def _publish(self, alerts: Sequence[ChurnAlert]) -> None:
        if not alerts:
            return
        published_at = from_ms(self._desk.now_ms()).isoformat().encode()
        messages = [_message(alert, published_at) for alert in alerts]
        await self._desk.publisher.publish_home(ALERTS, messages)

    async def _forget(self, erased: Collection[str], effects: Effects) -> None:
        """Take what is stored of erased users from the recent alerts."""
        for shard in sorted({shard_of(user_id) for user_id in erased}):
            for member in await members_of(self._desk.redis, shard, erased):
                effects.index(keys.recent_alerts(shard), member, None)

    def _count(self, records: int, alerts: Sequence[ChurnAlert]) -> None:
        metrics = self._desk.metrics
        metrics.records.labels(SCORES).inc(records)
        metrics.batch_records.labels(SCORES).observe(records)
        for alert in alerts:
            metrics.alerts.labels(alert.kind).inc()


def item_of(record: Record) -> Item | BadLetter:
    if record.key is None:
        return BadLetter(record, "the record has no key, so its user is unknown")
    try:
        user_id = record.key.decode()
        score = None if record.value is None else decode_score(record.value)
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        return BadLetter(record, f"not a churn score: {error}")
    if score is not None and (reason := _unusable(score, user_id)):
        return BadLetter(record, reason)
    return Item(user_id, score)


def _unusable(score: ChurnScore, user_id: str) -> str | None:
    """Why a score that decodes cannot be judged."""
    if score.user_id != user_id:
        return f"the score is of {score.user_id!r}, not of the record's key"
    if not all(0 <= number < 2**63 for number in (score.position.log, score.position.offset)):
        return "a position that no log has"
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch comes to."""

    episodes: dict[str, Episode | None]
    """The states after it."""
    alerts: list[ChurnAlert]
    """In log order."""
    recent: list[ChurnAlert]
    """Those among them whose users were not erased afterwards."""


def _judge_all(stored: dict[str, Episode | None], items: Iterable[Item], rule: Rule) -> Outcome:
    outcome = Outcome(dict(stored), [], [])
    for item in items:
        if item.score is None:
            outcome.episodes[item.user_id] = None
            outcome.recent[:] = [a for a in outcome.recent if a.user_id != item.user_id]
            continue
        before = outcome.episodes[item.user_id]
        outcome.episodes[item.user_id], alert = judge(before, item.score, rule)
        if alert is not None:
            outcome.alerts.append(alert)
            outcome.recent.append(alert)
    return outcome


def _remember(
    stored: dict[str, Episode | None], outcome: Outcome, ttl_ms: int | None, effects: Effects
) -> None:
    """Add the new states and recent alerts to the effects."""
    for user_id, after in outcome.episodes.items():
        if after is None:
            effects.delete(keys.episode(user_id))
        elif after != stored[user_id]:
            effects.put(keys.episode(user_id), episodes.encode(after), ttl_ms)
    grown = set()
    for alert in outcome.recent:
        key = keys.recent_alerts(shard_of(alert.user_id))
        effects.index(key, encode_alert(alert), float(to_ms(alert.occurred_at)))
        grown.add(key)
    for key in sorted(grown):
        effects.keep_highest(key, KEPT)


def _message(alert: ChurnAlert, published_at: bytes) -> Message:
    headers = cloud_event_headers(
        event_id=alert.alert_id, source=SOURCE, kind=KIND, time=alert.occurred_at.isoformat()
    )
    return Message(
        alert.user_id.encode(),
        encode_alert(alert),
        to_ms(alert.occurred_at),
        [*headers, (PUBLISHED_AT_HEADER, published_at)],
    )
