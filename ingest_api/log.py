"""The gateway's edge to Kafka: connects in the background, publishes within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from contracts.errors import ChurnError, LogUnavailable
from contracts.topics import ACTIVITY, COMMANDS
from ingest_api.outbox import Outbox, Told
from ingest_api.problems import NotAcknowledged
from runtime.kafka import Message, ensure_topics, producer
from runtime.settings import ServiceSettings

logger = structlog.get_logger(__name__)

TOPICS: Final = (ACTIVITY, COMMANDS)
"""Those we write, and create when they are missing."""
TIMEOUT_SECONDS: Final = 5.0
"""How long a request waits for acknowledgements; also how long the client library tries."""
WATCH_SECONDS: Final = 3.0
"""How often a connection nobody uses is asked whether it is still one."""
RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)


class ActivityLog(Protocol):
    """What the gateway needs of Kafka."""

    async def publish(self, messages: Sequence[Message], topic: str = ACTIVITY) -> None:
        """Publish to the users' homes; raises NotAcknowledged saying how many arrived."""
        ...

    def post(self, message: Message, told: Told) -> bool:
        """Publish an activity event to its user's home, and call `told` later.

        False, and nothing is published, where that cannot be begun at once: `publish` can, or says
        why it cannot.
        """
        ...

    async def ping(self) -> None:
        """One round trip; raises LogUnavailable."""
        ...


class KafkaLog:
    """The topics we write. `run` keeps a connection; without one, publishing fails at once."""

    def __init__(
        self, settings: ServiceSettings, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._settings = settings
        self._timeout = timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._outbox: Outbox | None = None
        self._trouble = "not connected yet"
        self._suspect = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Connect, watch, connect again, until cancelled; then send what is under way."""
        failures = 0
        try:
            while True:
                try:
                    connected = await self._connect()
                except ChurnError as error:
                    if failures == 0:
                        logger.warning("kafka_away", reason=str(error))
                    self._trouble = str(error)
                    await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                    failures += 1
                    continue
                logger.info("kafka_connected", servers=self._settings.kafka_bootstrap_servers)
                failures = 0
                await self._serve(connected)
        finally:
            if self._closing:
                await asyncio.wait(self._closing)

    async def publish(self, messages: Sequence[Message], topic: str = ACTIVITY) -> None:
        outbox = self._outbox
        if outbox is None:
            raise NotAcknowledged(self._trouble)
        acknowledged, reason = await outbox.deliver(messages, topic)
        if acknowledged < len(messages):
            raise not_acknowledged(acknowledged, len(messages), reason)

    def post(self, message: Message, told: Told) -> bool:
        return self._outbox is not None and self._outbox.post(message, ACTIVITY, told)

    async def ping(self) -> None:
        if self._producer is None:
            raise LogUnavailable(self._trouble)
        await self._look_up(self._producer)

    async def _connect(self) -> AIOKafkaProducer:
        """A started producer, the topic there. Raises LogUnavailable or Misconfigured."""
        fresh = None
        try:
            timeout_ms = round(self._timeout * 1000)
            await ensure_topics(self._settings, TOPICS, timeout_ms=timeout_ms)
            fresh = producer(self._settings, timeout_ms=timeout_ms)
            await fresh.start()
            await self._look_up(fresh)
        except BaseException as error:
            if fresh is not None:
                self._close(fresh)
            if isinstance(error, KafkaError | OSError | TimeoutError):
                raise LogUnavailable(f"Kafka, connecting: {error!r}") from error
            raise
        return fresh

    async def _serve(self, connected: AIOKafkaProducer) -> None:
        """Offer the connection until it is found broken."""
        self._suspect.clear()
        self._producer = connected
        outbox = self._outbox = Outbox(connected, timeout_seconds=self._timeout, doubt=self._doubt)
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._suspect.wait(), WATCH_SECONDS)
                    return
                await self._look_up(connected)
        except LogUnavailable as error:
            self._trouble = str(error)
            logger.warning("kafka_lost", reason=str(error))
        finally:
            self._producer = self._outbox = None
            outbox.close(self._trouble)
            self._close(connected)

    def _doubt(self, reason: str) -> None:
        """The connection may be broken."""
        self._trouble = f"Kafka: {reason}"
        self._suspect.set()

    async def _look_up(self, connected: AIOKafkaProducer) -> None:
        """Ask a broker for the topic; raises LogUnavailable, also when the topic is gone."""
        try:
            async with asyncio.timeout(self._timeout):
                cluster = await connected.client.fetch_all_metadata()
        except (KafkaError, OSError, TimeoutError) as error:
            raise LogUnavailable(f"Kafka does not answer: {error!r}") from error
        if not cluster.partitions_for_topic(ACTIVITY):
            raise LogUnavailable(f"Kafka has no topic {ACTIVITY}")

    def _close(self, old: AIOKafkaProducer) -> None:
        """Flush and close in the background: with Kafka away that takes until the timeout."""

        async def close() -> None:
            try:
                await asyncio.wait_for(old.stop(), self._timeout + 1)
            except (KafkaError, OSError, TimeoutError) as error:
                logger.info("producer_not_flushed", reason=repr(error))

        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def not_acknowledged(acknowledged: int, count: int, reason: str | None) -> NotAcknowledged:
    """What to tell who sent so many messages."""
    return NotAcknowledged(f"Kafka acknowledged {acknowledged} of {count}: {reason}", acknowledged)
