"""Connections that break again and again while they are written to, on the gateway's event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from contracts.errors import LogUnavailable, StoreUnavailable
from contracts.topics import ACTIVITY, SCORES
from ebbtide.ports import LOOPBACK
from ingest_api.log import KafkaLog
from ingest_api.problems import NotAcknowledged
from runtime import kafka
from runtime.event_loop import Loop
from runtime.kafka import Message, Publisher
from runtime.redis_errors import redis_errors
from runtime.settings import ServiceSettings
from runtime.store import connect
from tests.chaos.proxy import Proxy
from tests.integration.pipeline import (
    NOON,
    create_topic,
    eventually,
    producer,
    scorer,
    scorer_settings,
    send,
    whole_log,
)
from tests.servers import KafkaServer, RedisServer

RESETS = 60
GOES_ON_WITHIN_S = 20.0
# redis-py and aiokafka leave a connection that broke while it was made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
STEPS = 24
"""Of the event loop: in so many a request is written."""


@pytest.fixture
def broker(clean_kafka: KafkaServer) -> Iterator[Proxy]:
    """A proxy before Kafka, whose topic exists."""
    asyncio.run(create_topic(clean_kafka))
    proxy = Proxy("test-kafka", int(clean_kafka.bootstrap.rpartition(":")[2]), kafka=True)
    proxy.start()
    yield proxy
    proxy.close()


def run(work: Awaitable[None]) -> None:
    """On the gateway's event loop."""

    async def main() -> None:
        await work

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
    gc.collect()


async def breaking(proxy: Proxy, attempt: Callable[[], Awaitable[bool]]) -> None:
    """Attempt without pause while connections break; then one attempt has to succeed."""
    breaks = asyncio.ensure_future(asyncio.to_thread(_break, proxy))
    while not breaks.done():
        await attempt()
    await breaks
    deadline = time.monotonic() + GOES_ON_WITHIN_S
    while not await attempt():
        assert time.monotonic() < deadline, "it never goes on"
        await asyncio.sleep(0.05)


def _break(proxy: Proxy) -> None:
    for pause in range(RESETS):
        time.sleep(0.002 * (pause % 7))
        proxy.reset()


def behind(proxy: Proxy, server: KafkaServer) -> ServiceSettings:
    return ServiceSettings(
        kafka_bootstrap_servers=f"{LOOPBACK}:{proxy.port}", kafka_idempotence=server.idempotence
    )


def test_a_worker_s_producer_outlives_resets(broker: Proxy, clean_kafka: KafkaServer) -> None:
    """However often the connection breaks around a publish, its sender lives on."""

    async def work() -> None:
        client = kafka.producer(behind(broker, clean_kafka))
        await client.start()
        publisher = Publisher(client)

        async def attempt() -> bool:
            with suppress(LogUnavailable):
                await publisher.publish(ACTIVITY, 0, [Message(b"u", b"{}", 0)] * 3)
                return True
            return False

        try:
            assert await attempt()
            for steps in range(STEPS):
                attempting = asyncio.ensure_future(attempt())
                for _ in range(steps):
                    await asyncio.sleep(0)
                broker.reset()  # blocks the loop: it learns of this in its very next round
                assert await attempting
            await breaking(broker, attempt)
            assert not kafka.sends_no_more(client)
        finally:
            await client.stop()

    run(work())


def test_the_gateway_s_log_outlives_resets(broker: Proxy, clean_kafka: KafkaServer) -> None:
    """After any number of broken connections the gateway publishes again."""

    async def work() -> None:
        log = KafkaLog(behind(broker, clean_kafka), timeout_seconds=2.0)
        connected = asyncio.ensure_future(log.run())

        async def attempt() -> bool:
            with suppress(NotAcknowledged):
                await log.publish([Message(b"u", b"{}", 0)])
                return True
            await asyncio.sleep(0)
            return False

        try:
            await breaking(broker, attempt)
        finally:
            connected.cancel()
            await asyncio.wait({connected})

    run(work())


def test_a_redis_client_outlives_resets(clean_redis: RedisServer) -> None:
    """A broken connection is StoreUnavailable, and the next command has another one."""
    proxy = Proxy("test-redis", int(clean_redis.url.rpartition(":")[2].partition("/")[0]))
    proxy.start()

    async def work() -> None:
        client = connect(f"redis://{LOOPBACK}:{proxy.port}/0")

        async def attempt() -> bool:
            with suppress(StoreUnavailable), redis_errors("counting"):
                await asyncio.gather(*(client.incr("count") for _ in range(10)))
                return True
            return False

        try:
            await breaking(proxy, attempt)
        finally:
            await client.aclose()

    try:
        run(work())
    finally:
        proxy.close()


async def test_a_worker_whose_producer_stopped_sending_starts_again(
    clean_kafka: KafkaServer, clean_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ended the sender's task, the worker makes a new producer and publishes."""
    await create_topic(clean_kafka)
    made = []
    make = kafka.producer

    def noted(settings: ServiceSettings, compression: str = "none") -> object:
        made.append(make(settings, compression=compression))
        return made[-1]

    monkeypatch.setattr(kafka, "producer", noted)
    async with scorer(scorer_settings(clean_kafka, clean_redis)):
        await eventually(lambda: asyncio.sleep(0, bool(made and made[0]._sender.sender_task)))
        made[0]._sender.sender_task.cancel()

        async with producer(clean_kafka) as client:
            await send(client, [{"user_id": "u", "type": "page_view", "occurred_at": NOON}])

        async def scored() -> bool:
            return bool(await whole_log(clean_kafka, SCORES))

        await eventually(scored)
    assert 2 == len(made)
