"""Each fault of the servers and the network does what it says, and is over when it says so."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import redis
from aiokafka import AIOKafkaProducer
from redis.backoff import NoBackoff
from redis.retry import Retry

from contracts.topics import ACTIVITY
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK
from runtime.topic_id import Incarnation, TopicIds
from tests import servers
from tests.chaos.faults import kafka as kafka_faults
from tests.chaos.faults import redis as redis_faults
from tests.chaos.faults.network import Cut, How
from tests.chaos.faults.redis import StaleReplicaPromoted
from tests.chaos.faults.store import DiskFull, can_mount
from tests.chaos.fleet import KINDS, Fleet
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Fault, ServerKind, Servers, Stage
from tests.integration.pipeline import create_topic, eventually, whole_log
from tests.servers import KafkaServer, LocalRedis, RedisCluster, RedisServer


@contextmanager
def staged(kafka: KafkaServer, store: RedisServer, folder: Path, guard: Guard) -> Iterator[Stage]:
    """These servers with proxies before them, and no workers."""
    ports: dict[ServerKind, int] = {
        "kafka": int(kafka.bootstrap.rsplit(":", 1)[1]),
        "redis": int(store.url.rsplit(":", 1)[1].split("/")[0]),
    }
    proxies = {
        (kind, server): Proxy(f"{kind}-{server}", port, kafka=server == "kafka")
        for kind, (server, port) in itertools.product(KINDS, ports.items())
    }
    for proxy in proxies.values():
        proxy.start()

    @asynccontextmanager
    async def new_log(topics: Collection[str]) -> AsyncIterator[None]:
        yield

    stage = Stage(
        random=random.Random(5),
        workers=Fleet(folder, guard, lambda kind: {}, print),
        servers=Servers(kafka, store, frozenset({"single-redis"})),
        proxies=proxies,
        folder=folder,
        log=print,
        locks={},
        new_log=new_log,
    )
    yield stage
    for proxy in proxies.values():
        proxy.close()
    for server in (stage.servers.redis, *stage.servers.more):
        servers.end(server)


@pytest.fixture
def stage(clean_kafka: KafkaServer, tmp_path: Path, guard: Guard) -> Iterator[Stage]:
    """The run's Kafka and a Redis of its own."""
    store = servers.new_redis(tmp_path, guard)
    store.start()
    with staged(clean_kafka, store, tmp_path, guard) as stage:
        yield stage


@pytest.fixture
def cluster_stage(clean_kafka: KafkaServer, tmp_path: Path, guard: Guard) -> Iterator[Stage]:
    """The run's Kafka and a Redis Cluster of its own."""
    cluster = servers.new_redis_cluster(tmp_path, guard)
    cluster.start()
    with staged(clean_kafka, cluster, tmp_path, guard) as stage:
        yield stage


class Counting:
    """Counts in Redis as fast as it can, one attempt at a time; a number it heard was accepted."""

    def __init__(self, server: RedisServer, key: str = "count") -> None:
        self._server, self._key = server, key
        self.heard: list[tuple[float, int]] = [(time.monotonic(), 0)]
        self.errors: list[str] = []

    async def during(self, fault: Fault, stage: Stage) -> None:
        """Count while the fault strikes, without a proxy between."""
        striking = asyncio.ensure_future(fault.strike(stage))
        with _client(self._server) as client:
            while not striking.done():
                try:
                    self.heard.append((time.monotonic(), client.incr(self._key)))
                except redis.RedisError as error:
                    self.errors.append(str(error))
                await asyncio.sleep(0.005)
        await striking

    def highest(self) -> int:
        return max(count for _, count in self.heard)


def _client(server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=5, retry=Retry(NoBackoff(), 0))


def held(server: RedisServer, key: str = "count") -> int:
    with _client(server) as client:
        return int(client.get(key) or 0)


def key_on(node: LocalRedis) -> str:
    """A key of a slot of this node."""
    with _client(node) as client:
        for number in itertools.count():
            with suppress(redis.ResponseError):
                client.get(f"count-{number}")
                return f"count-{number}"
    raise AssertionError


class Always(random.Random):
    """Chooses what it was told, and the middle of any range."""

    def __init__(self, wanted: object) -> None:
        super().__init__(0)
        self._wanted = wanted

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return self._wanted if self._wanted in seq else seq[0]

    def random(self) -> float:
        return 0.5


async def test_a_killed_redis_keeps_what_it_acknowledged(stage: Stage) -> None:
    """Writers see it go and come back; nothing it acknowledged is gone."""
    counting = Counting(stage.servers.redis)
    stage.random = Always(1.0)

    await counting.during(redis_faults.Killed(), stage)

    assert counting.errors
    assert counting.highest() <= held(stage.servers.redis)


