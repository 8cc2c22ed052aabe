"""Kafka clients as Ebbtide wants them, and the creation of missing topics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any

import aiokafka.admin.client
import aiokafka.client
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.metadata import MetadataRequest

from contracts.errors import LogUnavailable, Misconfigured
from contracts.partition import home
from contracts.topics import DEAD_LETTER_CONFIG, TOPIC_CONFIGS, dead_letter
from runtime import lenient_records
from runtime.clock import wall_ms
from runtime.settings import ServiceSettings

# By default aiokafka has brokers create every topic it asks about. A topic that was deleted, or a
# log in memory that was lost, would come back with the broker's own partition count and settings.
_ask = partial(MetadataRequest, allow_auto_topic_creation=False)
aiokafka.client.MetadataRequest = aiokafka.admin.client.MetadataRequest = _ask

Headers = list[tuple[str, bytes]]

MAX_BATCH_BYTES = 512 * 1024
BEHIND_RECORDS = 1_000
"""A partition with more than this unread is fetched ahead of, while a batch of it is in hand."""
TOGETHER_SECONDS = 0.05
"""How long at most the next request for records waits for partitions in hand, to be for them, too.

aiokafka asks a broker for one thing at a time. At once, it would be answered with the first record
of any other partition, and batches would be many and of one partition each; what a batch costs
however small it is would be paid for each. With nothing in hand nobody waits.
"""
SHORT_FETCH_MS = 5
"""How long a broker may keep a request that leaves out a partition still in hand.

It cannot be asked for until the request ends. One for all partitions may wait as long as the
setting says: what comes is answered at once.
"""
SHORT_FETCHES_SECONDS = 1.0
"""A partition that is in hand for longer waits for something else than the next fetch."""
UNHURRIED_FETCH_MS = 200
HEARTBEAT_MS = 250
"""A member learns of a rebalance with its next heartbeat, and until then the others wait for it."""
GOODBYE_SECONDS = 1.0


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record to publish; `timestamp_ms` becomes its Kafka timestamp."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = []


def murmur2_partitioner(key: bytes | None, all_partitions: list[int], available: list[int]) -> int:
    """Kafka's Java rule, so that keyed records land at their user's home."""
    if key is None:
        return (available or all_partitions)[0]
    return all_partitions[home(key.decode(), len(all_partitions))]


def producer(
    settings: ServiceSettings, *, timeout_ms: int = 30_000, compression: str = "none"
) -> AIOKafkaProducer:
    """A producer that acknowledges only what all in-sync replicas hold. Not started."""
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        acks="all",
        enable_idempotence=settings.kafka_idempotence,
        partitioner=murmur2_partitioner,
        compression_type=None if compression == "none" else compression,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=2 * 1024 * 1024,
        request_timeout_ms=timeout_ms,
        linger_ms=0,
    )


def sends_no_more(producer: AIOKafkaProducer) -> bool:
    """Whether the task that sends has ended: from then on the producer refuses everything."""
    sender = producer._sender.sender_task if producer._sender is not None else None
    return sender is not None and bool(sender.done())


async def cut(producer: AIOKafkaProducer) -> None:
    """Make a producer send nothing any more, whatever it was given.

    aiokafka goes on repeating what was not acknowledged after its sender gave up waiting for it: by
    then somebody else may have published it, and more.
    """
    sender = producer._sender.sender_task if producer._sender is not None else None
    if sender is None:
        return
    sender.cancel()
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await producer.client.close()  # the sender waits for requests under way: they fail now
    await asyncio.wait({sender}, timeout=GOODBYE_SECONDS)
    pending = producer._message_accumulator
    batches = [*chain.from_iterable(pending._batches.values()), *pending._pending_batches]
    pending.fail_all(KafkaConnectionError("cut"))
    for batch in batches:
        for told in (batch.future, batch._drain_waiter):
            if told.done() and not told.cancelled():
                told.exception()  # whoever waited for it has gone


class LogConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """An AIOKafkaConsumer that says more of itself, and never claims to know more than it was told.

    `last_poll_timestamp` is the moment the last answered fetch was *sent*. aiokafka notes when it
    came to read the answer, which may be minutes after the broker gave it (a busy event loop, a
    stuck connection), and whatever was written meanwhile would count as silence.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._in_hand: dict[TopicPartition, float] = {}
        """Whose last batch was handed out, and when."""

    async def start(self) -> None:
        await super().start()
        fetcher = self._fetcher
        wait_ms = fetcher._fetch_max_wait_ms
        plan, fetch = fetcher._get_actions_per_node, fetcher._proc_fetch_request
        # By default no partition is asked for while another's records wait to be taken.
        fetcher._prefetch_backoff = 0.0

        def planned(assignment: Any) -> Any:
            now = time.monotonic()
            since = [at for at in self._in_hand.values() if at > now - SHORT_FETCHES_SECONDS]
            fetcher._fetch_max_wait_ms = min(SHORT_FETCH_MS, wait_ms) if since else wait_ms
            fetches, resets, timeout, *rest = plan(assignment)
            if since and (wait := max(since) + TOGETHER_SECONDS - now) > 0:
                fetches, timeout = [], min(timeout, wait)
            return fetches, resets, timeout, *rest

        fetcher._get_actions_per_node = planned

        async def noted(assignment: Any, node: int, request: Any) -> bool:
            asked_at = wall_ms()
            states = [
                assignment.state_value(TopicPartition(topic, partition))
                for topic, partitions in request.topics
                for partition, *_ in partitions
            ]
            before = [state.timestamp for state in states]
            # Between aiokafka's writing of the timestamps and its return nothing else runs.
            has_new_data: bool = await fetch(assignment, node, request)
            for state, timestamp in zip(states, before, strict=True):
                if state.timestamp != timestamp:
                    state.timestamp = asked_at
            return has_new_data

        fetcher._proc_fetch_request = noted

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """As aiokafka's, but a partition is fetched again only when its batch is done with.

        Fetched ahead, records would be as old as the batch before when their turn comes, and later
        ones not be with them. Only who is behind gains by it.
        """
        for tp in partitions or list(self._in_hand):
            if self._in_hand.pop(tp, None) is not None and self._subscription.is_assigned(tp):
                self.resume(tp)
        found: dict[TopicPartition, list[Any]] = await super().getmany(
            *partitions, timeout_ms=timeout_ms, max_records=max_records
        )
        for tp, records in found.items():
            if (self.highwater(tp) or 0) - records[-1].offset <= BEHIND_RECORDS:
                self._in_hand[tp] = time.monotonic()
                self.pause(tp)
        return found

    def broken(self) -> str | None:
        """Which of the tasks that make it work has ended, None while all run.

        aiokafka tells nobody: records just stop coming.
        """
        if self._closed or self._fetcher is None:
            return None
        if self._fetcher._fetch_task.done():
            return "the fetcher has ended"
        if self._coordinator._coordination_task.done():
            return "the group's task has ended"
        return None

    def group_state(self) -> dict[str, Any]:
        """What is known of the group membership, for the log."""
        group = self._coordinator
        heartbeat = group._heartbeat_task
        return {
            "generation": group.generation,
            "member": group.member_id,
            "coordinator": group.coordinator_id,
            "rejoin_wanted": group._rejoin_needed_fut.done(),
            "joining": self._subscription.reassignment_in_progress,
            "heartbeats": heartbeat is not None and not heartbeat.done(),
        }

    async def stop(self) -> None:
        """Leave the group, also from the middle of a rebalance, and close."""
        if self._group_id is not None and self._coordinator is not None and not self._closed:
            await self._leave_rebalance()
        await super().stop()

    async def _leave_rebalance(self) -> None:
        """Say goodbye where aiokafka would first wait for a group that waits for us."""
        group = self._coordinator
        joining = self._subscription.reassignment_in_progress
        if group._coordination_task.done() or not joining:
            return
        member, node = group.member_id, group.coordinator_id
        group._coordination_task.cancel()
        await asyncio.wait({group._coordination_task}, timeout=GOODBYE_SECONDS)
        if member and node is not None:
            # Over the connection for fetches: a broker reads nothing more on the other one while
            # our request to join waits there.
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._client.send(node, LeaveGroupRequest(self._group_id, member))
        group.reset_generation()  # aiokafka would say it again, over the connection that waits


