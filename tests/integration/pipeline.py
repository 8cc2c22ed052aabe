"""Workers run inside the test, producers, and the oracle that folds the log offline."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.errors import BadRecord
from contracts.events import EVENT_ROW, LogPlace, decode, erased_user, row, tombstone_row
from contracts.partition import home
from contracts.record import blank_facts
from contracts.times import DAY_MS
from contracts.topics import ACTIVITY, CLOCK_HEADER, TOPIC_CONFIGS
from ebbtide.ports import free_port
from model.fold import fold
from runtime.arrivals import Arrivals
from runtime.kafka import at_end
from runtime.records import RecordStore
from runtime.store import connect
from scorer.main import score_with
from scorer.settings import ScorerSettings
from tests.fading_model import FadingModel
from tests.servers import KafkaServer, RedisServer

PARTITIONS = 4
NOON = 1_750_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
"""2025-06-15. What follows it must lie in the past: Kafka refuses records of the future."""


def scorer_settings(kafka: KafkaServer, redis: RedisServer, **more: Any) -> ScorerSettings:
    """Settings of a scorer on the test's servers, on a stream clock unless told otherwise."""
    return ScorerSettings(
        kafka_bootstrap_servers=kafka.bootstrap,
        kafka_idempotence=kafka.idempotence,
        redis_url=redis.url,
        partitions=PARTITIONS,
        scorer_health_port=free_port(),
        session_timeout_ms=10_000 if kafka.idempotence else 1_000,
        **({"clock": "stream"} | more),
    )


@asynccontextmanager
async def running(serve: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncIterator[None]:
    """A worker for the length of the block; its failure fails the test."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(serve(stop))
    try:
        yield
        if task.done():
            task.result()
    finally:
        stop.set()
        await task


def scorer(settings: ScorerSettings, model: FadingModel | None = None) -> Any:
    """A running scorer, as `running` makes it."""
    return running(lambda stop: score_with(model or FadingModel(), settings, stop))


@asynccontextmanager
async def producer(kafka: KafkaServer) -> AsyncIterator[AIOKafkaProducer]:
    """A plain producer, as a customer would write one."""
    client = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def create_topic(
    kafka: KafkaServer, topic: str = ACTIVITY, partitions: int = PARTITIONS
) -> None:
    """Create a topic and wait until it can be written to."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:

        async def created() -> bool:
            # The tests' events are weeks old: by default retention would take them at once.
            wanted = NewTopic(topic, partitions, 1, topic_configs=TOPIC_CONFIGS.get(topic, {}))
            answer = await admin.create_topics([wanted])
            if answer.topic_errors[0][1] not in (0, 36):  # 36: it exists
                return False
            # Kafka answers before its brokers have heard of it.
            [told] = await admin.describe_topics([topic])
            leaders = [partition["leader"] for partition in told["partitions"]]
            return told["error_code"] == 0 and bool(leaders) and min(leaders) >= 0

        await eventually(created)
    finally:
        await admin.close()


async def delete_topic(kafka: KafkaServer, topic: str = ACTIVITY) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])

        async def gone() -> bool:
            return topic not in await admin.list_topics()

        await eventually(gone)
    finally:
        await admin.close()


async def send(
    client: AIOKafkaProducer,
    events: Iterable[dict[str, Any]],
    *,
    partition_of: Callable[[str], int] = lambda user_id: home(user_id, PARTITIONS),
) -> None:
    """Produce events with their occurrence as log time (`log_time` overrides it), in order."""
    pending = []
    for event in events:
        fields = dict(event)
        log_time = fields.pop("log_time", fields["occurred_at"])
        user_id = fields["user_id"]
        pending.append(
            await client.send(
                ACTIVITY,
                json.dumps(fields).encode(),
                key=user_id.encode(),
                partition=partition_of(user_id),
                timestamp_ms=log_time,
            )
        )
    await asyncio.gather(*pending)


async def whole_log(
    kafka: KafkaServer, topic: str = ACTIVITY, count: int = PARTITIONS
) -> list[Any]:
    """Every record of a topic, by partition and offset."""
    client = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="none")
    await client.start()
    try:
        if topic not in await client.topics():
            return []
        partitions = [TopicPartition(topic, partition) for partition in range(count)]
        client.assign(partitions)
        await client.seek_to_beginning(*partitions)
        records: list[Any] = []

        async def all_read() -> bool:
            for batch in (await client.getmany(timeout_ms=100)).values():
                records.extend(batch)
            return await at_end(client, partitions)

        await eventually(all_read)
        return sorted(records, key=lambda record: (record.partition, record.offset))
    finally:
        await client.stop()


def oracle(records: Iterable[Any], settings: ScorerSettings, log: int = 1) -> dict[str, bytes]:
    """Every user's facts by folding the log offline, as bytes: away-from-home records excluded."""
    users: dict[str, list[tuple[int, ...]]] = {}
    arrivals: defaultdict[int, Arrivals] = defaultdict(Arrivals)
    for record in records:
        if any(name == CLOCK_HEADER for name, _ in record.headers):
            continue
        place = LogPlace(log, record.partition, record.offset, record.timestamp)
        try:
            if record.value is None:
                user_id, values = erased_user(record.key), tombstone_row(place)
            else:
                event = decode(record.value)
                user_id, values = event.user_id, row(event, place, settings.fold_rules)
        except BadRecord:
            continue
        if arrivals[record.partition].is_repeat(user_id, record.headers):
            continue
        if home(user_id, PARTITIONS) == record.partition:
            users.setdefault(user_id, []).append(values)
    return {
        user_id: fold(
            blank_facts(1),
            np.array(rows, EVENT_ROW),
            np.zeros(len(rows), np.intp),
            settings.fold_rules,
        ).tobytes()
        for user_id, rows in users.items()
    }


async def stored(redis: RedisServer, user_ids: Iterable[str]) -> dict[str, bytes]:
    """Every user's facts as Redis holds them, as bytes."""
    wanted = list(user_ids)
    client = connect(redis.url)
    try:
        facts = (await RecordStore(client).load(wanted))["facts"]
    finally:
        await client.aclose()
    return {user_id: facts[i].tobytes() for i, user_id in enumerate(wanted)}


async def eventually(
    holds: Callable[[], Awaitable[bool]], within_s: float = 90.0, every_s: float = 0.05
) -> None:
    """Poll until `holds`; fails the test when it does not in time."""
    deadline = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        await asyncio.sleep(every_s)


async def agreement(kafka: KafkaServer, redis: RedisServer, settings: ScorerSettings,
                    log: int = 1) -> dict[str, bytes]:  # fmt: skip
    """Wait until the stored facts equal the offline fold of the log as it stands; return them."""

    async def agree() -> bool:
        wanted = oracle(await whole_log(kafka), settings, log)
        return bool(wanted) and wanted == await stored(redis, wanted)

    await eventually(agree)
    return oracle(await whole_log(kafka), settings, log)