async def test_a_rolled_back_redis_holds_the_past(stage: Stage) -> None:
    """It answers with a count it had about a second before it died, and counts on from there."""
    counting = Counting(stage.servers.redis)

    await counting.during(redis_faults.RolledBack(), stage)

    before, (_, resumed) = next(
        (one, next_) for one, next_ in itertools.pairwise(counting.heard) if next_[1] <= one[1]
    )
    first_lost = next(at for at, count in counting.heard if count == resumed)
    assert 0.8 < before[0] - first_lost < 3.0


async def test_a_promoted_replica_is_a_second_behind(stage: Stage) -> None:
    """Clients of every proxy reach the replica, which lacks the last second and is nobody's."""
    primary = stage.servers.redis
    counting = Counting(primary)

    await counting.during(StaleReplicaPromoted(), stage)

    promoted = stage.servers.redis
    missing = [at for at, count in counting.heard if count > held(promoted)]
    assert promoted is not primary
    assert not primary.is_running()
    assert 0.8 < counting.heard[-1][0] - missing[0] < 3.0
    for kind in KINDS:
        with redis.Redis(port=stage.proxies[kind, "redis"].port) as client:
            assert held(promoted) == int(client.get("count"))
            assert "master" == client.info("replication")["role"]
            client.set("writable", 1)


async def test_redis_out_of_memory_reads_but_does_not_write(stage: Stage) -> None:
    """Writes are answered with OOM for a while, and accepted again afterwards."""
    counting = Counting(stage.servers.redis)

    await counting.during(redis_faults.OutOfMemory(), stage)

    assert counting.errors
    assert all("OOM" in error or "maxmemory" in error for error in counting.errors)
    assert counting.highest() == held(stage.servers.redis)
    with _client(stage.servers.redis) as client:
        assert client.incr("count")


@pytest.mark.parametrize("kind", [redis_faults.Killed, redis_faults.RolledBack])
@pytest.mark.parametrize("shard", [0, 1, 2])
async def test_a_shard_fails_alone(
    cluster_stage: Stage, kind: Callable[[int], Fault], shard: int
) -> None:
    """One shard of a cluster goes away, perhaps back in time, and the others go on."""
    cluster = cluster_stage.servers.redis
    assert isinstance(cluster, RedisCluster)
    node, other = cluster.nodes[shard], cluster.nodes[(shard + 1) % 3]
    key = key_on(node)
    struck, spared = Counting(node, key), Counting(other, key_on(other))
    cluster_stage.random = Always(1.0)

    await asyncio.gather(
        struck.during(kind(shard), cluster_stage),
        spared.during(Waits(cluster_stage, f"redis:{shard}"), cluster_stage),
    )

    assert struck.errors
    assert [] == spared.errors
    await eventually(lambda: asyncio.to_thread(serves, cluster))
    rolled_back = kind is redis_faults.RolledBack
    assert rolled_back == (held(node, key) < struck.highest())


def serves(cluster: RedisCluster) -> bool:
    """Whether a client of the cluster reaches every shard."""
    try:
        with redis.RedisCluster(host=LOOPBACK, port=cluster.nodes[0].port) as client:
            return all(client.set(f"key-{number}", 1) for number in range(20))
    except redis.RedisError:
        return False


class Waits:
    """Nothing that goes wrong: lasts until another fault has let go of a thing."""

    name = "nothing"
    needs: frozenset[str] = frozenset()

    def __init__(self, stage: Stage, thing: str) -> None:
        self._thing = thing

    async def strike(self, stage: Stage) -> None:
        await asyncio.sleep(0.1)
        async with stage.alone(self._thing):
            pass


async def test_a_full_disk_takes_nothing_acknowledged(stage: Stage) -> None:
    """The store meets a full disk, and afterwards holds what it acknowledged, in its old place."""
    if not can_mount():
        pytest.fail(
            "a full disk needs the right to mount (root): run the others with -k 'not disk'"
        )
    counting = Counting(stage.servers.redis)
    said: list[str] = []
    stage.log = said.append

    await counting.during(DiskFull(), stage)

    assert ["redis met a full disk and ended itself"] == said
    assert counting.highest() <= held(stage.servers.redis)
    assert not stage.servers.redis.data.is_mount()
    with _client(stage.servers.redis) as client:
        assert client.incr("count")


