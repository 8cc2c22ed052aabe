"""Workers that stand still, and worlds that change under them, on real servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from redis.asyncio import Redis

from contracts.errors import Misconfigured
from contracts.partition import home
from contracts.record import FACTS
from contracts.times import MINUTE_MS
from contracts.topics import ACTIVITY
from runtime import consumer, kafka
from runtime.clock import wall_ms
from runtime.kafka import LogConsumer
from scorer.main import score_with
from scorer.settings import ScorerSettings
from tests.fading_model import FadingModel
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    agreement,
    create_topic,
    delete_topic,
    eventually,
    producer,
    scorer,
    scorer_settings,
    send,
    stored,
    whole_log,
)
from tests.servers import KafkaServer, RedisServer, source

USERS = [f"user-{number}" for number in range(20)]


def visits(count: int, first: int = 0) -> list[dict[str, Any]]:
    """`count` page views of each user, a minute apart."""
    return [
        {"user_id": user, "type": "page_view", "occurred_at": NOON + minute * MINUTE_MS}
        for minute in range(first, first + count)
        for user in USERS
    ]


async def all_have(redis: RedisServer, count: int) -> bool:
    facts = await stored(redis, USERS)
    return all(count == np.frombuffer(facts[user], FACTS)["events"] for user in USERS)


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> list[LogConsumer]:
    """Every consumer the workers of this test make, in order."""
    made: list[LogConsumer] = []
    genuine = kafka.consumer

    def noted(*args: Any, **kwargs: Any) -> LogConsumer:
        made.append(genuine(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(kafka, "consumer", noted)
    return made


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look more often than they have to."""
    monkeypatch.setattr(consumer, "CHECK_SECONDS", 0.3)
    monkeypatch.setattr(consumer, "WATCH_SECONDS", 0.3)


# Workers that stand still.


async def end_the_fetcher(source: LogConsumer) -> None:
    source._fetcher._fetch_task.cancel()


async def end_the_groups_task(source: LogConsumer) -> None:
    source._coordinator._coordination_task.cancel()


async def hang_the_fetcher(source: LogConsumer) -> None:
    hangs = asyncio.Event()

    async def forever(*_: Any) -> bool:
        hangs.set()
        await asyncio.Event().wait()
        return False

    source._fetcher._proc_fetch_request = forever
    await hangs.wait()


@pytest.mark.parametrize("break_it", [end_the_fetcher, end_the_groups_task, hang_the_fetcher])
async def test_a_consumer_that_stops_in_silence_is_replaced(
    clean_kafka: KafkaServer,
    clean_redis: RedisServer,
    consumers: list[LogConsumer],
    watchful: None,
    break_it: Callable[[LogConsumer], Awaitable[None]],
) -> None:
    """The worker starts itself again, and every event counts once."""
    settings = scorer_settings(clean_kafka, clean_redis, stall_seconds=5)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, visits(3))
        await agreement(clean_kafka, clean_redis, settings)
        assert 1 == len(consumers)

        await break_it(consumers[0])
        await send(client, visits(4, first=3))
        await eventually(lambda: all_have(clean_redis, 7))
        await agreement(clean_kafka, clean_redis, settings)

        # What was fetched before it broke may be folded before the worker notices.
        async def replaced() -> bool:
            return len(consumers) > 1

        await eventually(replaced)

    assert 2 == len(consumers)


async def test_silence_is_believed_up_to_the_sending_of_a_fetch_not_up_to_its_reading(
    clean_kafka: KafkaServer,
) -> None:
    """A busy event loop reads an answer long after it was given; what came since is not known."""
    await create_topic(clean_kafka, "things", 1)
    tp = TopicPartition("things", 0)
    source = LogConsumer(bootstrap_servers=clean_kafka.bootstrap, fetch_max_wait_ms=200)
    await source.start()
    try:
        source.assign([tp])
        source.seek(tp, 0)

        async def told() -> bool:
            return bool(source.last_poll_timestamp(tp))

        await eventually(told)
        before = source.last_poll_timestamp(tp)
        busy_since = wall_ms()
        time.sleep(1.0)  # noqa: ASYNC251 - a loop that computes

        async def told_again() -> bool:
            return source.last_poll_timestamp(tp) != before

        await eventually(told_again, every_s=0.0)
        assert source.last_poll_timestamp(tp) <= busy_since
    finally:
        await source.stop()


