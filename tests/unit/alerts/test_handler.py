"""Scores in, alerts out: one partition of the alerts worker on in-memory doubles."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from alerts.delivery.shelf import encode_known
from alerts.handler import AlertsHandler, Desk
from alerts.rules import DEFAULT, Policy
from contracts.alerts import ChurnAlert, decode_alert
from contracts.errors import LogUnavailable, Refused, StoreUnavailable
from contracts.partition import SHARDS, home, shard
from contracts.scores import ChurnScore, encode_score
from contracts.times import DAY_MS, NEVER, to_ms
from contracts.topics import ALERTS, CLOCK_HEADER, CLOCK_KEY, SCORES, dead_letter
from runtime import keys
from runtime.alert_index import KEPT_MS
from runtime.dead_letters import RUN_RECORDS, DeadLetters
from runtime.handler import Opening
from runtime.health import Health
from runtime.kafka import Message
from runtime.ledger import Mark
from runtime.log_identity import Log
from runtime.metrics import WorkerMetrics
from runtime.recent_alerts import KEPT, RecentAlerts
from runtime.testing import FakeLedger, FakePublisher, FakeRecord, FakeRedis, record
from runtime.unmoved import Unmoved
from tests.churn_scores import NOON, churn_score

PARTITION = 3
ALERT_PARTITIONS = 5


@dataclass
class Bench:
    """A worker's surroundings, and what came out."""

    redis: FakeRedis = field(default_factory=FakeRedis)
    publisher: FakePublisher = field(default_factory=lambda: FakePublisher(ALERT_PARTITIONS))
    health: Health = field(default_factory=Health)
    metrics: WorkerMetrics = field(
        default_factory=lambda: WorkerMetrics(CollectorRegistry(), SCORES)
    )
    ttl_ms: int | None = None
    log: int = 1
    policy: Policy = DEFAULT
    bell: set[int] = field(default_factory=set)
    now: int = NOON

    def __post_init__(self) -> None:
        self.ledger = FakeLedger(self.redis, SCORES)
        self.unmoved = Unmoved(self.redis.client, SCORES)

    async def opened(self, partition: int = PARTITION) -> AlertsHandler:
        """A handler as a worker that has just come to own the partition makes it."""
        opening = Opening(
            Log(SCORES, self.log, UUID(int=self.log), 8), await self.ledger.marks(partition), 0
        )
        return AlertsHandler(
            opening,
            Desk(
                policy=lambda now_ms: self.policy,
                redis=self.redis.client,
                unmoved=self.unmoved,
                ledger=self.ledger,
                publisher=self.publisher,
                dead_letters=DeadLetters(self.publisher, self.redis.client, SCORES, self.health),
                metrics=self.metrics,
                episode_ttl_ms=self.ttl_ms,
                bell=self.bell,
                now_ms=lambda: self.now,
            ),
        )

    @property
    def alerts(self) -> list[ChurnAlert]:
        return [decode_alert(message.value or b"") for message in self.publisher.of(ALERTS)]

    @property
    def kinds(self) -> list[str]:
        return [alert.kind for alert in self.alerts]


def log_of(*entries: ChurnScore | FakeRecord) -> list[FakeRecord]:
    """Records of partition 3 at offsets 0, 1, ... in the order given."""
    records = [
        entry
        if isinstance(entry, FakeRecord)
        else record(encode_score(entry), key=entry.user_id, timestamp=to_ms(entry.scored_at))
        for entry in entries
    ]
    return [
        replace(entry, partition=PARTITION, offset=offset) for offset, entry in enumerate(records)
    ]


def tombstone(user_id: str = "ada") -> FakeRecord:
    return record(None, key=user_id)


async def test_a_risky_score_becomes_an_alert() -> None:
    """The alert goes to its user's home partition, keyed, timed and described by headers."""
    bench = Bench()

    await (await bench.opened()).handle(log_of(churn_score(0.8)))

    (published,) = bench.publisher.published
    (alert,) = bench.alerts
    headers = dict(published.message.headers)
    assert (ALERTS, home("ada", ALERT_PARTITIONS)) == (published.topic, published.partition)
    assert (b"ada", NOON + DAY_MS) == (published.message.key, published.message.timestamp_ms)
    assert (alert.alert_id.encode(), b"ebbtide.churn-alert", b"/ebbtide/alerts") == (
        headers["ce_id"],
        headers["ce_type"],
        headers["ce_source"],
    )
    assert (alert.occurred_at.isoformat().encode(), b"2023-11-14T22:13:20+00:00") == (
        headers["ce_time"],
        headers["ebbtide-published-at"],
    )


