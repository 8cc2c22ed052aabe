"""Reading a topic along its end, or from a place somebody noted, without a consumer group.

Nobody's progress is kept: whoever reads notes a `Cursor`, and comes back with it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from contracts.errors import BadRecord, LogUnavailable
from runtime import lenient_records
from runtime.handler import Record
from runtime.kafka import at_end
from runtime.settings import ServiceSettings
from runtime.topic_id import TopicIds

READ_MS: Final = 500
"""How long a read waits for something to come."""
MAX_RECORDS: Final = 500
TIMEOUT_MS: Final = 10_000
MAX_PARTITIONS: Final = 4_096

_CURSOR = re.compile(r"1-([0-9a-f]{32})-([0-9]{1,18}(?:\.[0-9]{1,18})*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a topic: the next offset of each partition, in one incarnation of it."""

    log: str
    """The topic's id, 32 hex digits."""
    offsets: tuple[int, ...]

    def __str__(self) -> str:
        return f"1-{self.log}-{'.'.join(map(str, self.offsets))}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises BadRecord for what `str` of a cursor never gave."""
        found = _CURSOR.fullmatch(text)
        offsets = tuple(map(int, found[2].split("."))) if found else ()
        if found is None or len(offsets) > MAX_PARTITIONS:
            raise BadRecord("no id of this stream")
        return cls(found[1], offsets)

    def after(self, partition: int, offset: int) -> Cursor:
        """The cursor once a record has been taken, too."""
        least = (0,) * partition + (offset + 1,)
        return self.joined(Cursor(self.log, least))

    def joined(self, other: Cursor) -> Cursor:
        """Everything either of them has taken."""
        pairs = zip_longest(self.offsets, other.offsets, fillvalue=0)
        return Cursor(self.log, tuple(max(pair) for pair in pairs))

    def has(self, partition: int, offset: int) -> bool:
        """Whether the record was taken before."""
        return partition < len(self.offsets) and offset < self.offsets[partition]

    def covers(self, other: Cursor) -> bool:
        """Whether nothing `other` has taken is still to come here."""
        return self.log == other.log and self.joined(other) == self.joined(self)


BEGINNING: Final = Cursor("", ())
"""Of whatever log there is."""


class NoTopic(LogUnavailable):
    """Nobody has made the topic yet."""


class Tail(Protocol):
    """A topic being read."""

    @property
    def at(self) -> Cursor:
        """What has been read."""
        ...

    def take_gap(self) -> str | None:
        """Why what followed the cursor, or what was read, may not all be there; told once."""
        ...

    async def read(self) -> Sequence[Record]:
        """What came, in order within partitions; empty after a while without anything.

        Raises LogUnavailable, also when the topic was made anew or has got more partitions: open
        another one.
        """
        ...


class KafkaTail:
    """The Tail of a Kafka topic."""

    def __init__(self, consumer: AIOKafkaConsumer, ids: TopicIds, topic: str) -> None:
        self._consumer = consumer
        self._ids = ids
        self._topic = topic
        self._partitions: list[TopicPartition] = []
        self.at = Cursor("", ())
        self._gap: str | None = None

    def take_gap(self) -> str | None:
        gap, self._gap = self._gap, None
        return gap

    async def start(self, cursor: Cursor | None) -> None:
        """Stand at `cursor`, or at the end for None."""
        found = await self._ids.incarnation(self._topic)
        if found is None:
            raise NoTopic(f"Kafka has no topic {self._topic}")
        log = found.topic_id.hex
        consumer = self._consumer
        self._partitions = [TopicPartition(self._topic, n) for n in range(found.partitions)]
        with _kafka_errors(self._topic):
            await consumer.start()
            consumer.assign(self._partitions)
            if cursor is None:
                await consumer.seek_to_end(*self._partitions)
                # Brokers may name the beginning of the last batch as the end.
                async with asyncio.timeout(TIMEOUT_MS / 1000):
                    while not await at_end(consumer, self._partitions):
                        await consumer.getmany(timeout_ms=READ_MS)
            else:
                await self._seek(cursor, log)
        self.at = Cursor(log, await self._positions())

    async def _seek(self, cursor: Cursor, log: str) -> None:
        beginnings = await self._consumer.beginning_offsets(self._partitions)
        same = cursor.log == log
        if not same and cursor is not BEGINNING:
            self._gap = "the topic was made anew"
        for tp in self._partitions:
            wanted = 0
            if same and tp.partition < len(cursor.offsets):
                wanted = cursor.offsets[tp.partition]
                if wanted < beginnings[tp]:
                    self._gap = "the topic no longer holds what followed"
            self._consumer.seek(tp, max(wanted, beginnings[tp]))

    async def read(self) -> Sequence[Record]:
        with _kafka_errors(self._topic):
            try:
                fetched = await self._consumer.getmany(timeout_ms=READ_MS, max_records=MAX_RECORDS)
            except OffsetOutOfRangeError:
                await self._start_over()
                return []
            if await self._is_beyond_the_end():
                await self._start_over()
                return []
            at = await self._positions()
        if fetched:
            found = await self._ids.incarnation(self._topic, next(iter(fetched)).partition)
            if found is None or found.topic_id.hex != self.at.log:
                raise LogUnavailable(f"topic {self._topic} was made anew")
            if found.partitions != len(self._partitions):
                raise LogUnavailable(f"topic {self._topic} has got more partitions")
        self.at = Cursor(self.at.log, at)
        return [record for tp in sorted(fetched) for record in fetched[tp]]

    async def _is_beyond_the_end(self) -> bool:
        """Whether the log has lost what was read before; not every broker says so itself."""
        for tp in self._partitions:
            end = self._consumer.highwater(tp)
            if end is not None and await self._consumer.position(tp) > end:
                return True
        return False

    async def _start_over(self) -> None:
        self._gap = "the topic has lost its end, or what followed"
        for tp, offset in (await self._consumer.beginning_offsets(self._partitions)).items():
            self._consumer.seek(tp, offset)
        self.at = Cursor(self.at.log, await self._positions())

    async def _positions(self) -> tuple[int, ...]:
        return tuple([await self._consumer.position(tp) for tp in self._partitions])

    async def is_at_end(self) -> bool:
        """Whether everything the topic held at the last fetch has been read."""
        return await at_end(self._consumer, self._partitions)


@asynccontextmanager
async def tail(
    settings: ServiceSettings, topic: str, cursor: Cursor | None
) -> AsyncIterator[KafkaTail]:
    """Read a topic from `cursor`, or from its end; raises LogUnavailable.

    A cursor of another incarnation of the topic stands for its beginning.
    """
    lenient_records.install()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        auto_offset_reset="none",
        enable_auto_commit=False,
        isolation_level="read_committed",
        request_timeout_ms=TIMEOUT_MS,
        fetch_max_wait_ms=READ_MS,
        max_partition_fetch_bytes=1024 * 1024,
    )
    ids = TopicIds(settings.kafka_bootstrap_servers)
    try:
        opened = KafkaTail(consumer, ids, topic)
        await opened.start(cursor)
        yield opened
    finally:
        await ids.close()
        await consumer.stop()


@contextmanager
def _kafka_errors(topic: str) -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"Kafka, reading {topic}: {error!r}") from error
