"""Scores, commands and time in, alerts out, for one partition of `churn-score`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis

from alerts import episode as episodes
from alerts import top
from alerts.delivery import erasure
from alerts.episode import Episode
from alerts.fold import GRACE_MS, PolicyFold
from alerts.inbox import Inbox
from alerts.rules import Policy
from alerts.top import Tops
from alerts.trial import Change
from contracts.alerts import ChurnAlert, encode_alert
from contracts.commands import AlertCommand
from contracts.partition import home
from contracts.partition import shard as shard_of
from contracts.times import NEVER, SECOND_MS, from_ms, to_ms
from contracts.topics import ALERTS, SCORES, cloud_event_headers
from contracts.trials import decode_sums, encode_sums, total
from runtime import alert_history, alert_index, keys
from runtime.clock import wall_ms
from runtime.dead_letters import DeadLetters, Run, told_apart
from runtime.handler import CONFIRMED, Opening, Record, is_tick
from runtime.kafka import Message, Publisher
from runtime.ledger import Effects, Ledger, Mark
from runtime.letters import BadLetter
from runtime.metrics import WorkerMetrics
from runtime.readings import Item, item_of
from runtime.recent_alerts import KEPT, members_of
from runtime.redis_errors import redis_errors
from runtime.store import mget
from runtime.timers import TimerIndex, index_score
from runtime.unmoved import Unmoved

SOURCE = "/ebbtide/alerts"
KIND = "ebbtide.churn-alert"
PUBLISHED_AT_HEADER = "ebbtide-published-at"

SWEEP_USERS: Final = 500
INBOX_MS: Final = SECOND_MS
"""How often the inbox is looked into when no bell has rung: the intake may be another process."""
_FAR: Final = 2**63


@dataclass(frozen=True, slots=True)
class Desk:
    """What the handlers of all partitions share."""

    policy: Callable[[int], Policy]
    """The policy in force, given the time."""
    redis: Redis
    unmoved: Unmoved
    ledger: Ledger
    publisher: Publisher
    dead_letters: DeadLetters
    metrics: WorkerMetrics
    episode_ttl_ms: int | None
    bell: set[int] = field(default_factory=set)
    """Partitions whose inbox has something new."""
    now_ms: Callable[[], int] = wall_ms
    """For the header that says when an alert was published, and for looking now and then."""
    tell: Callable[[Policy], Awaitable[None]] | None = None
    """Tells others which policy is in force."""


Placed = tuple[Item, int, int]
"""With its offset, and the latest time of the partition's records up to it."""


