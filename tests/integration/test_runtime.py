"""What the runtime promises of real servers: saves, log identity, topics, offsets."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from redis.asyncio import Redis

from contracts.errors import LogMismatch, LogUnavailable, Misconfigured, Refused
from contracts.partition import SHARDS, home
from contracts.record import FACTS
from contracts.times import MINUTE_MS
from contracts.topics import ACTIVITY, SCORES, dead_letter
from runtime import keys
from runtime.dead_letters import RUN_RECORDS, accept
from runtime.kafka import ensure_topics
from runtime.ledger import Effects, Mark, Marks, RedisLedger
from runtime.log_identity import LogIdentity
from runtime.store import check_policy, connect
from runtime.testing import FakeLedger, FakeRedis
from runtime.topic_id import TopicIds
from scorer.main import score_with
from scorer.settings import ScorerSettings
from tests.fading_model import FadingModel
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    agreement,
    create_topic,
    delete_topic,
    eventually,
    producer,
    scorer,
    scorer_settings,
    send,
    stored,
    whole_log,
)
from tests.servers import KafkaServer, RedisServer, source

ADA = next(name for name in map("user-{}".format, range(99)) if home(name, PARTITIONS) == 0)


@asynccontextmanager
async def client_of(server: RedisServer) -> AsyncIterator[Redis]:
    redis = connect(server.url)
    try:
        yield redis
    finally:
        await redis.aclose()


def visits(user_id: str, count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"user_id": user_id, "type": "page_view", "occurred_at": NOON + i * MINUTE_MS}
        for i in range(first, first + count)
    ]


# Saves.

TAG = "ebb:{03}:"
"""Of one shard, as every key of an effect has."""


def some_effects(chance: random.Random) -> Effects:
    effects = Effects()
    for _ in range(chance.randrange(12)):
        name, member = f"{TAG}s{chance.randrange(4)}", chance.choice(["a", "b", b"\xff\x00", "é"])
        match chance.randrange(6):
            case 0:
                effects.put(name, chance.randbytes(5))
            case 1:
                effects.put(name, chance.randbytes(5), chance.randrange(10**6, 10**12))
            case 2:
                effects.delete(chance.choice([name, f"{TAG}z0"]))
            case 3:
                effects.index(f"{TAG}z0", member, None)
            case 4:
                effects.index(f"{TAG}z{chance.randrange(2)}", member, chance.uniform(-1e13, 1e13))
            case _:
                effects.keep_highest(f"{TAG}z{chance.randrange(2)}", chance.randrange(4))
    return effects


async def content(redis: Redis) -> dict[str, Any]:
    """Everything in Redis, as a FakeRedis would hold it."""
    held: dict[str, Any] = {}
    async for key in redis.scan_iter():
        match await redis.type(key):
            case b"string":
                held[key.decode()] = (await redis.get(key), await redis.pttl(key) > 0)
            case b"hash":
                held[key.decode()] = await redis.hgetall(key)
            case b"zset":
                held[key.decode()] = await redis.zrange(key, 0, -1, withscores=True)
    return held


async def content_of_double(fake: FakeRedis) -> dict[str, Any]:
    held: dict[str, Any] = {
        key: (value, key in fake.state.lifetimes_ms) for key, value in fake.state.strings.items()
    }
    for key in fake.state.hashes:
        held[key] = await fake.hgetall(key)
    for key in fake.state.zsets:
        held[key] = await fake.zrange(key, 0, -1, withscores=True)
    return held


@pytest.mark.parametrize("seed", range(8))
async def test_the_double_does_to_its_dictionaries_what_the_script_does_to_redis(
    clean_redis: RedisServer, seed: int
) -> None:
    """The same random saves leave the same content and meet the same refusals."""
    chance = random.Random(seed)
    fake = FakeRedis()
    double = FakeLedger(fake, "things")
    refusals = 0
    async with client_of(clean_redis) as redis:
        real = RedisLedger(redis, "things")
        seen: list[Marks] = [await real.marks(0), await real.marks(1)]
        for _ in range(40):
            if chance.random() < 0.1:  # a shard of its own mind, as after a failover
                key, mark = keys.marks(chance.randrange(SHARDS), "things"), chance.randrange(40)
                await redis.hset(key, "0", f"1:{mark}")
                await fake.hset(key, "0", f"1:{mark}")
            if chance.random() < 0.3:
                seen.append(await real.marks(chance.randrange(2)))
            expected = chance.choice(seen[-3:])
            to = Mark(chance.randrange(1, 3), chance.randrange(40))
            clock, effects = chance.choice([0, NOON]), some_effects(chance)
            outcomes = [
                await asyncio.gather(
                    ledger.save(expected, to, clock, effects), return_exceptions=True
                )
                for ledger in (real, double)
            ]
            refused = [isinstance(outcome, Refused) for [outcome] in outcomes]
            assert refused in ([True, True], [False, False]), outcomes
            if refused[0]:
                refusals += 1
            else:
                assert outcomes[0] == outcomes[1]
                seen.append(outcomes[0][0])  # type: ignore[arg-type]
            assert await real.marks(0) == await double.marks(0)
            assert await content_of_double(fake) == await content(redis)
    assert 0 < refusals < 40


async def test_a_lifetime_in_redis_is_the_one_asked_for(clean_redis: RedisServer) -> None:
    """In milliseconds; a later put without one takes it away."""
    async with client_of(clean_redis) as redis:
        ledger = RedisLedger(redis, "things")
        effects = Effects()
        effects.put(f"{TAG}short", b"1", 500_000)
        effects.put(f"{TAG}long", b"1", 500_000)
        effects.put(f"{TAG}long", b"2")
        await ledger.save(await ledger.marks(0), Mark(1, 1), 0, effects)

        assert 400_000 < await redis.pttl(f"{TAG}short") <= 500_000
        assert -1 == await redis.pttl(f"{TAG}long")


async def test_a_store_that_evicts_is_refused(clean_redis: RedisServer) -> None:
    """An evicted record is a lost user; the message says what to set."""
    async with client_of(clean_redis) as redis:
        await check_policy(redis)
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(Misconfigured, match=r"allkeys-lru.*noeviction"):
                await check_policy(redis)
        finally:
            await redis.config_set("maxmemory-policy", "noeviction")


# Log identity.


@asynccontextmanager
async def identity_on(
    kafka: KafkaServer, redis: RedisServer, rules: str = "r1"
) -> AsyncIterator[LogIdentity]:
    ids = TopicIds(kafka.bootstrap)
    async with client_of(redis) as client:
        try:
            yield LogIdentity("things", rules, ids, client)
        finally:
            await ids.close()


async def test_a_log_is_registered_once(clean_kafka: KafkaServer, clean_redis: RedisServer) -> None:
    """Every worker that looks sees the same number."""
    await create_topic(clean_kafka, "things")
    async with identity_on(clean_kafka, clean_redis) as one:
        first = await one.current()
        assert first == await one.current()
        assert await one.still(first, 0)
    async with identity_on(clean_kafka, clean_redis) as other:
        together = await asyncio.gather(*(other.current() for _ in range(5)))

    assert (1, PARTITIONS) == (first.number, first.partitions)
    assert [first] * 5 == together


async def test_a_recreated_topic_gets_a_higher_number(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Its records are not repeats of the old one's, and the old one is no longer served."""
    await create_topic(clean_kafka, "things")
    async with identity_on(clean_kafka, clean_redis) as identity:
        first = await identity.current()
        await delete_topic(clean_kafka, "things")
        await create_topic(clean_kafka, "things")
        second = await _soon(identity)

        assert 2 == second.number
        assert second.topic_id != first.topic_id
        assert not await identity.still(first, 0)
        assert await identity.still(second, 0)