class Asking:
    """Asks Redis something through a proxy, again and again, and is not patient."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.answered = 0
        self.troubles: list[str] = []
        self.over = False

    def go_on(self) -> None:
        while not self.over:
            try:
                with socket.create_connection((LOOPBACK, self._proxy.port)) as connection:
                    connection.settimeout(0.1)
                    while not self.over:
                        self.ask(connection)
            except OSError as error:
                self.troubles.append(repr(error))
                time.sleep(0.01)

    def ask(self, connection: socket.socket) -> None:
        connection.sendall(b"PING\r\n")
        if not connection.recv(7):
            raise ConnectionError("no answer will come")
        self.answered += 1
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("how", "felt"),
    [
        ("reset", "ConnectionResetError"),
        ("refused", "ConnectionRefusedError"),
        ("stalled", "TimeoutError"),
        ("answers lost", "TimeoutError"),
        ("slow", "TimeoutError"),
    ],
)
async def test_a_cut_is_felt_by_one_service_and_ends(stage: Stage, how: How, felt: str) -> None:
    """One kind of service has trouble with one server, others have none, and then nobody has."""
    stage.random = Always("redis")
    struck, *spared = [Asking(stage.proxies[kind, "redis"]) for kind in KINDS]
    asking = [asyncio.ensure_future(asyncio.to_thread(each.go_on)) for each in (struck, *spared)]

    await Cut(how).strike(stage)

    answered = struck.answered
    await eventually(lambda: asyncio.sleep(0, struck.answered > answered))
    for each in (struck, *spared):
        each.over = True
    await asyncio.gather(*asking)
    assert any(felt in trouble for trouble in struck.troubles), struck.troubles
    assert [] == [trouble for each in spared for trouble in each.troubles]
    assert all(each.answered for each in spared)


@pytest.mark.apache_kafka
async def test_a_killed_broker_keeps_its_log(stage: Stage) -> None:
    """A client sees Kafka go and come back, and reads every record that was acknowledged."""
    kafka = stage.servers.kafka
    await create_topic(kafka)
    stage.random = Always(1.0)

    acknowledged = await _produce_during(kafka_faults.BrokerKilled(), stage)

    values = [record.value for record in await whole_log(kafka)]
    assert acknowledged
    assert set(acknowledged) <= set(values)


async def test_a_recreated_topic_starts_anew(stage: Stage) -> None:
    """It has the partitions it had, other records, and another id."""
    kafka = stage.servers.kafka
    await create_topic(kafka)
    before = await _incarnation(kafka)
    async with _producer(kafka) as client:
        await client.send_and_wait(ACTIVITY, b"old", partition=0)

    await kafka_faults.TopicRecreated().strike(stage)

    after = await _incarnation(kafka)
    assert before.topic_id != after.topic_id
    assert before.partitions == after.partitions
    assert [] == await whole_log(kafka)
    async with _producer(kafka) as client:
        assert 0 == (await client.send_and_wait(ACTIVITY, b"new", partition=0)).offset


async def test_a_log_in_memory_is_lost_with_its_broker(tmp_path: Path, guard: Guard) -> None:
    """Every topic is there again, new and empty."""
    kafka = servers.EmbeddedKafka(tmp_path / "kafka", guard)
    store = servers.new_redis(tmp_path, guard)
    kafka.start()
    store.start()
    try:
        with staged(kafka, store, tmp_path, guard) as stage:
            await create_topic(kafka)
            before = await _incarnation(kafka)
            async with _producer(kafka) as client:
                await client.send_and_wait(ACTIVITY, b"old", partition=0)

            await kafka_faults.LogLost().strike(stage)

            after = await _incarnation(kafka)
            assert before.topic_id != after.topic_id
            assert [] == await whole_log(kafka)
    finally:
        servers.end(kafka)


def _producer(kafka: KafkaServer) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=kafka.idempotence
    )


async def _produce_during(fault: Fault, stage: Stage) -> list[bytes]:
    """Produce while the fault strikes, and once more after it; what was acknowledged."""
    acknowledged: list[bytes] = []
    async with _producer(stage.servers.kafka) as client:
        striking = asyncio.ensure_future(fault.strike(stage))
        was_over = False
        while not was_over:
            was_over = striking.done()
            value = str(len(acknowledged)).encode()
            await client.send_and_wait(ACTIVITY, value, partition=0)
            acknowledged.append(value)
    await striking
    return acknowledged


async def _incarnation(kafka: KafkaServer) -> Incarnation:
    ids = TopicIds(kafka.bootstrap)
    try:
        found = await ids.incarnation(ACTIVITY)
    finally:
        await ids.close()
    assert found is not None
    return found
