"""The gateway's edge to Kafka: connects in the background, publishes within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from contracts.errors import ChurnError, LogUnavailable
from contracts.topics import ACTIVITY, COMMANDS
from ingest_api.problems import NotAcknowledged
from runtime.kafka import Message, batches, by_home, ensure_topics, producer
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
        connected = self._producer
        if connected is None:
            raise NotAcknowledged(self._trouble)
        handed_over: list[tuple[asyncio.Future[Any], int]] = []
        reason = f"no acknowledgement within {self._timeout:g} s"
        try:
            async with asyncio.timeout(self._timeout):
                partitions = len(await connected.partitions_for(topic))
                for partition, group in by_home(messages, partitions).items():
                    handed_over += await _hand_over(connected, topic, partition, group)
                await asyncio.wait([future for future, _ in handed_over])
        except (KafkaError, OSError) as error:
            reason = repr(error)
        except TimeoutError:
            pass
        acknowledged = 0
        for future, count in handed_over:
            failure = _failure(future)
            if failure is None:
                acknowledged += count
            elif future.done():
                reason = repr(failure)
        if acknowledged < len(messages):
            self._trouble = f"Kafka: {reason}"
            self._suspect.set()
            raise NotAcknowledged(
                f"Kafka acknowledged {acknowledged} of {len(messages)}: {reason}", acknowledged
            )

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
            self._producer = None
            self._close(connected)

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


async def _hand_over(
    to: AIOKafkaProducer, topic: str, partition: int, messages: Sequence[Message]
) -> list[tuple[asyncio.Future[Any], int]]:
    """Give one partition's messages to the client; futures with how many each stands for."""
    if len(messages) == 1:
        # Single events of many requests share batches while an earlier batch is on its way.
        (one,) = messages
        future = await to.send(
            topic,
            one.value,
            one.key,
            partition,
            timestamp_ms=one.timestamp_ms,
            headers=list(one.headers),
        )
        return [(_retrieved(future), 1)]
    return [
        (
            _retrieved(await to.send_batch(batch, topic, partition=partition)),
            batch.record_count(),
        )
        for batch in batches(to, messages)
    ]


def _retrieved(future: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """The future, its failure seen to: one that comes after the timeout has nobody waiting."""
    future.add_done_callback(_failure)
    return future


def _failure(future: asyncio.Future[Any]) -> BaseException | None:
    """Why the future stands for nothing acknowledged; None if it does."""
    if not future.done():
        return TimeoutError("no answer yet")
    if future.cancelled():
        return TimeoutError("given up")
    return future.exception()
