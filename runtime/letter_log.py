"""Reading dead-letter topics: all of one as a stream, or its newest records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.errors import LogUnavailable
from contracts.topics import dead_letter
from runtime import lenient_records
from runtime.handler import Record
from runtime.kafka import at_end
from runtime.letters import Fates, Letter, Unpacker
from runtime.log_ends import Ends, LogEnds, TopicEnds
from runtime.settings import ServiceSettings

READ_MS: Final = 500
AT_ONCE: Final = 500
MOST_BYTES: Final = 32 * 2**20
"""Of values, that one look at the newest reads."""
LOOK_SECONDS: Final = 5.0
ASK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Newest:
    """What a look at the end of a dead-letter topic found."""

    letters: tuple[Letter, ...]
    records: int
    """Read for it."""
    of_records: int
    """That the topic holds."""
    is_whole: bool
    """Whether everything from where the look began was read."""


class LetterLog:
    """The dead-letter topics of a cluster."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings

    async def every(
        self, topic: str, partitions: Collection[int] | None = None
    ) -> AsyncGenerator[Letter, None]:
        """The letters about a topic, by the place they lie in; raises LogUnavailable.

        partitions: of the dead-letter topic, those to read; None: all.
        Reads each partition twice, for what became of a letter stands behind it, and holds few
        letters at a time. What is parked meanwhile is not told.
        """
        name = dead_letter(topic)
        found = (await self._ends([name])).get(name)
        filled = {
            number: ends
            for number, ends in (found.partitions if found else {}).items()
            if ends.end > ends.begin and (partitions is None or number in partitions)
        }
        if not filled:
            return
        async with self._consumer(name) as consumer:
            for number, ends in sorted(filled.items()):
                tp = TopicPartition(name, number)
                consumer.assign([tp])
                unpacker, fates = Unpacker(), Fates()
                async for records in _batches(consumer, tp, ends):
                    for record in records:
                        fates.note(unpacker.take(record))
                unpacker = Unpacker()
                async for records in _batches(consumer, tp, ends):
                    for record in records:
                        letter = unpacker.take(record)
                        told = fates.of(letter) if isinstance(letter, Letter) else None
                        if told is not None:
                            yield told

    async def newest(self, topic: str, ends: Mapping[int, Ends], most: int) -> Newest:
        """The letters among about the last `most` records; raises LogUnavailable.

        ends: of the partitions of the dead-letter topic. A letter whose first part lies before
        them is not told.
        """
        name = dead_letter(topic)
        each = max(most // max(len(ends), 1), 1)
        starts = {
            TopicPartition(name, number): max(end.end - each, end.begin)
            for number, end in ends.items()
            if end.end > end.begin
        }
        letters: dict[int, list[Letter]] = {}
        states = {tp.partition: (Unpacker(), Fates()) for tp in starts}
        records = size = 0
        is_whole = True
        if starts:
            async with self._consumer(name) as consumer:
                consumer.assign(list(starts))
                for tp, offset in starts.items():
                    consumer.seek(tp, offset)
                deadline = asyncio.get_running_loop().time() + LOOK_SECONDS
                while not await at_end(consumer, starts):
                    if size > MOST_BYTES or asyncio.get_running_loop().time() > deadline:
                        is_whole = False
                        break
                    fetched = await consumer.getmany(timeout_ms=READ_MS, max_records=AT_ONCE)
                    for tp, batch in fetched.items():
                        unpacker, fates = states[tp.partition]
                        for record in batch:
                            records += 1
                            size += len(record.value or b"")
                            found = unpacker.take(record)
                            fates.note(found)
                            if isinstance(found, Letter):
                                letters.setdefault(tp.partition, []).append(found)
        told = [
            fate
            for number, parked in letters.items()
            for letter in parked
            if (fate := states[number][1].of(letter)) is not None
        ]
        of_records = sum(end.end - end.begin for end in ends.values())
        return Newest(tuple(told), records, of_records, is_whole)

    async def _ends(self, names: list[str]) -> dict[str, TopicEnds]:
        asked = LogEnds(self._settings, timeout_seconds=ASK_SECONDS)
        try:
            return await asked.of(names)
        finally:
            await asked.close()

    @asynccontextmanager
    async def _consumer(self, name: str) -> AsyncIterator[AIOKafkaConsumer]:
        lenient_records.install()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            auto_offset_reset="none",
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
        try:
            await consumer.start()
            yield consumer
        except (KafkaError, OSError, TimeoutError) as error:
            raise LogUnavailable(f"Kafka, reading {name}: {error!r}") from error
        finally:
            await consumer.stop()


async def _batches(
    consumer: AIOKafkaConsumer, tp: TopicPartition, ends: Ends
) -> AsyncIterator[list[Record]]:
    """What lies between the ends, in order."""
    consumer.seek(tp, ends.begin)
    while await consumer.position(tp) < ends.end:
        fetched = await consumer.getmany(tp, timeout_ms=READ_MS, max_records=AT_ONCE)
        yield [record for record in fetched.get(tp, ()) if record.offset < ends.end]