async def test_effects_and_watermark_move_together() -> None:
    """After a batch every shard's mark is past it, and episode and recent alert are stored."""
    bench = Bench(ttl_ms=1_000)
    handler = await bench.opened()

    await handler.handle(log_of(churn_score(0.8), churn_score(0.1, user_id="bob")))

    expected = (Mark(1, 2),) * SHARDS
    assert expected == (await bench.ledger.marks(PARTITION)).stored == handler.marks.stored
    (alert,) = bench.alerts
    assert {
        keys.episode("ada"): 1_000,
        keys.episode("bob"): 1_000,
        keys.alert_of("ada", alert.alert_id): KEPT_MS,
        keys.alert_of("ada", alert.dedup_key): KEPT_MS,
        keys.alerts_of("ada"): KEPT_MS,
    } == bench.redis.state.lifetimes_ms
    assert bench.alerts == await RecentAlerts(bench.redis.client).latest(10)
    assert NOON + DAY_MS == handler.log_time


async def test_redelivery_changes_nothing() -> None:
    """Records below the watermark are passed, whether to the same worker or to the next."""
    bench = Bench()
    records = log_of(churn_score(0.8, 1), churn_score(0.1, 2))
    handler = await bench.opened()
    await handler.handle(records)
    before = bench.redis.backup()

    await handler.handle(records)
    await (await bench.opened()).handle(records)

    assert ["opened", "resolved"] == bench.kinds
    assert before == bench.redis.state


async def test_a_shard_that_is_ahead_takes_no_repeat() -> None:
    """Each shard's own watermark decides: what one lacks is done there and nowhere else."""
    bench = Bench()
    records = log_of(churn_score(0.8, user_id="ada"), churn_score(0.8, user_id="bob"))
    assert shard("ada") != shard("bob")
    await (await bench.opened()).handle(records)
    lagging = keys.marks(shard("bob"), SCORES)
    await bench.redis.hset(lagging, str(PARTITION), "1:0")
    await bench.redis.delete(keys.episode("bob"), keys.episode("ada"))

    await (await bench.opened()).handle(records)

    assert ["ada", "bob", "bob"] == [alert.user_id for alert in bench.alerts]


async def test_a_new_log_is_not_taken_for_a_repeat() -> None:
    """Offsets of a recreated topic start again and still count."""
    bench = Bench()
    await (await bench.opened()).handle(log_of(churn_score(0.8, 1)))

    bench.log = 2
    await (await bench.opened()).handle(log_of(churn_score(0.1, 2)))

    assert ["opened", "resolved"] == bench.kinds


@pytest.mark.parametrize("wrote", [False, True])
async def test_a_crash_around_the_save_changes_state_once(wrote: bool) -> None:
    """Killed before the save, an alert repeats under its id; killed after it, nothing repeats."""
    bench = Bench()
    records = log_of(churn_score(0.8))
    crash = StoreUnavailable("gone")
    bench.ledger.fails_after, bench.ledger.fails_before = (crash, None) if wrote else (None, crash)
    with pytest.raises(StoreUnavailable):
        await (await bench.opened()).handle(records)

    await (await bench.opened()).handle(records)

    assert (1 if wrote else 2) == len(bench.alerts)
    assert 1 == len({alert.alert_id for alert in bench.alerts})
    assert 1 == len(await RecentAlerts(bench.redis.client).latest(10))


async def test_an_alert_that_is_not_acknowledged_is_not_saved() -> None:
    """State moves only after the alert is safe in Kafka."""
    bench = Bench()
    bench.publisher.fails = LogUnavailable("no")

    with pytest.raises(LogUnavailable):
        await (await bench.opened()).handle(log_of(churn_score(0.8)))

    assert 0 == bench.ledger.saves
    assert bench.redis.state == FakeRedis().state


