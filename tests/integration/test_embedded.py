"""The servers that tests and `ebbtide up` run on: they answer, keep what they should, explain."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.errors import Misconfigured
from ebbtide.embedded import answers_kafka, answers_redis, lock_data_dir
from ebbtide.ports import LOOPBACK, free_port, require_free
from tests.servers import KafkaServer, RedisServer


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on, without ever answering."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        yield listener.getsockname()[1]


async def produce(kafka: KafkaServer, topic: str, values: list[bytes]) -> None:
    """Write `values` to partition 0, each acknowledged."""
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=kafka.idempotence
    ) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)


async def topics(kafka: KafkaServer) -> list[str]:
    """What topics there are."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        return [name for name in await admin.list_topics() if not name.startswith("__")]
    finally:
        await admin.close()


async def create(kafka: KafkaServer, topic: str) -> None:
    """Make a topic of one partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


async def test_what_is_produced_is_consumed(clean_kafka: KafkaServer) -> None:
    """
    An ordinary Kafka client reads what an ordinary Kafka client wrote, in order.
    """
    await create(clean_kafka, "things")
    values = [f"thing {n}".encode() for n in range(20)]

    await produce(clean_kafka, "things", values)

    async with AIOKafkaConsumer(
        bootstrap_servers=clean_kafka.bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([TopicPartition("things", 0)])
        assert values == [(await consumer.getone()).value for _ in values]


async def test_a_clean_kafka_has_no_topics(clean_kafka: KafkaServer) -> None:
    """
    Wiping removes every topic, so that no test reads another one's records.
    """
    await create(clean_kafka, "left-over")

    clean_kafka.wipe()

    assert [] == await topics(clean_kafka)


async def test_a_killed_kafka_comes_back_at_its_address(clean_kafka: KafkaServer) -> None:
    """
    A broker killed and started again serves the same address.
    """
    port = int(clean_kafka.bootstrap.rpartition(":")[2])

    clean_kafka.kill()
    assert not answers_kafka(port)

    clean_kafka.start()
    await create(clean_kafka, "after")
    assert ["after"] == await topics(clean_kafka)


def test_the_store_promises_what_watermarks_need(clean_redis: RedisServer) -> None:
    """
    Every write is on disk before it is answered, and nothing is ever evicted.
    """
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}

    with redis.Redis.from_url(clean_redis.url, decode_responses=True) as client:
        assert wanted == client.config_get(*wanted)


def test_a_killed_store_keeps_what_it_acknowledged(clean_redis: RedisServer) -> None:
    """
    Killing the store loses no acknowledged write.
    """
    with redis.Redis.from_url(clean_redis.url, decode_responses=True) as client:
        client.mset({f"key {n}": n for n in range(100)})

    clean_redis.kill()
    clean_redis.start()

    with redis.Redis.from_url(clean_redis.url, decode_responses=True) as client:
        assert 100 == client.dbsize()
        assert "42" == client.get("key 42")


def test_silence_and_other_protocols_are_not_ready(
    taken: int, clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """
    Ready means an answer in the right protocol: an open port alone is none.
    """
    kafka_port = int(clean_kafka.bootstrap.rpartition(":")[2])
    redis_port = int(clean_redis.url.rpartition(":")[2].partition("/")[0])
    unused = free_port()

    assert (True, True) == (answers_kafka(kafka_port), answers_redis(redis_port))
    assert (False, False) == (answers_kafka(unused), answers_redis(unused))
    assert (False, False) == (answers_kafka(taken), answers_redis(taken))
    assert not answers_kafka(redis_port)


def test_a_taken_port_is_explained(taken: int) -> None:
    """
    The message names the port, what it was for and what to do.
    """
    with pytest.raises(Misconfigured) as refused:
        require_free(taken, purpose="the gateway", remedy="choose another with --port")

    assert (
        f"port {taken} on 127.0.0.1, wanted for the gateway, is taken (another `ebbtide up`, "
        "perhaps, or a server of your own); choose another with --port"
    ) == str(refused.value)


def test_a_free_port_is_fine() -> None:
    """
    A port nobody listens on passes.
    """
    require_free(free_port(), purpose="the gateway", remedy="")


def test_a_data_folder_has_one_owner(tmp_path: Path) -> None:
    """
    While one process has a data folder no other gets it; afterwards anybody may.
    """
    folder = tmp_path / "data"
    lock = lock_data_dir(folder)
    with pytest.raises(Misconfigured, match=f"in use .*process {os.getpid()}.*--data-dir"):
        lock_data_dir(folder)
    lock.close()

    lock_data_dir(folder).close()


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("--kafka-port", "Kafka broker"),
        ("--redis-port", "Redis store"),
        ("--port", "gateway"),
        ("--scorer-health-port", "scorer"),
        ("--alerts-health-port", "alerts worker"),
        ("--history-health-port", "history worker"),
    ],
)
def test_up_refuses_a_taken_port(option: str, what: str, taken: int, tmp_path: Path) -> None:
    """
    `ebbtide up` starts nothing when a port is taken: one line, naming the option, exit code 2.
    """
    options = ["--kafka-port", "--redis-port", "--port"]
    options += [f"--{worker}-health-port" for worker in ("scorer", "alerts", "history")]
    ports = {name: free_port() for name in options} | {option: taken}
    words = [word for name, port in ports.items() for word in (name, str(port))]

    done = subprocess.run(
        [sys.executable, "-m", "ebbtide", "up", "--data-dir", str(tmp_path / "data"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 2 == done.returncode
    assert 1 == done.stderr.count("\n")
    assert f"port {taken}" in done.stderr
    assert what in done.stderr
    assert f"with {option} (EBBTIDE_" in done.stderr
    assert not (tmp_path / "data" / "valkey").exists()
