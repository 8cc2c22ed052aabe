"""What goes to Kafka is gathered by partition and keeps its order, and everybody is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.partition import home
from contracts.topics import ACTIVITY
from ingest_api import outbox
from ingest_api.outbox import Outbox
from runtime.kafka import Message

PARTITIONS = 2
ROOM = 1_000
AT_0, AT_1 = (
    next(f"user-{n}" for n in range(100) if home(f"user-{n}", PARTITIONS) == partition)
    for partition in range(PARTITIONS)
)


class Batch(BatchBuilder):  # type: ignore[misc]
    """A batch that remembers what was put into it."""

    def __init__(self) -> None:
        super().__init__(ROOM, 0)
        self.values: list[bytes] = []

    def append(self, *, timestamp: int, key: Any, value: Any, headers: Any = ()) -> Any:
        appended = super().append(timestamp=timestamp, key=key, value=value, headers=headers)
        if appended is not None:
            self.values.append(value)
        return appended


class Producer:
    """Takes batches; the test says what becomes of them."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, list[bytes]]] = []
        self.futures: list[asyncio.Future[None]] = []
        self.partitions: set[int] | None = set(range(PARTITIONS))
        self.refuses: Exception | None = None
        cluster = SimpleNamespace(partitions_for_topic=lambda _: self.partitions)
        self.client = SimpleNamespace(cluster=cluster)

    async def partitions_for(self, _topic: str) -> set[int]:
        if self.partitions is None:
            raise KafkaConnectionError("it is a test")
        return self.partitions

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Any:
        assert topic == ACTIVITY
        if self.refuses is not None:
            raise self.refuses
        self.sent.append((partition, batch.values))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    async def answer(self, number: int, error: Exception | None = None) -> None:
        """Acknowledge a batch, or fail it, and let everybody hear of it."""
        if error is None:
            self.futures[number].set_result(None)
        else:
            self.futures[number].set_exception(error)
        await turns()


async def turns() -> None:
    """Some rounds of the loop."""
    for _ in range(5):
        await asyncio.sleep(0)


class Stand:
    """An outbox on a double."""

    def __init__(self, timeout_seconds: float = 60.0) -> None:
        self.doubts: list[str] = []
        self.told: dict[str, tuple[int, str | None]] = {}
        self.producer = Producer()
        self.outbox = Outbox(
            self.producer, timeout_seconds=timeout_seconds, doubt=self.doubts.append
        )

    def post(self, name: str, user_id: str = AT_0) -> bool:
        """Send one that is called so."""

        def tell(count: int, reason: str | None) -> None:
            assert name not in self.told
            self.told[name] = (count, reason)

        return self.outbox.post(message(name, user_id), ACTIVITY, tell)