async def test_a_rolled_back_store_refuses() -> None:
    """A worker whose store forgot a batch is refused, and the next one makes it good again."""
    bench = Bench()
    records = log_of(churn_score(0.8, 1), churn_score(0.1, 2))
    handler = await bench.opened()
    backup = bench.redis.backup()
    await handler.handle(records[:1])
    bench.redis.restore(backup)

    with pytest.raises(Refused):
        await handler.handle(records[1:])
    assert backup == bench.redis.state

    await (await bench.opened()).handle(records)
    stored = await RecentAlerts(bench.redis.client).latest(10)
    assert ["resolved", "opened"] == [alert.kind for alert in stored]


async def test_nobody_is_told_what_follows_from_a_forgotten_episode() -> None:
    """A worker that is ahead of its store publishes nothing before it finds out."""
    bench = Bench()
    records = log_of(churn_score(0.8, 1), churn_score(0.1, 2), churn_score(0.1, 3))
    handler = await bench.opened()
    await handler.handle(records[:1])
    backup = bench.redis.backup()
    await handler.handle(records[1:2])
    bench.redis.restore(backup)

    with pytest.raises(Refused):
        await handler.handle(records[2:])
    assert ["opened", "resolved"] == bench.kinds

    await (await bench.opened()).handle(records[1:])
    assert 2 == len({alert.alert_id for alert in bench.alerts})


async def test_a_zombie_tells_nobody() -> None:
    """Nor does one whose partition has another owner by now."""
    bench = Bench()
    records = log_of(churn_score(0.8, 1), churn_score(0.1, 2))
    zombie, owner = await bench.opened(), await bench.opened()
    await owner.handle(records[:1])

    with pytest.raises(Refused):
        await zombie.handle(records[1:])
    assert ["opened"] == bench.kinds


async def test_partitions_that_are_read_for_together_stay_apart() -> None:
    """Batches at the same moment have episodes and refusals of their own."""
    bench = Bench()
    users = {home(name, 8): name for name in map(str, range(99))}
    handlers = {partition: await bench.opened(partition) for partition in range(8)}
    await (await bench.opened(5)).handle(_batch(5, 0, churn_score(0.1, 1, user_id=users[5])))

    told = await asyncio.gather(
        *(
            handler.handle(_batch(partition, 0, churn_score(0.8, 2, user_id=users[partition])))
            for partition, handler in handlers.items()
        ),
        return_exceptions=True,
    )
    others = [partition for partition in range(8) if partition != 5]
    assert isinstance(told[5], Refused)
    assert [None] * 7 == [told[partition] for partition in others]

    # Each of them goes on from its own user's episode; who was refused starts again.
    handlers[5] = await bench.opened(5)
    later = {p: churn_score(0.1, 3, user_id=users[p], trigger="activity") for p in others}
    later[5] = churn_score(0.8, 2, user_id=users[5])
    await asyncio.gather(
        *(handler.handle(_batch(p, 1, later[p])) for p, handler in handlers.items())
    )
    kinds = {
        user: [alert.kind for alert in bench.alerts if alert.user_id == user]
        for user in users.values()
    }
    assert {
        name: ["opened"] if partition == 5 else ["opened", "resolved"]
        for partition, name in users.items()
    } == kinds


def _batch(partition: int, offset: int, *scores: ChurnScore) -> list[FakeRecord]:
    return [
        replace(entry, partition=partition, offset=offset + at)
        for at, entry in enumerate(log_of(*scores))
    ]


async def test_nothing_is_told_or_saved_before_the_log_is_confirmed() -> None:
    """Neither alerts nor dead letters: the records may be those of another log."""
    bench = Bench()

    async def another() -> None:
        await asyncio.sleep(0)
        raise LogUnavailable("another log")

    with pytest.raises(LogUnavailable):
        await (await bench.opened()).handle(log_of(churn_score(0.8), record(b"?")), another())

    assert ([], 0) == (bench.publisher.published, bench.ledger.saves)


