"""The proxy is a network: it passes everything on, and fails as it is told."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Iterator
from threading import Thread

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.backoff import NoBackoff
from redis.retry import Retry

from ebbtide.ports import LOOPBACK
from tests.chaos.proxy import Proxy
from tests.integration.pipeline import create_topic
from tests.servers import KafkaServer, RedisServer

TOPIC = "through-a-proxy"


@pytest.fixture
def proxy(clean_redis: RedisServer) -> Iterator[Proxy]:
    """One in front of Redis."""
    proxy = Proxy("test-redis", port_of(clean_redis))
    proxy.start()
    yield proxy
    proxy.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    """Through the proxy; never tries anything twice."""
    with impatient(proxy.port) as client:
        yield client


def impatient(port: int) -> redis.Redis:
    return redis.Redis(port=port, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))


def port_of(server: RedisServer) -> int:
    return int(server.url.rsplit(":", 1)[1].split("/")[0])


def test_passes_everything_on(client: redis.Redis) -> None:
    """Requests and answers of a megabyte arrive as they were sent."""
    value = bytes(range(256)) * 4_096

    client.set("key", value)

    assert value == client.get("key")


def test_reset_breaks_connections_once(proxy: Proxy, client: redis.Redis) -> None:
    """A reset is a reset to whoever is connected, and a new connection works."""
    with socket.create_connection((LOOPBACK, proxy.port)) as connection:
        connection.sendall(b"PING\r\n")
        assert b"+PONG\r\n" == connection.recv(100)

        proxy.reset()

        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    assert client.ping()


def test_refuses_until_healed(proxy: Proxy, client: redis.Redis) -> None:
    """While it refuses, nobody gets a connection."""
    client.ping()

    proxy.refuse()

    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.ping()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, proxy.port))
    proxy.heal()
    assert client.ping()


def test_a_stalled_request_arrives_after_healing(proxy: Proxy, clean_redis: RedisServer) -> None:
    """What was held back arrives once, in its order, when the stall ends."""
    with redis.Redis(port=proxy.port) as client, redis.Redis.from_url(clean_redis.url) as direct:
        client.ping()
        proxy.stall()
        asking = Thread(target=client.rpush, args=("list", "late"))
        asking.start()
        asking.join(0.3)
        assert asking.is_alive()
        assert 0 == direct.llen("list")

        proxy.heal()

        asking.join(10)
        assert [b"late"] == direct.lrange("list", 0, -1)


def test_a_lost_answer_is_lost_after_its_work_was_done(
    proxy: Proxy, client: redis.Redis, clean_redis: RedisServer
) -> None:
    """With answers stalled and then reset, the server did what the client believes failed."""
    client.ping()

    proxy.stall("back")

    with pytest.raises(redis.RedisError):
        client.incr("count")
    proxy.reset()
    proxy.heal()
    assert b"1" == client.get("count")


def test_delay_is_felt_both_ways(proxy: Proxy, client: redis.Redis) -> None:
    """A round trip takes at least two delays longer."""
    proxy.delay(0.1)
    began = time.monotonic()

    client.ping()

    assert 0.2 <= time.monotonic() - began


def test_points_at_another_server(proxy: Proxy, client: redis.Redis) -> None:
    """After `point_at` the address is another server's, and old connections are gone."""
    client.set("key", "here")
    with socket.create_server((LOOPBACK, 0)) as other:
        proxy.point_at(other.getsockname()[1])
        with pytest.raises(redis.RedisError):
            client.get("key")
        with pytest.raises(redis.TimeoutError):
            client.get("key")
        connection, _ = other.accept()
        connection.close()


def test_leaves_no_connection_open(clean_redis: RedisServer) -> None:
    """Whenever it is reset or closed, it closes every connection it accepted."""
    for _ in range(10):
        proxy = Proxy("test-redis", port_of(clean_redis))
        proxy.start()
        connections = [socket.create_connection((LOOPBACK, proxy.port)) for _ in range(8)]
        proxy.reset()
        connections += [socket.create_connection((LOOPBACK, proxy.port)) for _ in range(8)]
        proxy.close()
        gc.collect()  # an unclosed socket is a warning, and a warning fails the test
        for connection in connections:
            connection.close()


async def test_kafka_clients_never_learn_of_another_way(clean_kafka: KafkaServer) -> None:
    """A producer and a group's consumer stay behind the proxy: when it is cut, both stand still."""
    await create_topic(clean_kafka, TOPIC, partitions=1)
    proxy = Proxy("test-kafka", int(clean_kafka.bootstrap.rsplit(":", 1)[1]), kafka=True)
    proxy.start()
    address = f"{LOOPBACK}:{proxy.port}"
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", retry_backoff_ms=50)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address,
        group_id="proxy-test",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        retry_backoff_ms=50,
    )
    try:
        await producer.start()
        consumer.subscribe([TOPIC])
        await consumer.start()
        await producer.send_and_wait(TOPIC, b"before", partition=0)
        assert b"before" == (await asyncio.wait_for(consumer.getone(), 20)).value
        assert {proxy.port} == {broker.port for broker in producer.client.cluster.brokers()}

        proxy.refuse()
        sending = asyncio.ensure_future(producer.send_and_wait(TOPIC, b"after", partition=0))
        reading = asyncio.ensure_future(consumer.getone())
        await asyncio.wait([sending, reading], timeout=1.0)
        assert not sending.done()
        assert not reading.done()

        proxy.heal()
        await asyncio.wait_for(sending, 20)
        assert b"after" == (await asyncio.wait_for(reading, 20)).value
        assert 1 == await consumer.position(TopicPartition(TOPIC, 0)) - 1
    finally:
        await producer.stop()
        await consumer.stop()
        proxy.close()
