"""Alerts are read back from `churn-alert` itself."""

from __future__ import annotations

import asyncio
import json

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.topics import ALERTS
from ebbtide.alert_log import lines_on
from runtime.settings import ServiceSettings
from tests.servers import KafkaServer


async def test_everything_on_the_topic_is_read(clean_kafka: KafkaServer) -> None:
    """
    Alerts of all partitions come back with their places, tombstones left out; before there is a
    topic there are none.
    """
    settings = ServiceSettings(kafka_bootstrap_servers=clean_kafka.bootstrap)
    assert [] == await asyncio.to_thread(lines_on, settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=clean_kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(ALERTS, 3, 1)])
    finally:
        await admin.close()
    values = [json.dumps({"n": n}).encode() for n in range(7)]
    async with AIOKafkaProducer(
        bootstrap_servers=clean_kafka.bootstrap,
        acks="all",
        enable_idempotence=clean_kafka.idempotence,
    ) as producer:
        for number, value in enumerate(values):
            await producer.send_and_wait(ALERTS, value, key=b"u", partition=number % 3)
        await producer.send_and_wait(ALERTS, None, key=b"u", partition=0)

    found = await asyncio.to_thread(lines_on, settings)

    assert sorted(values) == sorted(line for _, line in found)
    assert ("churn-alert 1:1", values[4]) in found