@given(st.data())
async def test_where_a_batch_is_cut_makes_no_difference(data: st.DataObject) -> None:
    """Any cutting of the log, with a new worker at each, leaves the same alerts and episodes."""
    probabilities = st.sampled_from([0.1, 0.6, 0.7, 0.9])
    users = st.sampled_from(["ada", "bob", "cy"])
    entries = data.draw(st.lists(st.tuples(probabilities, users, st.booleans()), max_size=15))
    records = log_of(
        *(
            tombstone(user_id)
            if erased and probability == 0.1
            else churn_score(probability, 1 + 4 * place, user_id=user_id)
            for place, (probability, user_id, erased) in enumerate(entries)
        )
    )
    whole, cut = Bench(), Bench()
    if records:
        await (await whole.opened()).handle(records)

    rest = records
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        await (await cut.opened()).handle(rest[:size])
        rest = rest[size:]

    # Partitions apart: a batch publishes to one partition after the other.
    assert _by_user(whole.alerts) == _by_user(cut.alerts)
    assert whole.redis.state.strings == cut.redis.state.strings
    assert whole.redis.state.zsets == cut.redis.state.zsets


def _by_user(alerts: list[ChurnAlert]) -> list[ChurnAlert]:
    return sorted(alerts, key=lambda alert: alert.user_id)


async def test_a_tombstone_erases_without_a_word() -> None:
    """Episode and recent alerts of the user go, those of others stay; nothing is published."""
    bench = Bench()
    handler = await bench.opened()
    neighbour = next(name for name in map(str, range(999)) if shard(name) == shard("ada"))
    await handler.handle(log_of(churn_score(0.8), churn_score(0.8, user_id=neighbour)))

    await handler.handle(
        log_of(tombstone("x"), tombstone("x"), tombstone(), churn_score(0.8, 9, user_id="bob"))
    )

    assert ["ada", neighbour, "bob"] == [alert.user_id for alert in bench.alerts]
    _, *others = bench.alerts
    assert {
        key
        for alert in others
        for key in (
            keys.episode(alert.user_id),
            keys.alert_of(alert.user_id, alert.alert_id),
            keys.alert_of(alert.user_id, alert.dedup_key),
            keys.alerts_of(alert.user_id),
        )
    } == set(bench.redis.state.strings)
    recent = await RecentAlerts(bench.redis.client).latest(10)
    assert ["bob", neighbour] == [alert.user_id for alert in recent]


async def test_an_alert_and_its_erasure_in_one_batch() -> None:
    """An alert told before the erasure in the same batch does not stay among the recent ones."""
    bench = Bench()

    await (await bench.opened()).handle(log_of(churn_score(0.8), tombstone()))

    assert ["opened"] == bench.kinds
    assert ({}, {}) == (bench.redis.state.strings, bench.redis.state.zsets)


async def test_after_an_erasure_the_user_starts_anew() -> None:
    """No cooldown outlives the episode it belonged to."""
    bench = Bench()

    await (await bench.opened()).handle(
        log_of(churn_score(0.8, 1), tombstone(), churn_score(0.8, 2))
    )

    assert ["opened", "opened"] == bench.kinds


async def test_an_erasure_leaves_the_deliveries_of_what_came_after_it() -> None:
    """A delivery worker may have the new alert before the batch is saved: it stays."""
    bench = Bench()
    redis = bench.redis

    class Quick(FakePublisher):
        async def publish(self, topic: str, partition: int, messages: Iterable[Message]) -> None:
            await redis.set(keys.deliveries_of("ada"), encode_known([("an-alert:team", "opened")]))
            await super().publish(topic, partition, messages)

    bench.publisher = Quick(ALERT_PARTITIONS)

    await (await bench.opened()).handle(log_of(tombstone(), churn_score(0.8, 2)))

    assert ["opened"] == bench.kinds
    assert keys.deliveries_of("ada") in redis.state.strings


