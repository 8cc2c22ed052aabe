"""What goes to Kafka: where, in which order, with which time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pytest

from contracts.errors import LogUnavailable
from contracts.partition import home
from contracts.topics import CLOCK_HEADER, CLOCK_KEY
from ebbtide.feed.kafka import KafkaSink
from ebbtide.feed.records import Sendable
from runtime.kafka import Message, Publisher

RECORDS = [Sendable(i, f"user-{i % 5}", f"id-{i}", b"%d" % i) for i in range(20)]


class FakePublisher:
    """Keeps what is published, per partition; one partition may be away."""

    def __init__(self, away: int | None = None) -> None:
        self.away = away
        self.published: dict[int, list[Message]] = {}

    async def publish(self, topic: str, partition: int, messages: Iterable[Message]) -> None:
        assert topic == "activity-event"
        if partition == self.away:
            raise LogUnavailable("away")
        self.published.setdefault(partition, []).extend(messages)


def sink(publisher: FakePublisher) -> KafkaSink:
    return KafkaSink(cast(Publisher, publisher), partitions=4, target="t", source="/ebbtide/replay")


async def test_records_go_home_in_order_at_their_time() -> None:
    """
    A user's records reach the home partition in order, stamped with when they occurred.
    """
    publisher = FakePublisher()

    refusals = await sink(publisher).send(RECORDS)

    assert [] == refusals
    for partition in range(4):
        expected = [
            (r.user_id.encode(), r.value, r.ms) for r in RECORDS if home(r.user_id, 4) == partition
        ]
        published = publisher.published.get(partition, [])
        assert expected == [(m.key, m.value, m.timestamp_ms) for m in published]


async def test_records_carry_their_id_as_a_header() -> None:
    """
    CloudEvents attributes name the event and where it came from.
    """
    publisher = FakePublisher()

    await sink(publisher).send(RECORDS[:1])

    (message,) = publisher.published[home("user-0", 4)]
    assert dict(message.headers)["ce_id"] == b"id-0"
    assert dict(message.headers)["ce_source"] == b"/ebbtide/replay"


async def test_a_tick_reaches_every_partition() -> None:
    """
    One clock record per partition carries the moment and nothing else.
    """
    publisher = FakePublisher()

    await sink(publisher).tick(77)

    clock = Message(CLOCK_KEY, b"", 77, [(CLOCK_HEADER, b"")])
    assert {partition: [clock] for partition in range(4)} == publisher.published


async def test_one_partition_away_fails_the_chunk() -> None:
    """
    A chunk is acknowledged whole or not at all.
    """
    with pytest.raises(LogUnavailable):
        await sink(FakePublisher(away=home("user-0", 4))).send(RECORDS)
