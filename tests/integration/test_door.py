"""At the door: what was answered 202 is kept, and what comes twice counts once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest
from httpx2 import AsyncClient, HTTPError

from contracts.events import decode
from contracts.partition import home
from contracts.record import FACTS, ID_WINDOW
from contracts.times import MINUTE_MS
from contracts.topics import ACTIVITY
from ebbtide.ports import LOOPBACK, free_port
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    agreement,
    create_topic,
    eventually,
    producer,
    scorer,
    scorer_settings,
    send,
    stored,
    whole_log,
)
from tests.integration.test_gateway import api, gateway, model_dir, ready
from tests.servers import KafkaServer, RedisServer

__all__ = ["model_dir"]  # a fixture

USERS, EVENTS, KILLS = 12, 40, 3


def visit(user_id: str, event_id: str, minute: int) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "type": "page_view",
        "pages_visited": 1,
        "event_id": event_id,
        "occurred_at": NOON + minute * MINUTE_MS,
    }


async def pages(redis: RedisServer, user_id: str) -> int:
    return int(np.frombuffer((await stored(redis, [user_id]))[user_id], FACTS)["pages"][0])


async def ids_in_the_log(kafka: KafkaServer) -> list[str]:
    return [str(decode(record.value).event_id) for record in await whole_log(kafka)]


async def test_a_gateway_killed_under_load_loses_nothing_it_said_202_to(
    clean_kafka: KafkaServer, clean_redis: RedisServer, model_dir: Path
) -> None:
    """Clients repeat what was not answered; every event is in the log and counts once."""
    choose = random.Random(7)
    port = free_port()
    base = f"http://{LOOPBACK}:{port}"

    def start() -> Any:
        return api(
            model_dir, port=port, kafka_bootstrap_servers=clean_kafka.bootstrap,
            kafka_idempotence=clean_kafka.idempotence, redis_url=clean_redis.url,
            partitions=PARTITIONS,
        )  # fmt: skip

    accepted: list[str] = []
    repeated = 0

    async def insist(http: AsyncClient, event: dict[str, Any]) -> None:
        nonlocal repeated
        while True:
            try:
                answer = await http.post("/events", json=event)
                if answer.status_code == 202:
                    accepted.append(event["event_id"])
                    return
                assert 503 == answer.status_code
            except HTTPError:
                repeated += 1
            # A gateway takes seconds to start, and longer if we take the processor meanwhile.
            await asyncio.sleep(0.25)

    async def client(user: int) -> None:
        async with AsyncClient(base_url=base, timeout=10) as http:
            for number in range(EVENTS):
                await insist(http, visit(f"user-{user}", f"{user}-{number}", number))

    async def killer() -> None:
        nonlocal process
        for kill in range(1, KILLS + 1):
            seen = USERS * EVENTS * kill // (KILLS + 2)
            while len(accepted) < seen:  # noqa: ASYNC110 - the clients have no event for it
                await asyncio.sleep(0.005)
            await asyncio.sleep(choose.random() * 0.02)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            process = start()

    process = start()
    try:
        async with asyncio.timeout(240):
            await asyncio.gather(killer(), *(client(user) for user in range(USERS)))
    finally:
        process.kill()
        process.communicate()

    assert USERS * EVENTS == len(accepted)
    assert repeated >= KILLS
    assert set(accepted) == set(await ids_in_the_log(clean_kafka))
    settings = scorer_settings(clean_kafka, clean_redis)
    async with scorer(settings):
        await agreement(clean_kafka, clean_redis, settings)
    for user in range(USERS):
        assert EVENTS == await pages(clean_redis, f"user-{user}")


async def test_a_retry_after_a_lost_answer_counts_once(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """The client hangs up before the answer and sends the same event_id again."""
    event = json.dumps(visit("ada", "order-77", 0)).encode()
    request = (
        b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(event), event)
    )
    async with gateway(clean_kafka, clean_redis) as http:
        await ready(http)
        _, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(request)
        await writer.drain()

        async def arrived() -> bool:
            return bool(await whole_log(clean_kafka))

        await eventually(arrived)
        writer.transport.abort()
        answer = await http.post(
            "/events", content=event, headers={"content-type": "application/json"}
        )
        assert 202 == answer.status_code

    assert ["order-77"] * 2 == await ids_in_the_log(clean_kafka)
    settings = scorer_settings(clean_kafka, clean_redis)
    async with scorer(settings):
        await agreement(clean_kafka, clean_redis, settings)
    assert 1 == await pages(clean_redis, "ada")


async def test_a_producers_repeat_after_a_lost_acknowledgement_counts_once(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Without idempotence the client library itself sends the batch again."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    client = AIOKafkaProducer(bootstrap_servers=clean_kafka.bootstrap, acks="all")
    await client.start()
    deliver, eaten = client.client.send, 0

    async def eating(node: int, request: Any, **more: Any) -> Any:
        nonlocal eaten
        answer = await deliver(node, request, **more)
        if isinstance(request, ProduceRequest) and not eaten:
            if answer.topics[0][1][0][1] != 0:
                return answer  # of a leader just elected: nothing was written
            eaten += 1
            raise KafkaConnectionError("the acknowledgement was eaten")
        return answer

    client.client.send = eating
    try:
        await asyncio.gather(*[
            await client.send(
                ACTIVITY, json.dumps(visit("ada", f"e{n}", n)).encode(), key=b"ada",
                partition=home("ada", PARTITIONS), timestamp_ms=NOON + n * MINUTE_MS,
            )
            for n in range(ID_WINDOW)
        ])  # fmt: skip
    finally:
        await client.stop()

    assert 1 == eaten
    assert 2 * ID_WINDOW == len(await ids_in_the_log(clean_kafka))
    async with scorer(settings):
        await agreement(clean_kafka, clean_redis, settings)
    assert ID_WINDOW == await pages(clean_redis, "ada")


async def test_what_lies_outside_the_window_counts_again(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """A list with one event more of a user than the window holds, sent again as a whole."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    whole = [visit("ada", f"e{number}", number) for number in range(ID_WINDOW + 1)]
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, whole + whole)
        await agreement(clean_kafka, clean_redis, settings)

    assert 2 * len(whole) == await pages(clean_redis, "ada")