# Worlds that change under a worker.


async def ends(settings: ScorerSettings, meanwhile: Callable[[], Awaitable[None]]) -> str:
    """Run a scorer, do something to its world, and return why it gave up."""
    task = asyncio.ensure_future(score_with(FadingModel(), settings, asyncio.Event()))
    try:
        await meanwhile()
        with pytest.raises(Misconfigured) as caught:
            async with asyncio.timeout(90):
                await task
    finally:
        task.cancel()
        await asyncio.wait({task})
    return str(caught.value)


async def test_a_topic_that_vanished_is_told_and_a_new_one_is_a_new_log(
    clean_kafka: KafkaServer, clean_redis: RedisServer, watchful: None
) -> None:
    """Deleted under a running worker, it is missed; recreated later, its records count in full."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings):
        async with producer(clean_kafka) as client:
            await send(client, visits(3))
            await agreement(clean_kafka, clean_redis, settings)
        await eventually(lambda: _reasons_hold(settings, ""))

        await delete_topic(clean_kafka)
        await eventually(lambda: _reasons_hold(settings, "does not exist"))
        await create_topic(clean_kafka)
        async with producer(clean_kafka) as client:
            await send(client, visits(4, first=5))
            await eventually(lambda: all_have(clean_redis, 7))
        await eventually(lambda: _reasons_hold(settings, ""))
    facts = np.frombuffer((await stored(clean_redis, USERS[:1]))[USERS[0]], FACTS)
    assert 2 == facts["log_number"]


async def _reasons_hold(settings: ScorerSettings, words: str) -> bool:
    """Whether the worker is unready for a reason with these words; "" means ready."""
    reader, writer = await asyncio.open_connection("127.0.0.1", settings.scorer_health_port)
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        answer = (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()
    return " 200 " in answer.split("\n")[0] if not words else words in answer


@pytest.mark.apache_kafka
async def test_partitions_added_under_a_running_worker_are_refused(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Users would change homes: nobody folds another record, and the remedy is named."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)

    async def grow() -> None:
        async with producer(clean_kafka) as client:
            await send(client, visits(3))
            await agreement(clean_kafka, clean_redis, settings)
        admin = AIOKafkaAdminClient(bootstrap_servers=clean_kafka.bootstrap)
        await admin.start()
        try:
            await admin.create_partitions({ACTIVITY: NewPartitions(PARTITIONS + 1)})
        finally:
            await admin.close()
        async with producer(clean_kafka) as client:
            # As a producer that knows of five partitions would send them.
            await send(client, visits(1, first=3), partition_of=lambda user: home(user, 5))

    reason = await ends(settings, grow)

    assert "5 partitions" in reason
    assert "ebbtide rebuild" in reason
    assert await all_have(clean_redis, 3)
    assert 4 * len(USERS) == len(await _whole_log_of_five(clean_kafka))


async def _whole_log_of_five(kafka_server: KafkaServer) -> list[Any]:
    records = await whole_log(kafka_server)
    tp = TopicPartition(ACTIVITY, PARTITIONS)
    reader = LogConsumer(bootstrap_servers=kafka_server.bootstrap)
    await reader.start()
    try:
        ends_at = (await reader.end_offsets([tp]))[tp]
    finally:
        await reader.stop()
    return [*records, *range(ends_at)]


@pytest.mark.apache_kafka
async def test_events_that_retention_took_from_a_waiting_worker_are_missed(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Redis was away too long: the worker does not pass over what it never read."""
    if source() == "external":
        pytest.fail("this promise cannot be checked on external servers")
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    partition = home(USERS[0], PARTITIONS)

    async def fall_behind() -> None:
        async with producer(clean_kafka) as client:
            await send(client, visits(1))
            await agreement(clean_kafka, clean_redis, settings)
            clean_redis.stop()
            await send(client, visits(2, first=1))
        admin = AIOKafkaAdminClient(bootstrap_servers=clean_kafka.bootstrap)
        await admin.start()
        try:
            count = 3 * sum(home(user, PARTITIONS) == partition for user in USERS)
            cut = {TopicPartition(ACTIVITY, partition): RecordsToDelete(count - 1)}
            await admin.delete_records(cut)
        finally:
            await admin.close()
            clean_redis.start()

    reason = await ends(settings, fall_behind)

    assert "lies outside the log" in reason
    assert "ebbtide rebuild" in reason


