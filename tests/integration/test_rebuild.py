"""`ebbtide rebuild` on real servers: the facts of a clean fold, while the service runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from redis.asyncio import Redis

from contracts.errors import LogMismatch, Misconfigured
from contracts.events import EVENT_ROW, LogPlace, decode, row
from contracts.partition import SHARDS, home
from contracts.record import FACTS, blank_facts
from contracts.times import MINUTE_MS
from contracts.topics import ACTIVITY, SCORES
from ebbtide.commands.rebuild import rebuild
from model.fold import fold
from runtime import keys, switching
from runtime.generations import each_serving
from runtime.store import connect, text
from scorer.main import score_with
from scorer.settings import ScorerSettings
from scorer.stretches import Pins
from tests.fading_model import FadingModel
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    agreement,
    create_topic,
    delete_topic,
    eventually,
    oracle,
    producer,
    scorer,
    scorer_settings,
    send,
    stored,
    whole_log,
)
from tests.integration.test_scorer import history
from tests.servers import KafkaServer, RedisServer


@asynccontextmanager
async def client_of(server: RedisServer) -> AsyncIterator[Redis]:
    redis = connect(server.url)
    try:
        yield redis
    finally:
        await redis.aclose()


async def generation_of(server: RedisServer) -> int:
    async with client_of(server) as redis:
        [generation] = set(await each_serving(redis, ACTIVITY))
        return generation


async def holdings(server: RedisServer, generation: int) -> dict[str, Any]:
    """All a generation holds, under names that do not tell which it is."""
    held: dict[str, Any] = {}
    async with client_of(server) as redis:
        async for key in redis.scan_iter(match=keys.any_of(generation)):
            tag, _, _, rest = key.decode().split(":", 3)
            if rest.startswith("ev:"):
                continue  # the history's, which fills them by itself
            zset = rest.startswith("t:") or rest in {"rank", "worth"}
            held[f"{tag}{key[4:9]!r}:{rest}"] = (
                await redis.zrange(key, 0, -1, withscores=True) if zset else await redis.get(key)
            )
        for shard in range(SHARDS):
            marks = keys.marks(shard, ACTIVITY, generation)
            held[f"marks of {shard}"] = await redis.hgetall(marks)
        held["log"] = await redis.hgetall(keys.log(ACTIVITY, generation))
    return held


async def test_a_rebuild_of_what_is_right_changes_no_byte_and_publishes_nothing(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Records, timers, ranks, marks and clocks of the new generation are those of the old one."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        events = history(users=60, events=1500)
        await send(client, events[:1000])
        await send(client, events[1000:1200], partition_of=lambda name: len(name) % PARTITIONS)
        await agreement(clean_kafka, clean_redis, settings)
        before, told = await _at_rest(clean_kafka, clean_redis, 1)

        done = await rebuild(settings)

        assert 2 == done.generation == await generation_of(clean_redis)
        assert before == await holdings(clean_redis, 2)
        assert told == len(await whole_log(clean_kafka, SCORES))
        left = await holdings(clean_redis, 1)
        assert not any(left.values())
        assert 60 == done.forgotten

        await send(client, events[1200:])
        await agreement(clean_kafka, clean_redis, settings)


async def _at_rest(kafka: KafkaServer, redis: RedisServer, generation: int) -> tuple[Any, int]:
    """What is held and how much was told, once neither changes any more."""
    last: tuple[Any, int] | None = None

    async def same() -> bool:
        nonlocal last
        seen = await holdings(redis, generation), len(await whole_log(kafka, SCORES))
        last, before = seen, last
        return seen == before

    await eventually(same, every_s=0.3)
    assert last is not None
    return last


async def test_rebuilds_under_load_lose_and_repeat_nothing(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Two scorers and a stream of events all the while; scores that repeat say the same."""
    settings = scorer_settings(clean_kafka, clean_redis)
    other = settings.model_copy(update={"scorer_health_port": 0})
    await create_topic(clean_kafka)
    events = history(users=150, events=3000, seed=5)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, events[:1000])
        await agreement(clean_kafka, clean_redis, settings)

        async def stream() -> None:
            for at in range(1000, len(events), 50):
                await send(client, events[at : at + 50])
                await asyncio.sleep(0.05)

        async with scorer(other):
            streaming = asyncio.ensure_future(stream())
            rebuilt = []
            while not streaming.done():
                rebuilt.append(await rebuild(settings))
            await streaming

            async def agreed() -> bool:
                wanted = oracle(await whole_log(clean_kafka), settings)
                return wanted == await stored(clean_redis, wanted)

            await eventually(agreed, within_s=180, every_s=0.5)

    assert len(rebuilt) >= 2
    assert 1 + len(rebuilt) == await generation_of(clean_redis)
    by_id: dict[bytes, set[bytes]] = {}
    for record in await whole_log(clean_kafka, SCORES):
        by_id.setdefault(dict(record.headers)["ce_id"], set()).add(record.value)
    assert not [values for values in by_id.values() if len(values) > 1]


