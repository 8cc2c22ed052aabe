"""Which incarnation of a topic a broker serves.

Kafka gives every topic an id when it is created (KIP-516); a recreated topic has another one.
The id travels in Metadata v10 and later, which aiokafka's own request does not reach, so here is
the one request class for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from contracts.errors import LogUnavailable
from runtime.shared_answers import SharedAnswers

REQUEST_TIMEOUT_MS = 10_000


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class([(UUID(int=0), self._topic, {})], False, False, {})


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a topic: its id and how many partitions it has."""

    topic_id: UUID
    partitions: int


class TopicIds:
    """Asks brokers for topic ids, over a connection of its own."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._client = AIOKafkaClient(
            bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS
        )
        self._starting = asyncio.Lock()  # partitions ask at once, and one connection is enough
        self._started = False
        # Every partition asks with every batch.
        self._answers = SharedAnswers(self._ask)

    async def incarnation(self, topic: str, partition: int | None = None) -> Incarnation | None:
        """The topic as the leader of `partition` knows it, None when there is no such topic.

        The leader's word counts because it also serves the fetches: an answer after a fetch cannot
        be older than the records fetched. Raises LogUnavailable.
        """
        try:
            async with self._starting:
                if not self._started:
                    await self._client.bootstrap()
                    self._started = True
            response = await self._answers.ask((self._node(topic, partition), topic))
        except (KafkaError, OSError, TimeoutError, NotImplementedError) as error:
            self._client.force_metadata_update()
            raise LogUnavailable(f"Kafka, asking for the id of {topic}: {error!r}") from error
        error_code, _, topic_id, _, partitions, *_ = response.topics[0]
        if error_code == 0:
            return Incarnation(topic_id, len(partitions))
        if for_code(error_code).__name__ == "UnknownTopicOrPartitionError":
            return None
        raise LogUnavailable(f"Kafka, asking for the id of {topic}: {for_code(error_code)!r}")

    async def _ask(self, about: tuple[int, str]) -> Any:
        node, topic = about
        return await self._client.send(node, _MetadataRequest(topic))

    def _node(self, topic: str, partition: int | None) -> int:
        if partition is not None:
            leader = self._client.cluster.leader_for_partition(TopicPartition(topic, partition))
            if leader is not None and leader >= 0:
                return int(leader)
            self._client.add_topic(topic)
        return int(self._client.get_random_node())

    async def close(self) -> None:
        """Drop the connection."""
        if self._started:
            await self._client.close()
