"""Where the partitions of topics begin and end, for who watches how far readers are behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.errors import LogUnavailable
from runtime import lenient_records
from runtime.settings import ServiceSettings
from runtime.topic_id import TopicIds

TIMEOUT_SECONDS: Final = 3.0
FETCH_MS: Final = 50
FETCH_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Ends:
    """One partition: its first offset, and the one that comes next."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicEnds:
    """A topic that exists."""

    topic_id: str
    """Of this incarnation, as `runtime.log_identity` writes it."""
    partitions: dict[int, Ends]


class LogEnds:
    """Asks a cluster, over one connection that is kept while it works."""

    def __init__(
        self, settings: ServiceSettings, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._settings = settings
        self._timeout = timeout_seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._ids: TopicIds | None = None  # aiokafka wants a running loop
        self._asking = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def of(self, topics: Iterable[str]) -> dict[str, TopicEnds]:
        """By topic; those that do not exist are left out. Raises LogUnavailable."""
        async with self._asking:
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._ask(sorted(set(topics)))
            except (LogUnavailable, KafkaError, OSError, TimeoutError) as error:
                self._drop()
                raise LogUnavailable(f"Kafka, asking where topics end: {error!r}") from error
            except asyncio.CancelledError:
                self._drop()
                raise

    async def run(self) -> None:
        """Keep it until cancelled; then close."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Let the connection go."""
        async with self._asking:
            self._drop()
            if self._closing:
                await asyncio.wait(self._closing)
            if self._ids is not None:
                await self._ids.close()

    async def _ask(self, topics: list[str]) -> dict[str, TopicEnds]:
        consumer = await self._connected()
        ids = self._ids = self._ids or TopicIds(self._settings.kafka_bootstrap_servers)
        # What the consumer itself knows is about topics it was assigned.
        known = await consumer._client.fetch_all_metadata()
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(known.partitions_for_topic(topic) or ())
        ]
        if not partitions:
            return {}
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        # The embedded broker names the beginning of the last batch. What a fetch from there says
        # is right with any, and costs a batch at most.
        consumer.assign(partitions)
        for tp in partitions:
            consumer.seek(tp, max(ends[tp], begins[tp]))
        try:
            while any(consumer.highwater(tp) is None for tp in partitions):
                await consumer.getmany(timeout_ms=FETCH_MS)
            ends = {tp: max(ends[tp], consumer.highwater(tp)) for tp in partitions}
        finally:
            consumer.unsubscribe()
        found: dict[str, TopicEnds] = {}
        for tp in partitions:
            if tp.topic not in found:
                incarnation = await ids.incarnation(tp.topic)
                if incarnation is None:
                    continue
                found[tp.topic] = TopicEnds(str(incarnation.topic_id), {})
            found[tp.topic].partitions[tp.partition] = Ends(begins[tp], ends[tp])
        return found

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            lenient_records.install()
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._settings.kafka_bootstrap_servers,
                auto_offset_reset="none",
                enable_auto_commit=False,
                request_timeout_ms=round(self._timeout * 1000),
                fetch_max_wait_ms=FETCH_MS,
                max_partition_fetch_bytes=FETCH_BYTES,
            )
            self._consumer = consumer
            await consumer.start()
        return self._consumer

    def _drop(self) -> None:
        """Let the consumer go, without waiting for it: with Kafka away that takes a while."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return

        async def stop() -> None:
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await consumer.stop()

        task = asyncio.create_task(stop())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