async def test_a_rebuild_that_is_killed_leaves_the_service_as_it_was(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """The old generation serves on, and the next rebuild starts clean and sweeps up after it."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    events = history(users=300, events=4000, seed=6)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, events[:3900])
        await agreement(clean_kafka, clean_redis, settings)

        await _killed_rebuild(clean_redis, settings)

        assert 1 == await generation_of(clean_redis)
        await send(client, events[3900:])
        await agreement(clean_kafka, clean_redis, settings)
        async with client_of(clean_redis) as redis:
            assert [2] == await switching.unfinished(redis, ACTIVITY, 1, 3)

        assert 3 == (await rebuild(settings)).generation

        await agreement(clean_kafka, clean_redis, settings)
        async with client_of(clean_redis) as redis:
            assert [] == await switching.unfinished(redis, ACTIVITY, 3, 4)
            assert not [key async for key in redis.scan_iter(match=keys.any_of(2))]


async def _killed_rebuild(server: RedisServer, settings: ScorerSettings) -> None:
    """Run `ebbtide rebuild` and kill -9 it once it has written something."""
    env = os.environ | {
        "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "EBBTIDE_REDIS_URL": settings.redis_url,
    }
    command = [sys.executable, "-m", "ebbtide", "rebuild"]
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=subprocess.DEVNULL)
    try:
        async with client_of(server) as redis:

            async def begun() -> bool:
                assert process.returncode is None, "it ended before it could be killed"
                names = [keys.marks(shard, ACTIVITY, 2) for shard in range(SHARDS)]
                return bool(await redis.exists(*names))

            await eventually(begun, every_s=0.001)
    finally:
        process.kill()
        await process.wait()


async def test_a_hold_whose_rebuild_died_runs_out(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """The scorers wait for some seconds and go on with the generation they had."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, visits("ada", 3))
        await agreement(clean_kafka, clean_redis, settings)
        async with client_of(clean_redis) as redis:
            await switching.hold(redis, ACTIVITY, await switching.claim(redis, ACTIVITY))

        await send(client, visits("ada", 3, first=3))
        await agreement(clean_kafka, clean_redis, settings)

    assert 1 == await generation_of(clean_redis)


def visits(user_id: str, count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"user_id": user_id, "type": "page_view", "occurred_at": NOON + i * MINUTE_MS}
        for i in range(first, first + count)
    ]


async def refused(settings: ScorerSettings) -> str:
    """Run a scorer until it gives up, and return why."""
    with pytest.raises(LogMismatch) as caught:
        async with asyncio.timeout(90):
            await score_with(FadingModel(), settings, asyncio.Event())
    return str(caught.value)


