"""`GET /system`: what is told of the machine, and what is said when parts cannot be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contracts.partition import SHARDS
from contracts.times import SECOND_MS
from contracts.topics import ACTIVITY, ALERTS, SCORES, dead_letter
from contracts.workers import REMEMBERED_MS, Standing
from ingest_api.system import timer_state
from runtime import heartbeat, keys
from runtime.health import Health
from runtime.heartbeat import Heartbeat
from runtime.log_ends import Ends, TopicEnds
from runtime.metrics import WorkerMetrics
from runtime.watermarks import Timers
from tests.unit.ingest_api.stand import NOON, Stand


@dataclass
class Worker:
    """A scorer that told of itself."""

    stand: Stand

    async def tells(self, *standings: Standing, seconds_ago: float = 0, **reasons: str) -> None:
        registry, health = CollectorRegistry(), Health()
        health.goes_on("start")
        for about, reason in reasons.items():
            health.waits(about, reason)
        now = [NOON - 5 * SECOND_MS]
        heart = Heartbeat("scorer", registry, health, now=lambda: now[0])
        metrics = WorkerMetrics(registry, ACTIVITY)
        heart.beat()
        metrics.records.labels(ACTIVITY).inc(500)
        metrics.scores.labels("activity").inc(50)
        now[0] = NOON
        with heart.watching(lambda: standings):
            await heartbeat.write(self.stand.redis.client, heart.beat())
        left = REMEMBERED_MS - round(seconds_ago * 1000)
        self.stand.redis.state.lifetimes_ms[keys.worker(heart.id)] = left


def standing(partition: int, stage: str = "fetching", log_time: int = NOON) -> Standing:
    return Standing(
        topic=ACTIVITY, ledger=ACTIVITY, group="ebbtide-scorer", partition=partition, stage=stage,
        still_seconds=0.1, position=90, highwater=100, log_time=log_time,
    )  # fmt: skip


async def marked(stand: Stand, topic: str, partition: int, mark: str, clock: int = NOON) -> None:
    """Watermarks in all shards, the last of them a little behind the others."""
    for shard in range(SHARDS):
        await stand.redis.hset(keys.marks(shard, topic), str(partition), mark)
        await stand.redis.hset(keys.marks(shard, topic), f"clock:{partition}", clock)


async def told(stand: Stand) -> dict[str, Any]:
    answer = await stand.http.get("/system")
    assert 200 == answer.status_code
    return answer.json()  # type: ignore[no-any-return]


def topic_of(page: dict[str, Any], topic: str = ACTIVITY) -> dict[str, Any]:
    return next(each for each in page["topics"] if each["topic"] == topic)


async def test_lag_is_from_the_lowest_watermark_to_the_end(gateway: Stand) -> None:
    """Of the log that is there: what was folded of an older one counts for nothing."""
    await gateway.redis.hset(keys.log(ACTIVITY), "id:now", 2)
    gateway.ends.known[ACTIVITY] = TopicEnds("now", {n: Ends(10, 100) for n in range(4)})
    await marked(gateway, ACTIVITY, 0, "2:90")
    await gateway.redis.hset(keys.marks(3, ACTIVITY), "0", "2:80")
    await marked(gateway, ACTIVITY, 1, "1:95")
    await marked(gateway, ACTIVITY, 2, "2:100")
    page = topic_of(await told(gateway))
    assert [20, 90, 0, 90] == [each["lag"] for each in page["partitions"]]
    assert (200, True, "scorer") == (page["lag"], page["exists"], page["service"])


async def test_a_worker_is_shown_with_its_partitions_and_rates(gateway: Stand) -> None:
    """And which services nobody was heard of."""
    await Worker(gateway).tells(standing(0), standing(1, "held", NOON - 60_000))
    await gateway.redis.zadd(keys.held(ACTIVITY), {"1@2:77": 1})
    page = await told(gateway)
    [worker] = page["workers"]
    assert ("ready", 2, 0.0) == (worker["state"], worker["partitions"], worker["seconds_ago"])
    assert (100.0, 10.0) == (page["rates"]["events"], page["rates"]["scores"])
    assert "2026-09-21T12:00:00Z" == page["newest_event"] == page["newest_score"]
    first, second = topic_of(page)["partitions"]
    assert (worker["id"], None, None) == (first["worker"], first["held"], first["lag"])
    assert ("held", "2:77") == (second["stage"], second["held"])
    assert ["alerts"] == page["missing"]


async def test_who_has_worked_before_is_missed(gateway: Stand) -> None:
    """Delivery and history are a choice, until they have been made."""
    await marked(gateway, ALERTS, 0, "1:5")
    await marked(gateway, f"{SCORES}.history", 0, "1:5")
    page = await told(gateway)
    assert ["scorer", "alerts", "delivery", "history"] == page["missing"]
    assert [f"{SCORES}.history"] == [
        t["ledger"] for t in page["topics"] if t["service"] == "history"
    ]


async def test_who_never_worked_is_missed_if_needed(gateway: Stand) -> None:
    """Without a scorer and the alerts nothing is told of anybody."""
    page = await told(gateway)
    assert ["scorer", "alerts"] == page["missing"]
    assert {"scorer", "alerts"} == {topic["service"] for topic in page["topics"]}


@pytest.mark.parametrize(
    ("ago", "reasons", "state", "rates"),
    [
        (3, {"kafka": "away"}, "waiting", True),
        (16, {"kafka": "away"}, "silent", False),
    ],
)
async def test_a_worker_that_fell_silent_counts_for_nothing(
    gateway: Stand, ago: float, reasons: dict[str, str], state: str, rates: bool
) -> None:
    """Its last word is shown, but its rates are those of then."""
    await Worker(gateway).tells(standing(0), seconds_ago=ago, **reasons)
    page = await told(gateway)
    assert (state, rates) == (page["workers"][0]["state"], bool(page["rates"]))


async def test_the_most_overdue_timer_is_told(gateway: Stand) -> None:
    """Of all shards and partitions, against this machine's clock."""
    await marked(gateway, ACTIVITY, 0, "1:5")
    await marked(gateway, ACTIVITY, 1, "1:5")
    await gateway.redis.zadd(keys.timers(3, 0), {"ada": NOON - 4_000, "bob": NOON + 9})
    await gateway.redis.zadd(keys.timers(9, 1), {"cyd": NOON - 6_000})
    silence, alert = (await told(gateway))["timers"]
    assert (3, 6.0, 1) == (silence["waiting"], silence["overdue_seconds"], silence["partition"])
    assert (0, 0.0, None) == (alert["waiting"], alert["overdue_seconds"], alert["earliest"])


