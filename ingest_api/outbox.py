"""What goes to Kafka over one connection: gathered for each partition while an earlier batch is
on its way.

A future and a batch for each request cost several times what the request does. Here whatever came
for a partition since its last batch leaves as the next one, and one acknowledgement answers all of
it. So batches grow with the load by themselves, and nobody waits for company. A partition has one
batch under way, so its messages keep the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from contracts.partition import home
from runtime.kafka import Message, by_home

LOOK_SECONDS: Final = 0.25
"""How often it is looked who has waited for too long: so much longer may one wait."""

Told = Callable[[int, str | None], None]
"""Hears how many messages were acknowledged and, unless all were, why; called once."""


class Parcel:
    """Messages for one partition that came together; `due` is when their sender gives up."""

    __slots__ = ("_acknowledged", "_at", "_told", "due", "messages")

    def __init__(self, messages: Sequence[Message], due: float, told: Told) -> None:
        self.messages = messages
        self.due = due
        self._told: Told | None = told
        self._at = 0
        """How many have been put into batches."""
        self._acknowledged = 0

    @property
    def is_over(self) -> bool:
        """Whether its sender knows what came of it: then nothing more of it is sent."""
        return self._told is None

    @property
    def is_aboard(self) -> bool:
        """Whether all of it is in batches."""
        return self._at == len(self.messages)

    def fill(self, batch: BatchBuilder) -> int:
        """Put into the batch what it has room for, and say how many that are."""
        before = self._at
        for message in self.messages[before:] if before else self.messages:
            appended = batch.append(
                timestamp=message.timestamp_ms,
                key=message.key,
                value=message.value,
                headers=message.headers,
            )
            if appended is None:
                break
            self._at += 1
        return self._at - before

    def arrived(self, count: int) -> None:
        """Kafka has so many more."""
        self._acknowledged += count
        if self._acknowledged == len(self.messages):
            self.end(None)

    def end(self, reason: str | None) -> None:
        """Tell its sender, once."""
        if self._told is not None:
            told, self._told = self._told, None
            told(self._acknowledged, reason)


class _Lane:
    """What waits for a partition, and what is under way there."""

    __slots__ = ("aboard", "is_busy", "partition", "topic", "waiting")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[Parcel] = deque()
        self.aboard: list[tuple[Parcel, int]] = []
        """Parcels in the batch, with how many of each."""
        self.is_busy = False
        """Whether a batch is under way, or about to be."""


class Outbox:
    """Sends over a started producer, until it is closed; made inside an event loop.

    doubt: hears the reason whenever something was not acknowledged.
    """

    def __init__(
        self, producer: AIOKafkaProducer, *, timeout_seconds: float, doubt: Callable[[str], None]
    ) -> None:
        self._producer = producer
        self._cluster = producer.client.cluster
        self._loop = asyncio.get_running_loop()  # asking each time would be a system call
        self._timeout = timeout_seconds
        self._too_late = f"no acknowledgement within {timeout_seconds:g} s"
        self._doubt = doubt
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._due: deque[_Lane] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._look: asyncio.TimerHandle | None = None
        self._closed: str | None = None

    async def deliver(self, messages: Sequence[Message], topic: str) -> tuple[int, str | None]:
        """How many of the messages Kafka has and, unless it has all, why."""
        due = self._loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(due):
                partitions = len(await self._producer.partitions_for(topic))
        except TimeoutError:
            return 0, self._doubted(self._too_late)
        except (KafkaError, OSError) as error:
            return 0, self._doubted(repr(error))
        homes = by_home(messages, partitions)
        told: asyncio.Future[None] = self._loop.create_future()
        heard, acknowledged, reason = 0, 0, None

        def tell(count: int, why: str | None) -> None:
            nonlocal heard, acknowledged, reason
            heard, acknowledged, reason = heard + 1, acknowledged + count, why or reason
            if heard == len(homes) and not told.done():
                told.set_result(None)

        for partition, group in homes.items():
            self._add(topic, partition, Parcel(group, due, tell))
        if homes:
            await told
        return acknowledged, reason

    def post(self, message: Message, topic: str, told: Told) -> bool:
        """Send one without anybody waiting; `told` is called later.

        False, and nothing is sent, where it is not known yet how many partitions there are.
        """
        partitions = self._cluster.partitions_for_topic(topic)
        if not partitions or self._closed is not None:
            return False
        due = self._loop.time() + self._timeout
        partition = home((message.key or b"").decode(), len(partitions))
        self._add(topic, partition, Parcel((message,), due, told))
        return True

    def close(self, reason: str) -> None:
        """Send nothing more; what is under way is still told of."""
        self._closed = reason
        for lane in self._lanes.values():
            waiting, lane.waiting = lane.waiting, deque()
            for parcel in waiting:
                parcel.end(reason)

    def _add(self, topic: str, partition: int, parcel: Parcel) -> None:
        if self._closed is not None:
            parcel.end(self._closed)
            return
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(topic, partition)
        lane.waiting.append(parcel)
        if not lane.is_busy:
            self._call(lane)
        if self._look is None:
            self._look = self._loop.call_later(LOOK_SECONDS, self._look_round)

    def _call(self, lane: _Lane) -> None:
        """Send what waits there, once all that is at hand has been read."""
        lane.is_busy = True
        self._due.append(lane)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_due())

    async def _send_due(self) -> None:
        while self._due:
            lane = self._due.popleft()
            batch = self._load(lane)
            if not lane.aboard:
                lane.is_busy = False
                continue
            try:
                # Nothing of ours is before it, so this waits for nobody.
                future = await self._producer.send_batch(
                    batch, lane.topic, partition=lane.partition
                )
            except Exception as error:  # whatever it is, requests wait to hear of it
                self._over(lane, repr(error))
            else:
                future.add_done_callback(lambda done, lane=lane: self._over(lane, _failure(done)))
        self._sending = None

    def _load(self, lane: _Lane) -> BatchBuilder:
        batch = self._producer.create_batch()
        waiting = lane.waiting
        while waiting:
            parcel = waiting[0]
            if not parcel.is_over:
                if count := parcel.fill(batch):
                    lane.aboard.append((parcel, count))
                if not parcel.is_aboard:
                    break
            waiting.popleft()
        return batch

    def _over(self, lane: _Lane, reason: str | None) -> None:
        """The batch under way has come to its end."""
        aboard, lane.aboard = lane.aboard, []
        for parcel, count in aboard:
            if reason is None:
                parcel.arrived(count)
            else:
                parcel.end(reason)
        if reason is not None:
            self._doubted(reason)
        lane.is_busy = False
        if lane.waiting:
            self._call(lane)

    def _look_round(self) -> None:
        """Tell those who have waited for too long."""
        now = self._loop.time()
        is_late = is_open = False
        for lane in self._lanes.values():
            for parcel in [*(parcel for parcel, _ in lane.aboard), *lane.waiting]:
                if parcel.is_over:
                    continue
                if parcel.due <= now:
                    is_late = True
                    parcel.end(self._too_late)
                else:
                    is_open = True
        self._look = self._loop.call_later(LOOK_SECONDS, self._look_round) if is_open else None
        if is_late:
            self._doubted(self._too_late)

    def _doubted(self, reason: str) -> str:
        """The reason; once closed, nothing is to be concluded from it."""
        if self._closed is None:
            self._doubt(reason)
        return reason


def _failure(future: asyncio.Future[Any]) -> str | None:
    """Why the future stands for nothing acknowledged; None if it does."""
    if future.cancelled():
        return "given up"
    error = future.exception()
    return None if error is None else repr(error)