async def test_a_store_that_begins_to_evict_is_refused(
    clean_kafka: KafkaServer, clean_redis: RedisServer, watchful: None
) -> None:
    """Changed under a running worker, too; the message says what to set."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    client = Redis.from_url(clean_redis.url)

    async def begin() -> None:
        async with producer(clean_kafka) as sender:
            await send(sender, visits(1))
        await agreement(clean_kafka, clean_redis, settings)
        await client.config_set("maxmemory-policy", "allkeys-lru")

    try:
        reason = await ends(settings, begin)
    finally:
        await client.config_set("maxmemory-policy", "noeviction")
        await client.aclose()

    assert "allkeys-lru" in reason
    assert "noeviction" in reason


# What stops, and what must not go on.


async def test_a_producer_that_was_cut_sends_nothing_any_more(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Not even when the broker it waited for is back: somebody else may have published it."""
    if source() == "external":
        pytest.fail("this promise cannot be checked on external servers")
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    client = kafka.producer(settings)
    await client.start()
    try:
        publisher = kafka.Publisher(client)
        assert PARTITIONS == await publisher.partitions(ACTIVITY)
        clean_kafka.kill()
        publishing = asyncio.ensure_future(
            publisher.publish(ACTIVITY, 0, [kafka.Message(b"late", b"{}", NOON)])
        )
        await asyncio.wait({publishing}, timeout=0.5)
        publishing.cancel()
        await asyncio.wait({publishing})

        await kafka.cut(client)

        await asyncio.to_thread(clean_kafka.start)
        if not clean_kafka.idempotence:
            await create_topic(clean_kafka)  # this broker's log is in memory
        async with producer(clean_kafka) as other:
            await other.send_and_wait(ACTIVITY, b"{}", key=b"after", partition=0, timestamp_ms=NOON)
            await asyncio.sleep(1)
        assert [b"after"] == [record.key for record in await whole_log(clean_kafka)]
    finally:
        # Apart: aiokafka's stop() lets out the CancelledError of a sender that was cut.
        stopping = asyncio.ensure_future(client.stop())
        await asyncio.wait({stopping})
        assert stopping.cancelled() or stopping.exception() is None


class _Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """A member of a group that may take its time to give up its partitions."""

    def __init__(self) -> None:
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.revoking = asyncio.Event()
        self.assigned: list[set[TopicPartition]] = []

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.revoking.set()
        await self.may_go.wait()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.assigned.append(set(assigned))


@pytest.mark.apache_kafka
async def test_a_worker_leaves_from_the_middle_of_a_rebalance(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """The group that waits for a slow member does not hold it, nor does the group wait for it."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    slow, brief = _Member(), _Member()
    first, second = (kafka.consumer(settings, group="members") for _ in range(2))
    try:
        await first.start()
        first.subscribe([ACTIVITY], listener=slow)

        async def joined() -> bool:
            return len(slow.assigned) == 1

        await eventually(joined)
        slow.may_go.clear()
        slow.revoking.clear()
        await second.start()
        second.subscribe([ACTIVITY], listener=brief)
        await slow.revoking.wait()

        began = time.monotonic()
        await second.stop()
        stopped = time.monotonic()
        slow.may_go.set()

        async def owns_all() -> bool:
            return len(slow.assigned) > 1 and len(slow.assigned[-1]) == PARTITIONS

        await eventually(owns_all)
        assert stopped - began < 3
        assert time.monotonic() - stopped < 3
    finally:
        slow.may_go.set()
        await second.stop()
        await first.stop()