def message(name: str, user_id: str = AT_0) -> Message:
    return Message(user_id.encode(), name.encode(), 1_790_000_000_000)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked in each round who has waited for too long."""
    monkeypatch.setattr(outbox, "LOOK_SECONDS", 0.0)


async def test_what_comes_in_one_round_is_one_batch_of_its_partition():
    """
    And one acknowledgement answers all of it.
    """
    stand = Stand()
    for name in "abc":
        stand.post(name)
    stand.post("d", AT_1)
    await turns()
    assert [(0, [b"a", b"b", b"c"]), (1, [b"d"])] == stand.producer.sent
    assert {} == stand.told
    await stand.producer.answer(0)

    assert dict.fromkeys("abc", (1, None)) == stand.told


async def test_what_comes_meanwhile_is_the_next_batch():
    """
    A partition has one under way; what waits leaves when that has ended, well or not.
    """
    stand = Stand()
    stand.post("a")
    await turns()
    for name in "bcd":
        stand.post(name)
        await turns()
    assert [(0, [b"a"])] == stand.producer.sent
    await stand.producer.answer(0, KafkaConnectionError("it is a test"))

    assert (0, [b"b", b"c", b"d"]) == stand.producer.sent[1]
    assert (0, "KafkaConnectionError('it is a test')") == stand.told["a"]
    assert ["KafkaConnectionError('it is a test')"] == stand.doubts


@given(
    lists=st.lists(st.lists(st.integers(1, 900), max_size=6), max_size=6),
    fails=st.sets(st.integers(0, 12)),
)
@settings(max_examples=60, deadline=None)
async def test_each_is_told_what_arrived_of_its_own(lists, fails):
    """
    However long lists are cut into batches, in order, and whichever of the batches fail.
    """
    stand = Stand()
    names = [[f"{n}-{m}".ljust(size, ".") for m, size in enumerate(s)] for n, s in enumerate(lists)]
    waiting = [
        asyncio.create_task(stand.outbox.deliver([message(name) for name in some], ACTIVITY))
        for some in names
    ]
    await turns()
    arrived: set[bytes] = set()
    number = 0
    while number < len(stand.producer.sent):
        if number not in fails:
            arrived |= set(stand.producer.sent[number][1])
        await stand.producer.answer(number, OSError("x") if number in fails else None)
        number += 1
    told = [await each for each in waiting]

    sent = [value for _, values in stand.producer.sent for value in values]
    order = [name.encode() for some in names for name in some]
    assert sent == [name for name in order if name in set(sent)]
    assert [sum(name.encode() in arrived for name in some) for some in names] == [
        count for count, _ in told
    ]
    assert [count < len(some) for some, (count, _) in zip(names, told, strict=True)] == [
        reason is not None for _, reason in told
    ]


async def test_a_list_hears_of_all_its_partitions():
    """
    The one that failed and the one that did not.
    """
    stand = Stand()
    both = [message("a"), message("b", AT_1), message("c", AT_1)]
    waiting = asyncio.create_task(stand.outbox.deliver(both, ACTIVITY))
    await turns()
    await stand.producer.answer(0, OSError("x"))
    assert not waiting.done()
    await stand.producer.answer(1)

    assert (2, "OSError('x')") == await waiting


async def test_whoever_waits_too_long_is_told_and_not_sent_any_more(no_waiting):
    """
    Neither does a late acknowledgement tell them again.
    """
    stand = Stand(timeout_seconds=0.0)
    stand.post("a")
    await asyncio.sleep(0)
    stand.post("b")
    await turns()
    late = (0, "no acknowledgement within 0 s")
    assert {"a": late, "b": late} == stand.told
    await stand.producer.answer(0)

    assert [(0, [b"a"])] == stand.producer.sent
    assert [late[1]] == list(dict.fromkeys(stand.doubts))


async def test_closed_it_sends_nothing_more_and_tells_of_what_is_under_way():
    """
    What fails then says nothing about the connection that came after.
    """
    stand = Stand()
    stand.post("a")
    stand.post("b", AT_1)
    await turns()
    stand.post("c")
    stand.outbox.close("it was lost")
    assert {"c": (0, "it was lost")} == stand.told
    await stand.producer.answer(0)
    await stand.producer.answer(1, OSError("x"))

    assert ((1, None), (0, "OSError('x')")) == (stand.told["a"], stand.told["b"])
    assert not stand.post("d")
    assert (0, "it was lost") == await stand.outbox.deliver([message("e")], ACTIVITY)
    assert (2, []) == (len(stand.producer.sent), stand.doubts)


async def test_a_producer_that_refuses_is_a_failure_like_others():
    """
    Whatever it raises: requests wait to hear of it.
    """
    stand = Stand()
    stand.producer.refuses = RuntimeError("it is a test")
    stand.post("a")
    await turns()

    assert (0, "RuntimeError('it is a test')") == stand.told["a"]
    assert 1 == len(stand.doubts)


async def test_without_known_partitions_nothing_is_sent():
    """
    A single event is left to who waits for them; a list hears why.
    """
    stand = Stand()
    stand.producer.partitions = None

    assert not stand.post("a")
    count, reason = await stand.outbox.deliver([message("b")], ACTIVITY)
    assert (0, True) == (count, "KafkaConnectionError" in str(reason))
    assert (0, None) == await Stand().outbox.deliver([], ACTIVITY)