async def test_other_rules_take_over_with_the_rebuild(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """A scorer of the old ones ends, one of the new ones goes on; alerts are not asked to."""
    settings = scorer_settings(clean_kafka, clean_redis)
    changed = scorer_settings(clean_kafka, clean_redis, passive_types=("login",))
    await create_topic(clean_kafka)
    async with producer(clean_kafka) as client:
        old = asyncio.ensure_future(score_with(FadingModel(), settings, asyncio.Event()))
        mixed = [*visits("ada", 4), visits("ada", 1, first=9)[0] | {"type": "login"}]
        await send(client, mixed + visits("bob", 2))
        before = await agreement(clean_kafka, clean_redis, settings)
        assert "ebbtide rebuild" in await refused(changed)
        async with client_of(clean_redis) as redis:
            await redis.hset(keys.log(SCORES), "rules", settings.fold_rules.digest)

        await rebuild(changed)

        with pytest.raises(LogMismatch, match="ebbtide rebuild"):
            await old
        async with client_of(clean_redis) as redis:
            pinned = await redis.hget(keys.log(SCORES), "rules")
        assert changed.fold_rules.digest.encode() == pinned
        async with scorer(changed):
            await send(client, visits("bob", 2, first=5))
            after = await agreement(clean_kafka, clean_redis, changed)
    ada = np.frombuffer(before["ada"], FACTS), np.frombuffer(after["ada"], FACTS)
    assert (5, 4) == tuple(facts["events"][0] for facts in ada)


# What the log no longer holds.


async def test_a_rebuild_without_a_log_or_records_is_refused(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """There would be nothing to fold."""
    settings = scorer_settings(clean_kafka, clean_redis)
    with pytest.raises(Misconfigured, match="no topic"):
        await rebuild(settings)
    await create_topic(clean_kafka)
    with pytest.raises(Misconfigured, match="nothing to rebuild"):
        await rebuild(settings)


async def test_a_rebuild_of_a_recreated_topic_is_refused_unless_told(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """The records know events that are no longer in Kafka."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, visits("ada", 2))
        await agreement(clean_kafka, clean_redis, settings)
    await delete_topic(clean_kafka)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, visits("ada", 1, first=5))
        await eventually(lambda: events_of(clean_redis, "ada", 3))

        with pytest.raises(Misconfigured, match=r"1 users \('ada'.*--accept-truncated"):
            await rebuild(settings)
        assert await events_of(clean_redis, "ada", 3)
        await rebuild(settings, accept_truncated=True)

        assert await events_of(clean_redis, "ada", 1)
        await send(client, visits("ada", 1, first=6))
        await agreement(clean_kafka, clean_redis, settings, log=2)


async def events_of(server: RedisServer, user_id: str, count: int) -> bool:
    facts = np.frombuffer((await stored(server, [user_id]))[user_id], FACTS)
    return bool(facts["events"] == count)


@pytest.mark.apache_kafka
async def test_a_log_that_retention_cut_is_refused_only_while_it_matters(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Not where everybody's first event is still there."""
    settings = scorer_settings(clean_kafka, clean_redis)
    at_first = [name for name in map("user-{}".format, range(99)) if home(name, PARTITIONS) == 0]
    early, late = at_first[:2]
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, visits(early, 3))
        await send(client, visits(late, 3, first=10))
        await agreement(clean_kafka, clean_redis, settings)
        await _cut(clean_kafka, before=2)
        with pytest.raises(Misconfigured, match=rf"1 users \('{early}'.*--accept-truncated"):
            await rebuild(settings)

        async with client_of(clean_redis) as redis:
            await redis.unlink(keys.record(early))  # as its lifetime would have ended
        await rebuild(settings)

        assert await events_of(clean_redis, late, 3)


async def _cut(kafka: KafkaServer, before: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(ACTIVITY, 0): RecordsToDelete(before)})
    finally:
        await admin.close()


# Another partition count.


@pytest.mark.apache_kafka
async def test_a_topic_that_grew_twice_goes_on_after_a_rebuild_each_time(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Users move to their new homes with everything they did, and positions only rise."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    events = history(users=80, events=1800, seed=7)
    counts = (PARTITIONS, PARTITIONS + 2, PARTITIONS + 3)
    async with producer(clean_kafka) as client:
        for at, count in enumerate(counts):
            if at:
                await _grow(clean_kafka, count)
                await client.client.force_metadata_update()
                # Producers are ahead of us.
                await send(client, events[at * 600 - 60 : at * 600], partition_of=_homes(count))
                assert "ebbtide rebuild" in await refused(settings)
                await rebuild(settings)
            async with scorer(settings):
                stop = at * 600 + (600 if count == counts[-1] else 540)
                await send(client, events[at * 600 : stop], partition_of=_homes(count))
                await _folded(clean_kafka, clean_redis, settings)

    positions: dict[str, tuple[int, int]] = {}
    for record in await _scores(clean_kafka):
        place = record["position"]["log"], record["position"]["offset"]
        assert positions.get(record["user_id"], (0, 0)) <= place
        positions[record["user_id"]] = place
    assert 3 == max(log for log, _ in positions.values())


def _homes(partitions: int) -> Any:
    return lambda user_id: home(user_id, partitions)


async def _grow(kafka: KafkaServer, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_partitions({ACTIVITY: NewPartitions(partitions)})
    finally:
        await admin.close()


async def _scores(kafka: KafkaServer) -> list[dict[str, Any]]:
    return [json.loads(r.value) for r in await whole_log(kafka, SCORES) if r.value]


async def _folded(kafka: KafkaServer, redis: RedisServer, settings: ScorerSettings) -> None:
    """Wait until every user's facts are those of a loop over the log, stretch after stretch."""

    async def agree() -> bool:
        wanted = await _loop(kafka, redis, settings)
        return bool(wanted) and wanted == await stored(redis, wanted)

    await eventually(agree)


async def _loop(
    kafka: KafkaServer, redis: RedisServer, settings: ScorerSettings
) -> dict[str, bytes]:
    async with client_of(redis) as client:
        fields = await client.hgetall(keys.log(ACTIVITY, await generation_of(redis)))
    if not fields:
        return {}
    pins = Pins({text(name): text(value) for name, value in fields.items()})
    ended = [(number, was.partitions, was.ends) for number, was in sorted(pins.ended().items())]
    spans = [*ended, (pins.number, pins.partitions, [10**9] * pins.partitions)]
    log = await whole_log(kafka, ACTIVITY, pins.partitions)
    users: dict[str, list[Any]] = {}
    begins = [0] * 99
    for number, partitions, ends in spans:
        for record in log:
            partition = record.partition
            if partition >= partitions or not begins[partition] <= record.offset < ends[partition]:
                continue
            place = LogPlace(number, partition, record.offset, record.timestamp)
            event = decode(record.value)
            if home(event.user_id, partitions) == partition:
                values = row(event, place, settings.fold_rules)
                users.setdefault(event.user_id, []).append(values)
        begins[: len(ends)] = ends
    return {
        user_id: fold(
            blank_facts(1), np.array(rows, EVENT_ROW), np.zeros(len(rows), np.intp),
            settings.fold_rules,
        ).tobytes()
        for user_id, rows in users.items()
    }  # fmt: skip