def consumer(settings: ServiceSettings, *, group: str, has_time: bool = False) -> LogConsumer:
    """A consumer that never guesses where to start and never commits by itself. Not started.

    has_time: lets a broker with nothing new hold its fetches for UNHURRIED_FETCH_MS, for each costs
    the broker something. The embedded one answers after half of that at the earliest.
    """
    lenient_records.install()
    return LogConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=group,
        auto_offset_reset="none",
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=(
            max(settings.fetch_wait_ms, UNHURRIED_FETCH_MS) if has_time else settings.fetch_wait_ms
        ),
        max_partition_fetch_bytes=4 * 1024 * 1024,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=min(settings.session_timeout_ms // 10, HEARTBEAT_MS),
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
        at, key, value = message.timestamp_ms, message.key, message.value
        if batch.append(timestamp=at, key=key, value=value, headers=message.headers) is None:
            yield batch
            batch = producer.create_batch()
            batch.append(timestamp=at, key=key, value=value, headers=message.headers)
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

    async def publish_at_once(
        self, topic: str, partition: int, messages: Iterable[Message]
    ) -> None:
        """Like `publish`, but a batch does not wait for the one before to be acknowledged.

        For what may be published again from anywhere: behind a failure some may have arrived.
        """
        under_way: list[asyncio.Future[Any]] = []
        try:
            for batch in batches(self._producer, messages):
                under_way.append(await self._producer.send_batch(batch, topic, partition=partition))
            await asyncio.gather(*under_way)
        except (KafkaError, OSError, TimeoutError) as error:
            raise LogUnavailable(f"Kafka, publishing to {topic}: {error!r}") from error
        finally:
            for acknowledged in under_way:
                acknowledged.add_done_callback(_heard)

    async def publish(self, topic: str, partition: int, messages: Iterable[Message]) -> None:
        """Publish in order; returns when all are acknowledged, raises LogUnavailable otherwise."""
        try:
            # One by one: whatever fails, nothing arrives without all that was given before it.
            # A home counts on that (`runtime.arrivals`).
            for batch in batches(self._producer, messages):
                await (await self._producer.send_batch(batch, topic, partition=partition))
        except (KafkaError, OSError, TimeoutError) as error:
            raise LogUnavailable(f"Kafka, publishing to {topic}: {error!r}") from error


def _heard(acknowledged: asyncio.Future[Any]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not acknowledged.cancelled():
        acknowledged.exception()


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
