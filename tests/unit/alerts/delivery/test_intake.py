"""From alerts on the topic to deliveries in Redis, exactly once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from alerts.delivery import erasure
from alerts.delivery.channels_config import Delivery
from alerts.delivery.intake import Counter, Intake
from alerts.delivery.metrics import DeliveryMetrics
from alerts.rules import Policy
from contracts import deliveries
from contracts.alerts import ChurnAlert, encode_alert
from contracts.deliveries import Row
from contracts.errors import StoreUnavailable
from contracts.partition import SHARDS, shard
from contracts.times import to_ms
from contracts.topics import ALERTS, dead_letter
from runtime import keys
from runtime.dead_letters import DeadLetters
from runtime.deliveries import Deliveries
from runtime.handler import Opening
from runtime.health import Health
from runtime.ledger import Effects, Mark
from runtime.log_identity import Log
from runtime.metrics import WorkerMetrics
from runtime.testing import FakeLedger, FakePublisher, FakeRecord, FakeRedis, record
from runtime.unmoved import Unmoved
from tests.churn_alerts import churn_alert
from tests.churn_scores import NOON


class Stage:
    """A partition of `churn-alert` and what reads it."""

    def __init__(self) -> None:
        self.redis = FakeRedis()
        self.ledger = FakeLedger(self.redis, ALERTS)
        self.publisher = FakePublisher()
        registry = CollectorRegistry()
        self.deliveries = DeliveryMetrics(registry)
        self.registry = registry
        said = [
            {"kind": "webhook", "name": "crm", "url": "https://a.example", "secrets": ["${KEY}"]},
            {"kind": "slack", "name": "team", "url": "https://b.example"},
        ]
        self.policy = Policy(channels=Delivery.model_validate({"channels": said}).channels)
        self.counter = Counter(
            policy=lambda: self.policy,
            unmoved=Unmoved(self.redis.client, ALERTS),
            ledger=self.ledger,
            dead_letters=DeadLetters(self.publisher, self.redis.client, ALERTS, Health()),
            metrics=WorkerMetrics(registry, ALERTS),
            deliveries=self.deliveries,
            now_ms=lambda: NOON,
        )
        self.offset = 0

    async def opened(self) -> Intake:
        log = Log(ALERTS, 1, UUID(int=1), 1)
        return Intake(Opening(log, await self.ledger.marks(0), 0), self.counter)

    def records(self, *alerts: ChurnAlert) -> list[FakeRecord]:
        found = []
        for alert in alerts:
            found.append(
                record(
                    encode_alert(alert),
                    key=alert.user_id,
                    offset=self.offset,
                    timestamp=to_ms(alert.occurred_at),
                )
            )
            self.offset += 1
        return found

    def rows(self) -> list[Row]:
        found = [v for k, v in self.redis.state.strings.items() if "}:d:" in k]
        return sorted(map(deliveries.decode, found), key=lambda row: row.row_id)

    def crossings(self) -> int:
        return sum(len(self.redis.state.zsets.get(keys.crossings(s), {})) for s in range(SHARDS))


async def test_an_alert_becomes_one_delivery_for_each_of_its_channels() -> None:
    """Due at once, listed in the log, and counted for the storm guard once."""
    stage = Stage()
    await (await stage.opened()).handle(stage.records(churn_alert(channels=("crm", "team"))))

    assert ["crm", "team"] == sorted(row.channel for row in stage.rows())
    assert {"waiting"} == {row.state for row in stage.rows()}
    at = shard("ada")
    assert [1, 1] == [
        len(stage.redis.state.zsets[keys.delivery_queue(at, n)]) for n in ("crm", "team")
    ]
    assert 2 == len(stage.redis.state.zsets[keys.delivery_log(at)])
    assert 1 == stage.crossings()


async def test_a_channel_hears_only_of_its_kinds() -> None:
    """People are not told that somebody acknowledged; machines are."""
    stage = Stage()
    told = churn_alert("acknowledged", channels=("crm", "team"))
    await (await stage.opened()).handle(stage.records(told))

    assert ["crm"] == [row.channel for row in stage.rows()]


async def test_who_is_held_out_is_recorded_and_not_queued() -> None:
    """A control alert is in the log, so that both arms can be counted; it counts for storms."""
    stage = Stage()
    await (await stage.opened()).handle(stage.records(churn_alert(arm="control")))

    assert ["control"] == [row.state for row in stage.rows()]
    assert keys.delivery_queue(shard("ada"), "crm") not in stage.redis.state.zsets
    assert 1 == stage.crossings()


async def test_an_alert_that_comes_again_is_known() -> None:
    """The alerts worker repeats alerts under their ids when it was killed before its save."""
    stage = Stage()
    intake = await stage.opened()
    await intake.handle(stage.records(churn_alert()))
    before = stage.rows()
    await intake.handle(stage.records(churn_alert(), churn_alert()))

    assert before == stage.rows()
    assert 2 == stage.registry.get_sample_value("ebbtide_delivery_known_alerts_total")
    assert 1 == stage.crossings()


@pytest.mark.parametrize("saved", [False, True])
async def test_a_crash_around_the_save_leaves_each_delivery_once(saved: bool) -> None:
    """Rows and watermark move together, so whoever comes next goes on where that was."""
    stage = Stage()
    batch = stage.records(churn_alert(user_id="ada"), churn_alert(user_id="bob"))
    failure = StoreUnavailable("gone")
    stage.ledger.fails_after, stage.ledger.fails_before = (
        (failure, None) if saved else (None, failure)
    )
    with pytest.raises(StoreUnavailable):
        await (await stage.opened()).handle(batch)
    for row in stage.rows():  # the dispatcher was quick
        sent = msgspec.structs.replace(row, state="sent")
        stage.redis.state.strings[keys.delivery(shard(row.user_id), row.row_id)] = (
            deliveries.encode(sent)
        )

    await (await stage.opened()).handle(batch)

    assert ["ada", "bob"] == sorted(row.user_id for row in stage.rows())
    assert {"sent" if saved else "waiting"} == {row.state for row in stage.rows()}


async def test_what_is_no_alert_is_parked_and_the_next_is_read() -> None:
    """A bad record is in nobody's way."""
    stage = Stage()
    bad: list[Any] = [record(b"{}", key="ada", offset=0), record(b"x", key=None, offset=1)]
    stage.offset = 2
    await (await stage.opened()).handle([*bad, *stage.records(churn_alert())])

    assert 2 == len(stage.publisher.of(dead_letter(ALERTS)))
    assert 1 == len(stage.rows())