class AlertsHandler:
    """The `runtime.handler.Handler` of the alerts worker, and the only writer of episodes."""

    def __init__(self, opening: Opening, desk: Desk) -> None:
        self._log = opening.log.number
        self._partitions = opening.log.partitions
        self._beginning = opening.beginning
        self._desk = desk
        self._run = Run()
        self.marks = opening.marks
        known = opening.marks.newest_log() == opening.log.number and opening.marks.clock_ms
        # As far as time had come when the marks were saved, it has come.
        self.log_time = opening.marks.clock_ms if known else NEVER
        # Whoever owned the partition before may have left it waiting for a person.
        self.suspicious = True
        partition = opening.marks.partition
        self._next_offset = opening.marks.start(opening.log.number, opening.beginning)
        self._timers = TimerIndex(desk.redis, partition, key=keys.alert_timers)
        self._inbox = Inbox(desk.redis, partition)
        self._looked_at: int | None = None
        self._next_due: int | None = None  # None: not known, look

    async def handle(
        self, records: Sequence[Record], confirmed: Awaitable[None] = CONFIRMED
    ) -> None:
        """Judge the scores in log order, publish the alerts, save episodes and watermark.

        Waits of these users that end between two records end between them; those of others are
        left to the sweep. A crash before the save repeats alerts under the ids they had.
        """
        desk = self._desk
        policy = desk.policy(desk.now_ms())
        items, letters, tripped = self._read(records)
        log_time = max(self.log_time, *(record.timestamp for record in records))
        with desk.metrics.stage_seconds.labels("load").time():
            stored, tops = await self._load({item.user_id for item, _, _ in items}, policy)
            await confirmed
        if letters:
            await desk.dead_letters.park(self.marks.partition, self._log, letters)
            desk.metrics.parked.labels(SCORES).inc(len(letters))
        fold = PolicyFold(policy, self._partitions, dict(stored), tops)
        outcome = self._judge_all(fold, items, log_time)
        effects = Effects()
        erased = {item.user_id for item, _, _ in items if item.score is None}
        # Before they can have deliveries of what they did after the erasure.
        await self._forget(erased, effects)
        with desk.metrics.stage_seconds.labels("publish").time():
            await self._publish(outcome.alerts)
        await self._keep(fold, outcome, erased, effects)
        with desk.metrics.stage_seconds.labels("save").time():
            self._remember(stored, fold, {}, outcome, effects)
            if policy.tops:
                effects.put(keys.tops(self.marks.partition), top.encode(fold.tops))
            self._next_offset = records[-1].offset + 1
            mark = Mark(self._log, self._next_offset)
            if tripped:
                desk.dead_letters.hold(effects, self.marks.partition, mark)
            self.log_time = log_time
            self.marks = await desk.ledger.save(self.marks, mark, self.log_time, effects)
        self._count(len(records), outcome.alerts)
        self.suspicious = self.suspicious or tripped

    async def sweep(self, clock_ms: int) -> bool:
        """Do what people command, and end the waits that are over a while before `clock_ms`."""
        desk = self._desk
        if desk.tell is not None:
            await desk.tell(desk.policy(desk.now_ms()))
        commands = await self._commands()
        due = await self._due(clock_ms - GRACE_MS)
        if not commands and not due:
            return False
        policy = desk.policy(desk.now_ms())
        stored, _ = await self._load({command.user_id for command, _ in commands} | due.keys())
        fold = PolicyFold(policy, self._partitions, dict(stored))
        outcome = Outcome()
        effects = Effects()
        outcome.add(*fold.advance(clock_ms - GRACE_MS))
        for command, member in commands:
            outcome.add(fold.command(command))
            self._inbox.done(command, member, effects)
        await self._publish(outcome.alerts)
        await self._keep(fold, outcome, (), effects)
        self._remember(stored, fold, due, outcome, effects)
        # Episodes move without the mark: who saves after another owner has read on is refused.
        mark = Mark(self._log, self._next_offset)
        self.marks = await desk.ledger.save(self.marks, mark, 0, effects)
        self._count(0, outcome.alerts)
        return True

    async def held(self) -> bool:
        """Whether bad records made the partition wait for a person."""
        self.suspicious = await self._desk.dead_letters.held(self.marks.partition)
        return self.suspicious

    async def _due(self, clock_ms: int) -> dict[str, int]:
        """Users whose entry among the timers is due by then, and when it says."""
        if self._next_due is None:
            earliest = await self._timers.earliest()
            self._next_due = _FAR if earliest is None else earliest
        if clock_ms < self._next_due:
            return {}
        self._next_due = None
        return dict(await self._timers.due(clock_ms, SWEEP_USERS))

    async def _commands(self) -> list[tuple[AlertCommand, bytes]]:
        partition = self.marks.partition
        now = self._desk.now_ms()
        waited = self._looked_at is None or not 0 <= now - self._looked_at < INBOX_MS
        if partition not in self._desk.bell and not waited:
            return []
        self._desk.bell.discard(partition)
        self._looked_at = now
        return await self._inbox.waiting()

    async def _keep(
        self, fold: PolicyFold, outcome: Outcome, erased: Collection[str], effects: Effects
    ) -> None:
        """Add to the effects what people read of the alerts, and what a holdout has learned."""
        redis, partition = self._desk.redis, self.marks.partition
        if outcome.recent:
            stored = await alert_history.load(redis, {alert.user_id for alert in outcome.recent})
            known = {user: None if user in erased else value for user, value in stored.items()}
            alert_history.remember(outcome.recent, known, effects)
        if not fold.tried:
            return
        of_shards: dict[int, list[Change]] = {}
        for user_id, change in fold.tried:
            of_shards.setdefault(shard_of(user_id), []).append(change)
        names = [keys.trials(shard, partition) for shard in of_shards]
        with redis_errors("loading what a holdout has shown"):
            before = await mget(redis, names)
        for name, value, changes in zip(names, before, of_shards.values(), strict=True):
            effects.put(name, encode_sums(total(changes, decode_sums(value))))

    def _judge_all(self, fold: PolicyFold, items: Iterable[Placed], log_time: int) -> Outcome:
        outcome = Outcome()
        tops = fold.tops
        for item, offset, clock_ms in items:
            outcome.add(*fold.advance(clock_ms - GRACE_MS))
            if item.score is None:
                fold.erase(item.user_id)
                outcome.recent[:] = [a for a in outcome.recent if a.user_id != item.user_id]
                continue
            counted = (self._log, offset) < (tops.log, tops.offset)
            outcome.add(fold.score(item.score, counted=counted))
            if not counted:
                tops.log, tops.offset = self._log, offset + 1
        outcome.add(*fold.advance(log_time - GRACE_MS))
        return outcome

    def _remember(
        self,
        stored: dict[str, Episode | None],
        fold: PolicyFold,
        due: dict[str, int],
        outcome: Outcome,
        effects: Effects,
    ) -> None:
        """Add the new states, their timers and recent alerts to the effects."""
        partition, ttl_ms = self.marks.partition, self._desk.episode_ttl_ms
        changed: dict[int, tuple[list[str], list[bytes]]] = {}
        for user_id, after in fold.episodes.items():
            before = stored[user_id]
            if after is None:
                effects.delete(keys.episode(user_id))
            elif after != before:
                names, values = changed.setdefault(shard_of(user_id), ([], []))
                names.append(keys.episode(user_id))
                values.append(episodes.encode(after))
            known = due.get(user_id) or _may_have_been_due(before)
            moment = fold.due(user_id)
            if known is moment is None:
                continue
            here = home(user_id, self._partitions)
            if known is not None and (moment is None or here != partition):
                timer = keys.alert_timers(shard_of(user_id), partition)
                effects.index(timer, user_id, None)
            if moment is not None and (moment != known or here != partition):
                timer = keys.alert_timers(shard_of(user_id), here)
                effects.index(timer, user_id, index_score(moment))
            if moment is not None and self._next_due is not None:
                self._next_due = min(self._next_due, moment)
        for names, values in changed.values():
            effects.put_all(names, values, ttl_ms)
        grown = set()
        for alert in outcome.recent:
            key = keys.recent_alerts(shard_of(alert.user_id))
            effects.index(key, encode_alert(alert), float(to_ms(alert.occurred_at)))
            alert_index.remember(alert, effects)
            grown.add(key)
        for key in sorted(grown):
            effects.keep_highest(key, KEPT)

    def _read(self, records: Sequence[Record]) -> tuple[list[Placed], list[BadLetter], bool]:
        """What is new among the records, what cannot be read, and whether too much of it."""
        clocks: dict[int, int] = {}
        clock_ms = self.log_time
        for record in records:
            clock_ms = clocks[record.offset] = max(clock_ms, record.timestamp)
        good, letters, tripped = told_apart(
            (record for record in records if not is_tick(record)), item_of, self._run
        )
        items = [
            (item, record.offset, clocks[record.offset])
            for record, item in good
            if self._is_new(item.user_id, record)
        ]
        return items, letters, tripped

    def _is_new(self, user_id: str, record: Record) -> bool:
        return record.offset >= self.marks.next_offset(
            shard_of(user_id), self._log, self._beginning
        )

    async def _load(
        self, user_ids: Iterable[str], policy: Policy | None = None
    ) -> tuple[dict[str, Episode | None], Tops | None]:
        """Episodes, and the counts behind those of the policy's rules that ask for so many a day.

        Raises Refused where the marks are no longer what we believe they are.
        """
        users = sorted(user_ids)
        names = [keys.episode(user_id) for user_id in users]
        counted = policy is not None and bool(policy.tops)
        if counted:
            names.append(keys.tops(self.marks.partition))
        values = await self._desk.unmoved.strings(names, self.marks)
        tops = values.pop() if counted else None
        return {
            user_id: None if value is None else episodes.decode(value)
            for user_id, value in zip(users, values, strict=True)
        }, None if tops is None else top.decode(tops)

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
        for user_id in sorted(erased):
            await alert_index.forget(self._desk.redis, user_id, effects)
            alert_history.forget(user_id, effects)
        if erased:
            await erasure.forget(self._desk.redis, erased, effects)

    def _count(self, records: int, alerts: Sequence[ChurnAlert]) -> None:
        metrics = self._desk.metrics
        for alert in alerts:
            metrics.alerts.labels(alert.kind).inc()
        if not records:
            return
        metrics.records.labels(SCORES).inc(records)
        metrics.batch_records.labels(SCORES).observe(records)


@dataclass(slots=True)
class Outcome:
    """What a batch comes to."""

    alerts: list[ChurnAlert] = field(default_factory=list)
    """In the order in which they came about."""
    recent: list[ChurnAlert] = field(default_factory=list)
    """Those among them whose users were not erased afterwards."""

    def add(self, *told: Iterable[ChurnAlert]) -> None:
        """Alerts that came about."""
        for alerts in told:
            for alert in alerts:
                self.alerts.append(alert)
                self.recent.append(alert)


def _may_have_been_due(episode: Episode | None) -> int | None:
    """A moment no timer has, where the episode may have one: under another policy, perhaps."""
    if episode is None:
        return None
    waits = episode.pending or (episode.open is not None and episode.open.snoozed_until is not None)
    return -1 if waits else None


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
