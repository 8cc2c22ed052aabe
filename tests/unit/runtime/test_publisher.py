"""Publishing in order, over as many batches as it takes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaError

from contracts.errors import LogUnavailable
from contracts.partition import home
from runtime.kafka import Message, Publisher, murmur2_partitioner


class Batch:
    """Takes two messages."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []

    def append(self, *, key: bytes | None, **_: object) -> object:
        if len(self.keys) == 2:
            return None
        self.keys.append(key)
        return object()

    def record_count(self) -> int:
        return len(self.keys)


class Producer:
    """As much of an AIOKafkaProducer as publishing uses; acknowledges when told."""

    def __init__(self, partitions: int = 1) -> None:
        self.sent: list[tuple[int, Batch, asyncio.Future[None]]] = []
        self.partition_count = partitions

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self.partition_count))

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[None]:
        self.sent.append((partition, batch, asyncio.get_running_loop().create_future()))
        return self.sent[-1][2]


def messages(count: int) -> list[Message]:
    return [Message(b"%d" % number, b"", 0) for number in range(count)]


async def test_each_batch_waits_for_the_one_before() -> None:
    """In order, none left out where a batch was full; it returns when all are acknowledged."""
    producer = Producer()
    task = asyncio.create_task(Publisher(cast("Any", producer)).publish("t", 0, messages(5)))
    for number in range(3):
        await settled()
        assert (number + 1, False) == (len(producer.sent), task.done())
        producer.sent[-1][2].set_result(None)
    await task

    assert [b"0", b"1", b"2", b"3", b"4"] == [k for _, b, _ in producer.sent for k in b.keys]


async def test_nothing_is_sent_behind_a_failure() -> None:
    """A later batch without the one before it would be a gap that nobody can tell from a repeat."""
    producer = Producer()
    task = asyncio.create_task(Publisher(cast("Any", producer)).publish("t", 0, messages(5)))
    await settled()
    producer.sent[0][2].set_exception(KafkaError("gone"))

    with pytest.raises(LogUnavailable, match="gone"):
        await task
    assert 1 == len(producer.sent)


async def test_at_once_means_before_the_last_batch_is_acknowledged() -> None:
    """All are under way, in order, and it returns when all are acknowledged."""
    producer = Producer()
    publishing = Publisher(cast("Any", producer)).publish_at_once("t", 0, messages(5))
    task = asyncio.create_task(publishing)
    await settled()
    assert [b"0", b"1", b"2", b"3", b"4"] == [k for _, b, _ in producer.sent for k in b.keys]

    for _, _, acknowledged in producer.sent:
        assert not task.done()
        acknowledged.set_result(None)
        await settled()
    await task


async def test_at_once_fails_when_any_batch_does() -> None:
    """Nothing may be saved then; what became of the others is nobody's question."""
    producer = Producer()
    publishing = Publisher(cast("Any", producer)).publish_at_once("t", 0, messages(5))
    task = asyncio.create_task(publishing)
    await settled()
    producer.sent[1][2].set_exception(KafkaError("gone"))

    with pytest.raises(LogUnavailable, match="gone"):
        await task
    producer.sent[0][2].set_result(None)
    producer.sent[2][2].set_exception(KafkaError("gone, too"))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_home_is_where_a_java_client_would_put_the_user() -> None:
    """Each user's messages at their home, in order, nothing for the others."""
    producer = Producer(partitions=4)
    task = asyncio.create_task(Publisher(cast("Any", producer)).publish_home("t", messages(9)))
    while not task.done():
        await asyncio.sleep(0)
        for _, _, acknowledged in producer.sent:
            if not acknowledged.done():
                acknowledged.set_result(None)
    await task

    for partition, batch, _ in producer.sent:
        assert {partition} == {home((key or b"").decode(), 4) for key in batch.keys}
    assert 9 == sum(batch.record_count() for _, batch, _ in producer.sent)
    assert home("ada", 4) == murmur2_partitioner(b"ada", [0, 1, 2, 3], [2])