async def _soon(identity: LogIdentity) -> Any:
    """The log, once the brokers agree."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return await identity.current()
        except LogUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_another_partition_count_is_refused(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Users would change homes; nothing is registered, and the remedy is named."""
    await create_topic(clean_kafka, "things")
    async with identity_on(clean_kafka, clean_redis) as identity:
        await identity.current()
        await delete_topic(clean_kafka, "things")
        await create_topic(clean_kafka, "things", PARTITIONS + 1)

        with pytest.raises(LogMismatch, match=r"5 partitions.*made with 4.*ebbtide rebuild"):
            await _soon(identity)
    async with client_of(clean_redis) as redis:
        assert b"1" == await redis.hget(keys.log("things"), "number")


async def test_other_fold_rules_are_refused(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """The records were folded under the old ones; the remedy is named."""
    await create_topic(clean_kafka, "things")
    async with identity_on(clean_kafka, clean_redis, "r1") as identity:
        await identity.current()
    async with identity_on(clean_kafka, clean_redis, "r2") as identity:
        with pytest.raises(LogMismatch, match=r"r1 -> r2.*ebbtide rebuild"):
            await identity.current()


async def test_a_topic_that_is_missing_is_waited_for(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Not a mistake of ours: it may be created any moment."""
    async with identity_on(clean_kafka, clean_redis) as identity:
        with pytest.raises(LogUnavailable, match="does not exist"):
            await identity.current()


# Topics.


async def test_missing_topics_are_created_as_they_have_to_be(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """With their dead letters and the configured partition count, once."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await ensure_topics(settings, (ACTIVITY, SCORES))
    await ensure_topics(settings, (ACTIVITY, SCORES))

    admin = AIOKafkaAdminClient(bootstrap_servers=clean_kafka.bootstrap)
    await admin.start()
    try:
        names = {ACTIVITY, SCORES, dead_letter(ACTIVITY), dead_letter(SCORES)}
        described = await admin.describe_topics(sorted(names))
        assert dict.fromkeys(names, PARTITIONS) == {
            topic["topic"]: len(topic["partitions"]) for topic in described
        }
    finally:
        await admin.close()


@pytest.mark.apache_kafka
async def test_scores_are_compacted_but_not_for_a_week_and_activity_stays(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Topics get the configuration the design counts on."""
    await ensure_topics(scorer_settings(clean_kafka, clean_redis), (ACTIVITY, SCORES))
    admin = AIOKafkaAdminClient(bootstrap_servers=clean_kafka.bootstrap)
    await admin.start()
    try:
        assert "-1" == await _config(admin, ACTIVITY, "retention.ms")
        assert "compact" == await _config(admin, SCORES, "cleanup.policy")
        assert "604800000" == await _config(admin, SCORES, "min.compaction.lag.ms")
        assert "delete" == await _config(admin, dead_letter(SCORES), "cleanup.policy")
        assert "-1" == await _config(admin, dead_letter(SCORES), "retention.ms")
    finally:
        await admin.close()


async def _config(admin: AIOKafkaAdminClient, topic: str, name: str) -> str:
    """What the topic is configured with, once the broker that is asked knows of the topic."""
    found: list[str] = []

    async def told() -> bool:
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        [resource] = answer.resources
        found[:] = [str(entry[1]) for entry in resource[4] if entry[0] == name]
        return bool(found)

    await eventually(told)
    return found[0]


async def test_a_topic_that_exists_is_left_as_its_owner_made_it(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Only what is missing is created."""
    await create_topic(clean_kafka, ACTIVITY, 2)
    await ensure_topics(scorer_settings(clean_kafka, clean_redis), (ACTIVITY,))
    admin = AIOKafkaAdminClient(bootstrap_servers=clean_kafka.bootstrap)
    await admin.start()
    try:
        [described] = await admin.describe_topics([ACTIVITY])
        assert 2 == len(described["partitions"])
    finally:
        await admin.close()


@pytest.mark.apache_kafka
async def test_what_kafka_refuses_to_create_needs_a_person(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Three replicas on one broker, say."""
    settings = scorer_settings(clean_kafka, clean_redis, replication_factor=3)
    with pytest.raises(Misconfigured, match="activity-event: InvalidReplicationFactor"):
        await ensure_topics(settings, (ACTIVITY,))


# Offsets outside the log.


async def refused(settings: ScorerSettings, within_s: float = 90) -> str:
    """Run a scorer until it gives up, and return why."""
    with pytest.raises(Misconfigured) as caught:
        async with asyncio.timeout(within_s):
            await score_with(FadingModel(), settings, asyncio.Event())
    return str(caught.value)


async def test_a_watermark_past_the_end_of_the_log_is_refused(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Kafka lost its tail: what is written there next would be taken for repeats."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, visits(ADA, 5))
        await agreement(clean_kafka, clean_redis, settings)
    await _move_marks(clean_redis, 99)

    reason = await refused(settings)

    assert "the watermark 99 lies outside the log" in reason
    assert "ebbtide rebuild" in reason


@pytest.mark.apache_kafka
async def test_a_watermark_before_the_beginning_of_the_log_is_refused(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Retention took events nobody had folded: no scorer passes over them in silence."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, visits(ADA, 5))
        await agreement(clean_kafka, clean_redis, settings)
    async with producer(clean_kafka) as client:
        await send(client, visits(ADA, 5, first=5))
    await _cut(clean_kafka, before=8)

    reason = await refused(settings)

    assert "the watermark 5 lies outside the log (the log now begins at 8)" in reason
    assert "ebbtide rebuild" in reason


async def _move_marks(server: RedisServer, offset: int) -> None:
    async with client_of(server) as redis:
        for shard in range(SHARDS):
            await redis.hset(keys.marks(shard, ACTIVITY), "0", f"1:{offset}")


async def _cut(kafka: KafkaServer, before: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(ACTIVITY, 0): RecordsToDelete(before)})
    finally:
        await admin.close()


# A partition that waits for a person.


async def test_a_held_partition_goes_on_once_accepted(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """A run of bad records stops it behind them, also for the next owner; others go on."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    other = next(name for name in map("user-{}".format, range(99)) if home(name, PARTITIONS) == 1)
    async with producer(clean_kafka) as client:
        async with scorer(settings):
            for number in range(RUN_RECORDS):
                key = b"key-%d" % (number % 3)
                await client.send(ACTIVITY, b"{", key=key, partition=0, timestamp_ms=NOON)
            await client.flush()
            await eventually(lambda: _held(clean_redis))
            await send(client, [*visits(ADA, 3), *visits(other, 3)])
            await eventually(lambda: _events(clean_redis, other, 3))
        async with scorer(settings):
            await send(client, visits(other, 2, first=3))
            await eventually(lambda: _events(clean_redis, other, 5))
            assert await _events(clean_redis, ADA, 0)
            async with client_of(clean_redis) as redis:
                assert {0: Mark(1, RUN_RECORDS)} == await accept(redis, ACTIVITY)
            await eventually(lambda: _events(clean_redis, ADA, 3))
    assert RUN_RECORDS == len(await whole_log(clean_kafka, dead_letter(ACTIVITY)))


async def _held(server: RedisServer) -> bool:
    async with client_of(server) as redis:
        return bool(await redis.exists(keys.held(ACTIVITY)))


async def _events(server: RedisServer, user_id: str, count: int) -> bool:
    facts = np.frombuffer((await stored(server, [user_id]))[user_id], FACTS)
    return bool(facts["events"] == count)


# Transactions.


@pytest.mark.apache_kafka
async def test_aborted_records_are_never_folded_and_markers_stop_no_clock(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """A log that ends in control records counts as read, and silence is believed."""
    settings = scorer_settings(clean_kafka, clean_redis, clock="wall")
    await create_topic(clean_kafka)
    client = AIOKafkaProducer(
        bootstrap_servers=clean_kafka.bootstrap, transactional_id="customer", acks="all"
    )
    await client.start()
    try:
        async with scorer(settings):
            for kept in (True, False, True, False):
                await client.begin_transaction()
                for event in visits(ADA, 3) if kept else visits("mallory", 3):
                    await client.send(
                        ACTIVITY, json.dumps(event).encode(), partition=0,
                        key=ADA.encode(), timestamp_ms=event["occurred_at"],
                    )  # fmt: skip
                await (client.commit_transaction() if kept else client.abort_transaction())
            await eventually(lambda: _events(clean_redis, ADA, 6))
            # Due long ago by the wall: fires only once everything counts as read.
            await eventually(lambda: _silent(clean_kafka, ADA))
            assert await _events(clean_redis, "mallory", 0)
    finally:
        await client.stop()


async def _silent(kafka: KafkaServer, user_id: str) -> bool:
    records = await whole_log(kafka, SCORES)
    return any(
        record.key == user_id.encode() and b'"trigger":"silence"' in record.value
        for record in records
    )


# Stopping and group troubles.


@pytest.mark.apache_kafka
async def test_a_session_timeout_that_kafka_refuses_is_told(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Instead of joining the group for ever."""
    settings = scorer_settings(clean_kafka, clean_redis).model_copy(
        update={"session_timeout_ms": 1_000}
    )
    assert "EBBTIDE_SESSION_TIMEOUT_MS" in await refused(settings)


@pytest.mark.parametrize("away", ["kafka", "redis"])
async def test_a_scorer_ends_within_seconds_although_a_server_is_away(
    clean_kafka: KafkaServer, clean_redis: RedisServer, away: str
) -> None:
    """Told to stop while Kafka or Redis does not answer, it does not wait for them."""
    if source() == "external":
        pytest.fail("this promise cannot be checked on external servers")
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    stop = asyncio.Event()
    task = asyncio.ensure_future(score_with(FadingModel(), settings, stop))
    async with producer(clean_kafka) as client:
        await send(client, visits(ADA, 2))
        await agreement(clean_kafka, clean_redis, settings)
    (clean_kafka if away == "kafka" else clean_redis).kill()
    await asyncio.sleep(1)

    began = time.monotonic()
    stop.set()
    await task

    assert time.monotonic() - began < 15
