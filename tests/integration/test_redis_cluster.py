"""The same promises on a Redis Cluster of three masters: one script per shard instead of one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Connection, Redis
from redis.asyncio import RedisCluster as AsyncCluster

from alerts.main import serve as serve_alerts
from alerts.settings import AlertsSettings
from contracts.errors import Refused, StoreUnavailable
from contracts.partition import SHARDS
from contracts.partition import shard as shard_of
from contracts.ranks import CLASSES
from contracts.times import HOUR_MS
from contracts.topics import ACTIVITY, ALERTS, CLOCK_HEADER, CLOCK_KEY
from ebbtide.commands.rebuild import rebuild
from ebbtide.guard import Guard
from ebbtide.ports import free_port
from ingest_api.records import RedisUsers
from runtime import keys
from runtime.ledger import Effects, Mark, RedisLedger
from runtime.store import check_policy, connect, mget
from runtime.unmoved import Unmoved
from runtime.user_ranks import BY_RISK, Place, Stream
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    agreement,
    create_topic,
    eventually,
    producer,
    running,
    scorer,
    scorer_settings,
    send,
    whole_log,
)
from tests.integration.test_rebuild import generation_of
from tests.integration.test_scorer import history
from tests.servers import KafkaServer, RedisCluster, new_redis_cluster

# redis-py leaves the connections of a node that died to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, guard: Guard) -> Iterator[RedisCluster]:
    cluster = new_redis_cluster(tmp_path_factory.mktemp("cluster"), guard)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(nodes: RedisCluster) -> RedisCluster:
    """A running cluster without keys; the test may kill and start its nodes."""
    nodes.start()
    nodes.wipe()
    return nodes


@pytest.fixture(autouse=True)
async def no_redis_connection_left_over() -> AsyncIterator[None]:
    """Close what redis-py drops open when a node dies under it.

    In a service the collector does; here it would outlive the test's loop and fail a later one.
    """
    yield
    for left in gc.get_objects():
        if isinstance(left, Connection) and left.is_connected:
            await left.disconnect(nowait=True)
        elif isinstance(left, AsyncCluster):
            # A command that was under way when it was closed has opened it again.
            await left.aclose()


@pytest.fixture
async def redis(cluster: RedisCluster) -> AsyncIterator[Redis]:
    client = connect(cluster.url)
    yield client
    await client.aclose()


async def test_keys_of_many_shards_are_read_in_order(redis: Redis) -> None:
    """Also those that are not there."""
    await check_policy(redis)
    names = [keys.record(f"user-{number}") for number in range(50)]
    for name in names[::2]:
        await redis.set(name, name.encode())

    values = await mget(redis, names)

    assert values == [n.encode() if at % 2 == 0 else None for at, n in enumerate(names)]
    assert [] == await mget(redis, [])


async def test_the_indexes_of_users_are_read_on_a_cluster(redis: Redis) -> None:
    """In order behind a place, and counted, over all shards and classes."""
    users = {f"user-{number:02}": number / 100 - 2 * (number % 2) for number in range(60)}
    for user_id, score in users.items():
        await redis.zadd(keys.rank(shard_of(user_id)), {user_id: score})
    reader = RedisUsers(redis)
    place = Place(0.3, "user-30")

    pieces = await reader.ranked(
        BY_RISK, {Stream(s, c): place for s in range(SHARDS) for c in range(2)}, 100
    )

    found = sorted((entry for piece in pieces.values() for entry in piece.entries), reverse=True)
    assert [Place(n / 100, f"user-{n:02}") for n in range(29, -1, -1)] == found
    assert [30, 30, *[0] * 6] == await reader.counts(BY_RISK)
    assert [None] * 60 == await reader.stored(list(users))
    assert [None] * 60 == await reader.open_alerts(list(users))


async def test_state_is_read_while_its_marks_stand(redis: Redis) -> None:
    """Of all shards at once; a mark that has moved in one of them refuses its partition only."""
    unmoved, ledger = Unmoved(redis, ACTIVITY), RedisLedger(redis, ACTIVITY)
    users = [f"user-{number}" for number in range(40)]
    marks = [await ledger.marks(partition) for partition in range(2)]
    effects = Effects()
    for user in users:
        effects.put(keys.episode(user), user.encode())
    marks[0] = await ledger.save(marks[0], Mark(1, 3), 0, effects)
    await redis.hset(keys.marks(SHARDS - 1, ACTIVITY), "1", "1:9")
    names = [keys.episode(user) for user in [*users, "nobody"]]

    told = await asyncio.gather(
        *(unmoved.strings(names, known) for known in marks), return_exceptions=True
    )

    assert [*(user.encode() for user in users), None] == told[0]
    assert isinstance(told[1], Refused)


async def test_a_refused_shard_keeps_its_effects_out_and_others_go_ahead(redis: Redis) -> None:
    """The marks then differ, reading starts at the lowest, and the next save heals it."""
    ledger = RedisLedger(redis, "things")
    first = await ledger.save(await ledger.marks(0), Mark(1, 5), 0, Effects())
    await redis.hset(keys.marks(3, "things"), "0", "1:2")  # as after a failover
    effects = Effects()
    for shard in (3, 4):
        effects.put(f"ebb:{{{shard:02d}}}:x", b"new")

    with pytest.raises(Refused, match=r"expected watermark 1:5, Redis holds 1:2"):
        await ledger.save(first, Mark(1, 9), 0, effects)

    marks = await ledger.marks(0)
    assert (2, 2, 9) == (marks.start(1, 0), marks.next_offset(3, 1), marks.next_offset(4, 1))
    assert [None, b"new"] == await mget(redis, ["ebb:{03}:x", "ebb:{04}:x"])
    await ledger.save(marks, Mark(1, 9), 0, effects)
    assert {Mark(1, 9)} == set((await ledger.marks(0)).stored)
    assert [b"new"] * 2 == await mget(redis, ["ebb:{03}:x", "ebb:{04}:x"])


async def test_a_shard_that_is_away_is_a_trouble_that_passes(
    cluster: RedisCluster, redis: Redis
) -> None:
    """Its errors come under our own name; the other shards answer."""
    await mget(redis, [keys.rank(shard) for shard in range(SHARDS)])
    cluster.nodes[1].kill()

    with pytest.raises(StoreUnavailable):
        await RedisLedger(redis, "things").marks(0)
    answering = 0
    for shard in range(SHARDS):
        try:
            await mget(redis, [keys.rank(shard)])
            answering += 1
        except Exception:
            pass
    assert 8 <= answering < SHARDS


async def test_facts_equal_the_offline_fold_although_a_master_dies(
    clean_kafka: KafkaServer, cluster: RedisCluster
) -> None:
    """Killed under a live scorer and started again: nothing lost, nothing counted twice."""
    settings = scorer_settings(clean_kafka, cluster)
    await create_topic(clean_kafka)
    events = history(users=100, events=1500, seed=8)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, events[:500])
        await agreement(clean_kafka, cluster, settings)
        sending = asyncio.ensure_future(send(client, events[500:1000]))
        cluster.nodes[0].kill()
        await sending
        await asyncio.sleep(1)
        cluster.nodes[0].start()
        await send(client, events[1000:])

        async def agreed() -> bool:
            try:
                return 100 == len(await agreement(clean_kafka, cluster, settings))
            except StoreUnavailable:
                return False

        await eventually(agreed)


async def test_a_rebuild_on_a_cluster_equals_the_offline_fold(
    clean_kafka: KafkaServer, cluster: RedisCluster
) -> None:
    """Shard after shard switches, under a live scorer."""
    settings = scorer_settings(clean_kafka, cluster)
    await create_topic(clean_kafka)
    events = history(users=100, events=1500, seed=9)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, events[:700])
        await agreement(clean_kafka, cluster, settings)
        sending = asyncio.ensure_future(send(client, events[700:]))

        done = await rebuild(settings)

        await sending
        assert 100 == len(await agreement(clean_kafka, cluster, settings))
    assert 2 == done.generation == await generation_of(cluster)


async def test_alerts_and_the_gateways_reads_work_on_a_cluster(
    clean_kafka: KafkaServer, cluster: RedisCluster, redis: Redis
) -> None:
    """From activity over silence to the alert, and to what the dashboard asks."""
    settings = scorer_settings(clean_kafka, cluster)
    alerts = AlertsSettings(
        **settings.model_dump(include=set(type(settings).__base__.model_fields)),  # type: ignore[union-attr]
        alerts_health_port=free_port(),
    )
    for topic in (ACTIVITY, ALERTS):
        await create_topic(clean_kafka, topic)
    names = [f"user-{number}" for number in range(30)]
    async with scorer(settings), running(lambda stop: serve_alerts(alerts, stop)):
        async with producer(clean_kafka) as client:
            visits = [
                {"user_id": name, "type": "page_view", "occurred_at": NOON + day * 24 * HOUR_MS}
                for day in range(4)
                for name in names
            ]
            await send(client, visits)
            for partition in range(PARTITIONS):
                await client.send(
                    ACTIVITY, b"", key=CLOCK_KEY, partition=partition,
                    timestamp_ms=NOON + 60 * 24 * HOUR_MS, headers=[(CLOCK_HEADER, b"")],
                )  # fmt: skip
            await client.flush()

            async def told() -> bool:
                return len(await whole_log(clean_kafka, ALERTS)) >= len(names)

            await eventually(told)
        users = RedisUsers(redis)

        async def shown() -> bool:
            return {alert.user_id for alert in await users.recent_alerts(200)} == set(names)

        await eventually(shown)
        everybody = dict.fromkeys([Stream(s, c) for s in range(SHARDS) for c in range(CLASSES)])
        pieces = await users.ranked(BY_RISK, everybody, 100)
        listed = [place.user_id for piece in pieces.values() for place in piece.entries]
        assert set(names) == set(listed)
        assert None not in await users.stored(listed)
        assert len(names) == sum(await users.counts(BY_RISK))
        assert set(range(PARTITIONS)) == set(await users.clocks())
        assert all((await users.load(names))["facts"]["events"] == 4)
        await users.ping()
