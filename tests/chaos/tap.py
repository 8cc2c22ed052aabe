"""A tap writes down every record of some topics, from their beginning, as it passes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError


class Tapped(NamedTuple):
    """One record as it was on the wire."""

    log: int
    """Which incarnation of its topic, from 1."""
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass
class Tap:
    """Reads one topic past every proxy; started when the topic exists."""

    bootstrap: str
    topic: str
    partitions: int
    records: list[Tapped] = field(default_factory=list)
    log: int = 1
    repeats_of_ours: int = 0
    _consumer: AIOKafkaConsumer | None = None
    _reading: asyncio.Task[None] | None = None
    _next: dict[int, int] = field(default_factory=dict)

    async def start(self) -> None:
        """Read from the beginning."""
        self._next = dict.fromkeys(range(self.partitions), 0)
        self._reading = asyncio.create_task(self._read(), name=f"tap of {self.topic}")

    async def stop(self) -> None:
        """Stop reading; what was read stays."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
            self._reading = None

    async def new_log(self) -> None:
        """The topic is another one from here on: begin at its beginning."""
        await self.stop()
        self.log += 1
        await self.start()

    async def ends(self) -> dict[int, int] | None:
        """Next offset of each partition by what the broker says now; None when it does not."""
        consumer = self._consumer
        if consumer is None:
            return None
        ends = {}
        for partition in range(self.partitions):
            end = consumer.highwater(TopicPartition(self.topic, partition))
            if end is None:
                return None
            ends[partition] = max(end, self._next[partition])
        return ends

    async def at_end(self) -> bool:
        """Whether all that was there at the last fetch is written down."""
        ends = await self.ends()
        return ends is not None and all(self._next[p] >= end for p, end in ends.items())

    def failed(self) -> BaseException | None:
        """What ended it, if anything did."""
        if self._reading is None or not self._reading.done() or self._reading.cancelled():
            return None
        return self._reading.exception()

    async def _read(self) -> None:
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.bootstrap,
                auto_offset_reset="none",
                enable_auto_commit=False,
                isolation_level="read_committed",
                fetch_max_wait_ms=100,
                max_partition_fetch_bytes=4 * 1024 * 1024,
                metadata_max_age_ms=5_000,
            )
            try:
                await consumer.start()
                await self._follow(consumer)
            except (KafkaError, OSError, TimeoutError, AssertionError):
                await asyncio.sleep(0.3)
            finally:
                self._consumer = None
                with suppress(Exception):
                    await asyncio.wait_for(consumer.stop(), 3)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        assigned = [TopicPartition(self.topic, p) for p in range(self.partitions)]
        while not await self._exists(consumer):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.2)
        consumer.assign(assigned)
        for tp in assigned:
            consumer.seek(tp, self._next[tp.partition])
        self._consumer = consumer
        while True:
            batches = await consumer.getmany(timeout_ms=200, max_records=20_000)
            for tp, batch in batches.items():
                self._write_down(tp.partition, batch)

    async def _exists(self, consumer: AIOKafkaConsumer) -> bool:
        return self.topic in await consumer.topics() and bool(
            consumer.partitions_for_topic(self.topic)
        )

    def _write_down(self, partition: int, batch: Sequence[object]) -> None:
        for record in batch:
            offset: int = record.offset  # type: ignore[attr-defined]
            if offset < self._next[partition]:
                self.repeats_of_ours += 1
                continue
            self._next[partition] = offset + 1
            self.records.append(
                Tapped(
                    self.log,
                    partition,
                    offset,
                    record.timestamp,  # type: ignore[attr-defined]
                    record.key,  # type: ignore[attr-defined]
                    record.value,  # type: ignore[attr-defined]
                    tuple(record.headers),  # type: ignore[attr-defined]
                )
            )