async def test_clock_records_carry_only_time() -> None:
    """They move the log time and the watermark, and are neither scores nor dead letters."""
    bench = Bench()
    handler = await bench.opened()
    assert NEVER == handler.log_time
    clock = record(None, key=CLOCK_KEY, timestamp=NOON, headers=[(CLOCK_HEADER, b"")])

    await handler.handle(log_of(clock))

    assert NOON == handler.log_time
    assert ([], {}) == (bench.publisher.published, bench.redis.state.strings)
    assert {Mark(1, 1)} == set(handler.marks.stored)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(b"{"), "not a churn score"),
        (record(b"{}"), "not a churn score"),
        (record(b"{}", key=None), "no key"),
        (record(None, key=b"\xff"), "not a churn score"),
        (record(encode_score(churn_score(0.8)), key="eve"), "'ada'"),
        (
            record(encode_score(churn_score(0.8)).replace(b"Z", b""), key="ada"),
            "timezone component",
        ),
        (
            record(encode_score(churn_score(0.8, offset=2**63)), key="ada"),
            "a position that no log has",
        ),
    ],
)
async def test_what_cannot_be_read_is_parked_and_passed(bad: FakeRecord, reason: str) -> None:
    """The dead letter says why and where; the scores around it count."""
    bench = Bench()

    await (await bench.opened()).handle(
        log_of(churn_score(0.8, 1), bad, churn_score(0.1, 2, trigger="activity"))
    )

    (letter,) = bench.publisher.of(dead_letter(SCORES))
    headers = dict(letter.headers)
    assert reason in headers["ebbtide-reason"].decode()
    assert f"{SCORES}:1:{PARTITION}:1".encode() == headers["ebbtide-source"]
    assert (bad.key, bad.value) == (letter.key, letter.value)
    assert ["opened", "resolved"] == bench.kinds


async def test_a_long_run_of_bad_records_waits_for_a_person() -> None:
    """100 in a row from three keys are parked and passed, then the partition is held."""
    bench = Bench()
    handler = await bench.opened()
    assert not await handler.held()
    bad = [record(b"?", key=str(number % 3)) for number in range(RUN_RECORDS)]

    await handler.handle(log_of(*bad, churn_score(0.8)))

    assert handler.suspicious
    assert await handler.held()
    assert await (await bench.opened()).held()
    assert f"dead letters of partition {PARTITION}" in bench.health.reasons
    assert RUN_RECORDS == len(bench.publisher.of(dead_letter(SCORES)))
    assert ["opened"] == bench.kinds


async def test_a_good_record_ends_a_run() -> None:
    """Bad records that are not in a row hold nothing, however many they are."""
    bench = Bench()
    handler = await bench.opened()
    bad = [record(b"?", key=str(number % 3)) for number in range(RUN_RECORDS - 1)]

    await handler.handle(log_of(*bad, churn_score(0.8), *bad))

    assert not await handler.held()


async def test_an_accepted_partition_goes_on() -> None:
    """After a person accepted, one more bad record does not hold the partition again."""
    bench = Bench()
    handler = await bench.opened()
    bad = [record(b"?", key=str(number % 3)) for number in range(RUN_RECORDS + 1)]
    await handler.handle(log_of(*bad)[:-1])
    await bench.redis.delete(keys.held(SCORES))

    assert not await handler.held()
    await handler.handle(log_of(*bad)[-1:])

    assert not handler.suspicious
    assert "dead letters of partition 3" not in bench.health.reasons


async def test_recent_alerts_are_trimmed_per_shard() -> None:
    """A shard keeps its newest thousand."""
    bench = Bench()
    names = [name for name in map(str, range(20_000)) if shard(name) == 0][: KEPT + 5]

    await (await bench.opened()).handle(
        log_of(*(churn_score(0.8, 1 + n, user_id=name) for n, name in enumerate(names)))
    )

    latest = await RecentAlerts(bench.redis.client).latest(2_000)
    assert names[:4:-1] == [alert.user_id for alert in latest]


async def test_alerts_are_counted() -> None:
    """Metrics tell alerts by kind, records and dead letters by topic."""
    bench = Bench()

    await (await bench.opened()).handle(log_of(churn_score(0.8), record(b"?")))

    registry = bench.metrics.registry
    assert (1.0, 2.0, 1.0) == (
        registry.get_sample_value("ebbtide_alerts_total", {"kind": "opened"}),
        registry.get_sample_value("ebbtide_records_total", {"topic": SCORES}),
        registry.get_sample_value("ebbtide_records_parked_total", {"topic": SCORES}),
    )


async def test_the_worker_has_no_timers() -> None:
    """A sweep finds nothing due, ever."""
    assert not await (await Bench().opened()).sweep(2**62)
