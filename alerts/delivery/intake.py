"""Alerts in, deliveries out, for one partition of `churn-alert`.

One row for each alert and channel is written together with the watermark, so an alert becomes its
deliveries exactly once; the dispatcher attempts them from there, and a receiver that is away is in
nobody's way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from alerts.delivery import rows
from alerts.delivery.metrics import DeliveryMetrics
from alerts.delivery.shelf import CROSSINGS_KEPT, USER_TTL_MS, encode_known
from alerts.rules import Policy
from contracts import deliveries
from contracts.alerts import ChurnAlert
from contracts.deliveries import Row
from contracts.partition import shard as shard_of
from contracts.times import NEVER
from contracts.topics import ALERTS
from runtime import keys
from runtime.clock import wall_ms
from runtime.dead_letters import DeadLetters, Run, told_apart
from runtime.deliveries import LOG_KEPT, OVER_TTL_MS, decode_known, log
from runtime.handler import CONFIRMED, Opening, Record, is_tick
from runtime.ledger import Effects, Ledger, Mark
from runtime.letters import BadLetter
from runtime.metrics import WorkerMetrics
from runtime.readings import alert_of
from runtime.unmoved import Unmoved


@dataclass(frozen=True, slots=True)
class Counter:
    """What the handlers of all partitions share."""

    policy: Callable[[], Policy]
    unmoved: Unmoved
    ledger: Ledger
    dead_letters: DeadLetters
    metrics: WorkerMetrics
    deliveries: DeliveryMetrics
    came: Callable[[], object] = lambda: None
    """Called when there is something to dispatch."""
    now_ms: Callable[[], int] = wall_ms


class Intake:
    """The `runtime.handler.Handler` of the delivery worker. It has no timers."""

    def __init__(self, opening: Opening, counter: Counter) -> None:
        self._log = opening.log.number
        self._beginning = opening.beginning
        self._counter = counter
        self._run = Run()
        self.marks = opening.marks
        self.log_time = NEVER
        self.suspicious = True

    async def handle(
        self, records: Sequence[Record], confirmed: Awaitable[None] = CONFIRMED
    ) -> None:
        """Write the rows of the alerts and the watermark, or raise."""
        desk = self._counter
        alerts, letters, tripped = self._read(records)
        known = await self._known(sorted({alert.user_id for alert in alerts}))
        await confirmed
        if letters:
            await desk.dead_letters.park(self.marks.partition, self._log, letters)
            desk.metrics.parked.labels(ALERTS).inc(len(letters))
        effects = Effects()
        new = self._rows(alerts, known, effects)
        for user_id in sorted({row.user_id for row in new}):
            effects.put(keys.deliveries_of(user_id), encode_known(known[user_id]), USER_TTL_MS)
        _shelve(new, effects)
        mark = Mark(self._log, records[-1].offset + 1)
        if tripped:
            desk.dead_letters.hold(effects, self.marks.partition, mark)
        self.log_time = max(self.log_time, *(record.timestamp for record in records))
        self.marks = await desk.ledger.save(self.marks, mark, self.log_time, effects)
        desk.metrics.records.labels(ALERTS).inc(len(records))
        desk.metrics.batch_records.labels(ALERTS).observe(len(records))
        for row in new:
            if row.state != "waiting":
                desk.deliveries.outcomes.labels(row.channel, row.state).inc()
        self.suspicious = self.suspicious or tripped
        if new:
            desk.came()

    async def sweep(self, clock_ms: int) -> bool:
        """Attempts are the dispatcher's."""
        return False

    async def held(self) -> bool:
        """Whether bad records made the partition wait for a person."""
        self.suspicious = await self._counter.dead_letters.held(self.marks.partition)
        return self.suspicious

    async def _known(self, users: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """The deliveries of some users; raises Refused where the marks are no longer ours."""
        names = [keys.deliveries_of(user_id) for user_id in users]
        values = await self._counter.unmoved.strings(names, self.marks)
        return dict(zip(users, map(decode_known, values), strict=True))

    def _read(self, records: Sequence[Record]) -> tuple[list[ChurnAlert], list[BadLetter], bool]:
        """What is new among the records, what cannot be read, and whether too much of it."""
        good, letters, tripped = told_apart(
            (record for record in records if not is_tick(record)), alert_of, self._run
        )
        alerts = [
            alert
            for record, alert in good
            if record.offset
            >= self.marks.next_offset(shard_of(alert.user_id), self._log, self._beginning)
        ]
        return alerts, letters, tripped

    def _rows(
        self,
        alerts: Sequence[ChurnAlert],
        known: dict[str, list[tuple[str, str]]],
        effects: Effects,
    ) -> list[Row]:
        """The rows that are new; adds them to `known` and the openings to the effects."""
        desk = self._counter
        now_ms = desk.now_ms()
        channels = {channel.name: channel for channel in desk.policy().channels}
        new: list[Row] = []
        crossed = set()
        for alert in alerts:
            if alert.kind == "opened":
                member, at = rows.crossing_of(alert)
                key = keys.crossings(shard_of(alert.user_id))
                effects.index(key, member, at)
                crossed.add(key)
            there = {name for name, _ in known[alert.user_id]}
            for name in alert.channels:
                channel = channels.get(name)
                if channel is not None and alert.kind not in channel.kinds:
                    continue
                row = rows.row_of(alert, name, now_ms)
                if row.row_id in there:
                    # The alerts worker was stopped between its publishing and its save.
                    desk.deliveries.known.inc()
                    continue
                if alert.arm == "control":
                    row = msgspec.structs.replace(row, state="control", reason="held out")
                new.append(row)
                known[alert.user_id].append((row.row_id, row.dedup_key))
        for key in sorted(crossed):
            effects.keep_highest(key, CROSSINGS_KEPT)
        return new


def _shelve(new: Sequence[Row], effects: Effects) -> None:
    logs, channels = set(), set()
    for row in new:
        shard = shard_of(row.user_id)
        waits = row.state == "waiting"
        lifetime = None if waits else OVER_TTL_MS
        effects.put(keys.delivery(shard, row.row_id), deliveries.encode(row), lifetime)
        if waits:
            effects.index(keys.delivery_queue(shard, row.channel), row.row_id, float(row.due))
        logs |= set(log(row, shard, effects))
        channels.add(row.channel)
    for channel in sorted(channels):
        effects.index(keys.dispatch("channels"), channel, 0.0)
    for name in sorted(logs):
        effects.keep_highest(name, LOG_KEPT)
