"""Faults of Kafka: the broker killed, a topic recreated, a log in memory lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from contracts.topics import ACTIVITY
from tests.chaos.faults.steps import whole
from tests.chaos.stage import Fault, Stage, topic_config

WITHIN_S = 30.0
UNTIMED = ("redis", *(f"redis:{shard}" for shard in range(3)))
"""What may not go back in time meanwhile: to before effects of a log that is gone for good."""


@dataclass(frozen=True)
class BrokerKilled:
    """kill -9, and a start on the same log at the same address."""

    name: str = "kafka killed"
    needs: frozenset[str] = frozenset({"native-kafka"})

    async def strike(self, stage: Stage) -> None:
        async with stage.alone("kafka"):
            try:
                await whole(stage.servers.kafka.kill)
                await asyncio.sleep(stage.random.choice((0.0, 1.0, 5.0)))
            finally:
                await whole(stage.servers.kafka.start)


@dataclass(frozen=True)
class TopicRecreated:
    """A topic is deleted and created again, as a new log: its offsets start anew."""

    topic: str = ACTIVITY
    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.topic} recreated"

    async def strike(self, stage: Stage) -> None:
        async with (
            stage.alone("kafka", *UNTIMED),
            stage.between_logs(self.topic),
            _admin(stage) as admin,
        ):
            partitions = (await _topics(admin))[self.topic]
            await admin.delete_topics([self.topic])
            try:
                await asyncio.sleep(stage.random.choice((0.0, 0.5, 2.0)))
            finally:
                await _create(admin, {self.topic: partitions})


@dataclass(frozen=True)
class LogLost:
    """kill -9 of a broker that keeps its log in memory: every topic is a new, empty log."""

    name: str = "log in memory lost"
    needs: frozenset[str] = frozenset({"embedded-kafka"})

    async def strike(self, stage: Stage) -> None:
        kafka = stage.servers.kafka
        async with stage.alone("kafka"), _admin(stage) as admin:
            topics = await _topics(admin)
        async with stage.alone("kafka", *UNTIMED), stage.between_logs(*topics):
            try:
                await whole(kafka.kill)
                await asyncio.sleep(stage.random.choice((0.0, 0.5, 2.0)))
            finally:
                await whole(kafka.start)
                async with _admin(stage) as admin:
                    await _create(admin, topics)


@asynccontextmanager
async def _admin(stage: Stage) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.servers.kafka.bootstrap)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _topics(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Partition counts by topic, Kafka's own topics left out."""
    names = [name for name in await admin.list_topics() if not name.startswith("__")]
    described = await admin.describe_topics(names)
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def _create(admin: AIOKafkaAdminClient, topics: dict[str, int]) -> None:
    """Create what is missing; a deletion that goes on has to end first."""
    wanted = [
        NewTopic(topic, partitions, 1, topic_configs=topic_config(topic))
        for topic, partitions in topics.items()
    ]

    async def created() -> bool:
        answer = await admin.create_topics(wanted)
        fine = (0, TopicAlreadyExistsError.errno)
        return all(code in fine for _, code, *_ in answer.topic_errors)

    async def there() -> bool:
        return await _topics(admin) == await _topics(admin) | topics

    # A topic whose deletion has only begun still exists, and is then gone after all.
    await _until(created)
    await _until(there)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not await holds():
        if time.monotonic() > deadline:
            raise RuntimeError("Kafka does not create the topics")
        await asyncio.sleep(0.05)


FAULTS: tuple[Fault, ...] = (BrokerKilled(), TopicRecreated(), LogLost())