async def test_an_erased_user_leaves_no_delivery() -> None:
    """Rows, queues and log entries go; those of others stay."""
    stage = Stage()
    await (await stage.opened()).handle(
        stage.records(churn_alert(user_id="ada"), churn_alert(user_id="bob"))
    )
    effects = Effects()
    await erasure.forget(stage.redis.client, ["ada"], effects)
    marks = await stage.ledger.marks(0)
    await stage.ledger.save(marks, Mark(1, 2), 0, effects)

    assert ["bob"] == [row.user_id for row in stage.rows()]
    left = str(stage.redis.state.strings) + str(stage.redis.state.zsets)
    assert churn_alert(user_id="ada").alert_id not in left
    assert 1 == len(await Deliveries(stage.redis.client).latest(10))


async def test_what_was_read_once_does_not_come_back_when_the_partition_is_read_again() -> None:
    """A shard that lags behind has its partition read again; an erased user of another stays so."""
    stage = Stage()
    batch = stage.records(churn_alert(user_id="ada"), churn_alert(user_id="bob"))
    await (await stage.opened()).handle(batch)
    effects = Effects()
    await erasure.forget(stage.redis.client, ["ada"], effects)
    marks = await stage.ledger.marks(0)
    await stage.ledger.save(marks, Mark(1, 2), 0, effects)

    await (await stage.opened()).handle(batch)

    assert ["bob"] == [row.user_id for row in stage.rows()]
