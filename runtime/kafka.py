"""Kafka clients as Ebbtide wants them, and the creation of missing topics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.producer.message_accumulator import BatchBuilder

from contracts.errors import LogUnavailable, Misconfigured
from contracts.partition import home
from contracts.topics import DEAD_LETTER_CONFIG, TOPIC_CONFIGS, dead_letter
from runtime.settings import ServiceSettings

Headers = Sequence[tuple[str, bytes]]

MAX_BATCH_BYTES = 512 * 1024
FETCH_WAIT_MS = 200
"""How long a broker may hold an empty fetch: also how stale the partition clock may be."""


@dataclass(frozen=True, slots=True)
class Message:
    """A record to publish; `timestamp_ms` becomes its Kafka timestamp."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = ()


def murmur2_partitioner(key: bytes | None, all_partitions: list[int], available: list[int]) -> int:
    """Kafka's Java rule, so that keyed records land at their user's home."""
    if key is None:
        return (available or all_partitions)[0]
    return all_partitions[home(key.decode(), len(all_partitions))]


def producer(settings: ServiceSettings, *, timeout_ms: int = 30_000) -> AIOKafkaProducer:
    """A producer that acknowledges only what all in-sync replicas hold. Not started."""
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        acks="all",
        enable_idempotence=settings.kafka_idempotence,
        partitioner=murmur2_partitioner,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=2 * 1024 * 1024,
        request_timeout_ms=timeout_ms,
        linger_ms=0,
    )


def consumer(settings: ServiceSettings, *, group: str) -> AIOKafkaConsumer:
    """A consumer that never guesses where to start and never commits by itself. Not started."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=group,
        auto_offset_reset="none",
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // 10,
        # Room for the batch in hand (the consumer loop's LEAVE_SECONDS), however short a session.
        rebalance_timeout_ms=10_000,
        metadata_max_age_ms=10_000,
        # A consumer that does not ask for records leaves the group after this and, in aiokafka,
        # joins again only when somebody asks. Ours may rightly not ask for hours: a standby without
        # partitions, a partition that waits for a person or for Redis.
        max_poll_interval_ms=2**31 - 1,
    )


def by_home(messages: Iterable[Message], partitions: int) -> dict[int, list[Message]]:
    """Keyed messages by their users' home partition, in order within each."""
    homes: dict[int, list[Message]] = {}
    for message in messages:
        homes.setdefault(home((message.key or b"").decode(), partitions), []).append(message)
    return homes


def batches(producer: AIOKafkaProducer, messages: Iterable[Message]) -> Iterator[BatchBuilder]:
    """The messages as few batches for `send_batch`, in order; none when there are no messages."""
    batch = producer.create_batch()
    for message in messages:
        fields: dict[str, Any] = {
            "key": message.key,
            "value": message.value,
            "timestamp": message.timestamp_ms,
            "headers": list(message.headers),
        }
        if batch.append(**fields) is None:
            yield batch
            batch = producer.create_batch()
            batch.append(**fields)
    if batch.record_count():
        yield batch


async def at_end(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> bool:
    """Whether everything these partitions held at the last fetch has been read."""
    for tp in partitions:
        # Not `end_offsets`: the embedded broker answers that with the last batch's base.
        end = consumer.highwater(tp)
        if end is None or await consumer.position(tp) < end:
            return False
    return True


class Publisher:
    """Publishes batches to one partition at a time and waits for their acknowledgement."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has; raises LogUnavailable."""
        try:
            return len(await self._producer.partitions_for(topic))
        except (KafkaError, OSError, TimeoutError) as error:
            raise LogUnavailable(f"Kafka, looking up {topic}: {error!r}") from error

    async def publish_home(self, topic: str, messages: Iterable[Message]) -> None:
        """Publish keyed messages to their users' homes; otherwise like `publish`."""
        partitions = await self.partitions(topic)
        for partition, at_home in by_home(messages, partitions).items():
            await self.publish(topic, partition, at_home)

    async def publish(self, topic: str, partition: int, messages: Iterable[Message]) -> None:
        """Publish in order; returns when all are acknowledged, raises LogUnavailable otherwise."""
        try:
            acknowledgements = [
                await self._producer.send_batch(batch, topic, partition=partition)
                for batch in batches(self._producer, messages)
            ]
            # All of them, also after a failure: what is still on its way must not be overtaken by
            # the caller's next attempt.
            outcomes = await asyncio.gather(*acknowledgements, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
        except (KafkaError, OSError, TimeoutError) as error:
            raise LogUnavailable(f"Kafka, publishing to {topic}: {error!r}") from error


async def ensure_topics(
    settings: ServiceSettings, topics: Iterable[str], *, timeout_ms: int = 10_000
) -> None:
    """Create what is missing of `topics` and their dead letters; leave what exists alone.

    timeout_ms bounds each request: a client that is cancelled instead leaves its connection open.
    Raises LogUnavailable when Kafka does not answer, Misconfigured when it refuses.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka_bootstrap_servers, request_timeout_ms=timeout_ms
    )
    try:
        await admin.start()
        known = set(await admin.list_topics())
        wanted = [name for topic in topics for name in (topic, dead_letter(topic))]
        missing = [
            NewTopic(
                name,
                settings.partitions,
                settings.replication_factor,
                topic_configs=TOPIC_CONFIGS.get(name, DEAD_LETTER_CONFIG),
            )
            for name in wanted
            if name not in known
        ]
        if not missing:
            return
        answer = await admin.create_topics(missing)
        for name, code, *message in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise Misconfigured(
                    f"Kafka does not create topic {name}: {for_code(code).__name__} {message}; "
                    "create it by hand or grant the right"
                )
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"Kafka, creating topics: {error!r}") from error
    finally:
        await admin.close()
