"""Records to the activity topic, each at its user's home, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka.errors import KafkaError

from contracts.errors import LogUnavailable
from contracts.partition import home
from contracts.times import from_ms
from contracts.topics import ACTIVITY, CLOCK_HEADER, CLOCK_KEY, cloud_event_headers
from ebbtide.feed.records import Sendable
from ebbtide.feed.sink import Refusal
from runtime.kafka import Message, Publisher, ensure_topics, producer
from runtime.settings import ServiceSettings
from runtime.topic_id import TopicIds


class KafkaSink:
    """One lane per partition. The Kafka timestamp of a record is when its event occurred."""

    def __init__(self, publisher: Publisher, *, partitions: int, target: str, source: str) -> None:
        self._publisher = publisher
        self._partitions = partitions
        self._target = target
        self._source = source

    @property
    def target(self) -> str:
        """The topic, as this incarnation of it is known."""
        return self._target

    @property
    def lanes(self) -> int:
        """The topic's partition count."""
        return self._partitions

    def lane(self, user_id: str) -> int:
        """The user's home partition."""
        return home(user_id, self._partitions)

    async def send(self, chunk: Sequence[Sendable]) -> list[Refusal]:
        """Publish to all partitions at once, in order within each; raises LogUnavailable."""
        lanes: dict[int, list[Message]] = {}
        for record in chunk:
            lanes.setdefault(self.lane(record.user_id), []).append(self._message(record))
        await self._publish(lanes)
        return []

    async def tick(self, moment_ms: int) -> None:
        """Send one clock record to every partition."""
        clock = Message(CLOCK_KEY, b"", moment_ms, [(CLOCK_HEADER, b"")])
        await self._publish({partition: [clock] for partition in range(self._partitions)})

    async def _publish(self, lanes: dict[int, list[Message]]) -> None:
        # All are waited for, also when one fails: what still runs could overtake a retry.
        results = await asyncio.gather(
            *(self._publisher.publish(ACTIVITY, lane, batch) for lane, batch in lanes.items()),
            return_exceptions=True,
        )
        for result in results:
            if result is not None:
                raise result

    def _message(self, record: Sendable) -> Message:
        headers = cloud_event_headers(
            event_id=record.event_id,
            source=self._source,
            kind=f"ebbtide.{ACTIVITY}",
            time=from_ms(record.ms).isoformat(),
        )
        return Message(record.user_id.encode(), record.value, record.ms, headers)


@asynccontextmanager
async def kafka_sink(settings: ServiceSettings, *, source: str) -> AsyncIterator[KafkaSink]:
    """Connect, creating the topic if it is missing; raises LogUnavailable."""
    async with AsyncExitStack() as stack:
        await ensure_topics(settings, [ACTIVITY])
        ids = TopicIds(settings.kafka_bootstrap_servers)
        stack.push_async_callback(ids.close)
        topic = await ids.incarnation(ACTIVITY)
        if topic is None:
            raise LogUnavailable(f"Kafka has no topic {ACTIVITY}, though we just created it")
        # Events carry ids, so a repeat is harmless, and any broker will do: the embedded one
        # cannot do idempotence.
        client = producer(settings.model_copy(update={"kafka_idempotence": False}))
        stack.push_async_callback(client.stop)
        try:
            await client.start()
        except (KafkaError, OSError, TimeoutError) as error:
            raise LogUnavailable(
                f"cannot produce to Kafka at {settings.kafka_bootstrap_servers}: {error!r}"
            ) from error
        yield KafkaSink(
            Publisher(client),
            partitions=topic.partitions,
            target=f"{ACTIVITY} {topic.topic_id}",
            source=source,
        )
