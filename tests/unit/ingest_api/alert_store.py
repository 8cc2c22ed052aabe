"""Puts alerts, deliveries and what was said of them where the workers do."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from alerts.delivery.rows import row_of
from alerts.delivery.shelf import encode_known
from contracts.alerts import ChurnAlert, encode_alert
from contracts.commands import AlertCommand, Verdict
from contracts.deliveries import Row, State, encode
from contracts.partition import shard as shard_of
from contracts.times import from_ms, to_ms
from runtime import alert_history, alert_index, keys, verdicts
from runtime.deliveries import Deliveries, decode_known, log
from runtime.ledger import Effects, Mark
from runtime.testing import FakeLedger, FakeRedis
from tests.unit.ingest_api.stand import NOON


async def written(redis: FakeRedis, effects: Effects) -> None:
    ledger = FakeLedger(redis, "a test")
    await ledger.save(await ledger.marks(0), Mark(1, 1), 0, effects)


async def alerted(redis: FakeRedis, *alerts: ChurnAlert) -> None:
    """What the alerts worker leaves of alerts, in the order in which they came about."""
    effects = Effects()
    stored = await alert_history.load(redis.client, {alert.user_id for alert in alerts})
    alert_history.remember(alerts, stored, effects)
    for alert in alerts:
        alert_index.remember(alert, effects)
        key = keys.recent_alerts(shard_of(alert.user_id))
        effects.index(key, encode_alert(alert), float(to_ms(alert.occurred_at)))
    await written(redis, effects)


async def said(
    redis: FakeRedis,
    alert: ChurnAlert,
    verdict: Verdict,
    *,
    actor: str = "grace",
    at_ms: int = NOON,
) -> None:
    """What the alerts worker leaves of a verdict."""
    effects = Effects()
    command = AlertCommand(
        command_id=f"{alert.dedup_key}{verdict}",
        user_id=alert.user_id,
        dedup_key=alert.dedup_key,
        kind="verdict",
        verdict=verdict,
        actor="grace",
        at=from_ms(at_ms),
    )
    alerts = await alert_history.alerts_of(redis.client, alert.user_id)
    verdicts.remember(command, alerts, effects)
    await written(redis, effects)


async def delivered(
    redis: FakeRedis,
    alert: ChurnAlert,
    channel: str = "crm",
    states: Sequence[State] = ("waiting",),
    at_ms: int = NOON,
    *,
    reason: str = "",
) -> Row:
    """What the delivery worker leaves of a delivery that went through some states."""
    shelf = Deliveries(redis.client)
    row = row_of(alert, channel, at_ms)
    effects = Effects()
    shard = shard_of(alert.user_id)
    key = keys.deliveries_of(alert.user_id)
    known = [
        *decode_known(redis.state.strings.get(key)),
        (row.row_id, row.dedup_key),
    ]
    effects.put(key, encode_known(known))
    effects.put(keys.delivery(shard, row.row_id), encode(row))
    effects.index(keys.dispatch("channels"), channel, 0.0)
    log(row, shard, effects)
    await written(redis, effects)
    for step, state in enumerate(states, start=1):
        [slip] = await shelf.find(row.row_id)
        after = replace(slip.row, state=state, updated=at_ms + step, attempts=step, reason=reason)
        assert await shelf.settle(slip, after) is not None
        row = after
    return row