def test_a_partition_of_a_stream_has_a_clock_of_its_own() -> None:
    """A timer is overdue by how far the clock of its own partition has passed it."""
    state = timer_state("silence", Timers(2, {0: 1_000, 1: 5_000}), {0: 1_500, 1: 9_000}, 99_000)
    assert (4.0, 1) == (state.overdue_seconds, state.partition)


async def test_dead_letters_are_counted_by_topic(gateway: Stand) -> None:
    """From where their topics begin to where they end."""
    gateway.ends.known[dead_letter(SCORES)] = TopicEnds("id", {0: Ends(2, 5), 1: Ends(0, 4)})
    page = await told(gateway)
    assert [{"topic": SCORES, "records": 7}] == page["dead_letters"]


async def test_without_kafka_the_rest_is_told(gateway: Stand) -> None:
    """Lag is unknown then, not 0."""
    await marked(gateway, ACTIVITY, 0, "1:5")
    gateway.log.away = 0
    page = await told(gateway)
    assert ("ok", True) == (
        page["redis"]["state"],
        "Kafka does not answer" in page["kafka"]["state"],
    )
    assert (None, [(5, None, None)]) == (
        topic_of(page)["lag"],
        [(p["watermark"], p["end"], p["lag"]) for p in topic_of(page)["partitions"]],
    )
    assert (None, True) == (page["dead_letters"], any("Kafka" in t for t in page["troubles"]))


async def test_without_redis_the_rest_is_told(gateway: Stand) -> None:
    """No worker and no timer is known then, which is not the same as none."""
    gateway.ends.known[ACTIVITY] = TopicEnds("now", {0: Ends(0, 9)})
    gateway.redis.away = True
    page = await told(gateway)
    assert ("ok", True) == (page["kafka"]["state"], "it is a test" in page["redis"]["state"])
    assert (None, [], {}) == (page["workers"], page["missing"], page["rates"])
    assert (9, None) == (topic_of(page)["partitions"][0]["end"], topic_of(page)["lag"])


async def test_everything_is_asked_once_for_all_who_look(gateway: Stand) -> None:
    """A page that many keep open costs as much as one."""
    first = await told(gateway)
    gateway.now += 1_000
    assert first["as_of"] == (await told(gateway))["as_of"]
