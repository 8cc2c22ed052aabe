"""Sends a history by HTTP and straight to Kafka, and keeps account of what was accepted.

A lane sends its next chunk when the last one was accepted, as a careful client does: after no
answer, a 503 or a failed acknowledgement it sends the same events again under the same ids.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import httpx2
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from contracts.topics import ACTIVITY, CLOCK_HEADER, CLOCK_KEY
from runtime.kafka import Message, batches
from tests.chaos.history import Item, Lane

CHUNK_ITEMS: Final = 400
MOST_OF_ONE_USER: Final = 8
"""In a chunk, so that a chunk sent again lies inside the duplicate window."""
CHUNKS_AHEAD: Final = 12
"""How far one lane may run ahead of the other: about as far as their log times may differ."""
RETRY_SECONDS: Final = 0.25


@dataclass
class Ledger:
    """What servers said they have."""

    by_id: set[str] = field(default_factory=set)
    """event_ids that were answered with 202 or acknowledged."""
    by_place: list[tuple[int, int, int]] = field(default_factory=list)
    """(log, partition, offset) of acknowledged records without an id."""
    accepted: int = 0
    """Records, repeats included."""
    retries: Counter[str] = field(default_factory=Counter)


@dataclass
class Driver:
    """Sends; `pace` items a second at most, and nothing while it is told to wait."""

    bootstrap: Callable[[], str]
    gateways: Callable[[], Sequence[str]]
    """Their addresses at the moment."""
    log_number: Callable[[], int]
    pace: float
    ledger: Ledger = field(default_factory=Ledger)
    sent: int = 0
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    idle: dict[Lane, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.waits.set()
        self.idle = {lane: asyncio.Event() for lane in ("http", "kafka")}

    async def send(self, items: Iterator[Item]) -> None:
        """Send everything; returns when all of it was accepted."""
        queues: dict[Lane, asyncio.Queue[list[Item] | None]] = {
            lane: asyncio.Queue(CHUNKS_AHEAD) for lane in self.idle
        }
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._http_lane(queues["http"]))
            lanes.create_task(self._kafka_lane(queues["kafka"]))
            began, offered = time.monotonic(), 0
            for lane, chunk in chunks(items):
                await queues[lane].put(chunk)
                offered += len(chunk)
                late = began + offered / self.pace - time.monotonic()
                if late > 0:
                    await asyncio.sleep(late)
                elif late < -5:
                    began -= late + 5  # a fault is no reason to hurry for the rest of the run
            for queue in queues.values():
                await queue.put(None)

    async def hold(self) -> None:
        """Returns when nothing is on its way any more; nothing is sent before `go_on`."""
        self.waits.clear()
        for idle in self.idle.values():
            await idle.wait()

    def go_on(self) -> None:
        self.waits.set()

    async def tick(self, moment_ms: int, partitions: int) -> None:
        """Tell every partition that this moment has come."""
        async with self._producing() as producer:
            for partition in range(partitions):
                clock = Message(CLOCK_KEY, b"", moment_ms, [(CLOCK_HEADER, b"")])
                await self._acknowledged(producer, partition, [clock])

    async def _http_lane(self, queue: asyncio.Queue[list[Item] | None]) -> None:
        async with httpx2.AsyncClient(timeout=10.0) as http:
            async for chunk in self._chunks("http", queue):
                body = b"[" + b",".join(item.value or b"" for item in chunk) + b"]"
                rejected = await self._posted(http, body)
                for index, item in enumerate(chunk):
                    if (index in rejected) == item.valid:
                        raise AssertionError(f"the gateway decided otherwise on {item}")
                    if item.valid and item.event_id is not None:
                        self.ledger.by_id.add(item.event_id)
                self.ledger.accepted += len(chunk) - len(rejected)
                self.sent += len(chunk)

    async def _posted(self, http: httpx2.AsyncClient, body: bytes) -> set[int]:
        attempt = 0
        while True:
            urls = self.gateways()
            url = urls[attempt % len(urls)]
            attempt += 1
            try:
                answer = await http.post(
                    f"{url}/events", content=body, headers={"content-type": "application/json"}
                )
            except (httpx2.HTTPError, OSError) as error:
                self.ledger.retries[f"http {type(error).__name__}"] += 1
            else:
                if answer.status_code == 202:
                    return {refused["index"] for refused in answer.json()["rejected"]}
                if answer.status_code != 503:
                    raise AssertionError(f"the gateway answered {answer.status_code} {answer.text}")
                self.ledger.retries["http 503"] += 1
            await asyncio.sleep(RETRY_SECONDS)

    async def _kafka_lane(self, queue: asyncio.Queue[list[Item] | None]) -> None:
        async with self._producing() as producer:
            async for chunk in self._chunks("kafka", queue):
                by_partition: dict[int, list[Item]] = {}
                for item in chunk:
                    by_partition.setdefault(item.partition, []).append(item)
                await asyncio.gather(
                    *(
                        self._produced(producer, partition, items)
                        for partition, items in by_partition.items()
                    )
                )
                self.sent += len(chunk)

    def _producing(self) -> AIOKafkaProducer:
        return _Patient(
            bootstrap_servers=self.bootstrap(),
            acks="all",
            request_timeout_ms=5_000,
            metadata_max_age_ms=5_000,
            max_batch_size=512 * 1024,
            retry_backoff_ms=100,
        )

    async def _produced(
        self, producer: AIOKafkaProducer, partition: int, items: list[Item]
    ) -> None:
        messages = [Message(item.key, item.value, item.timestamp_ms) for item in items]
        first = await self._acknowledged(producer, partition, messages)
        for index, item in enumerate(items):
            if item.event_id is not None:
                self.ledger.by_id.add(item.event_id)
            elif first is not None:
                self.ledger.by_place.append((self.log_number(), partition, first + index))
        self.ledger.accepted += len(items)

    async def _acknowledged(
        self, producer: AIOKafkaProducer, partition: int, messages: list[Message]
    ) -> int | None:
        """Produce until acknowledged; the first record's offset, if all went in one batch."""
        while True:
            try:
                futures = [
                    await producer.send_batch(batch, ACTIVITY, partition=partition)
                    for batch in batches(producer, messages)
                ]
                # All of them, also after a failure: what is on its way must not be overtaken.
                await asyncio.gather(*futures, return_exceptions=True)
                outcomes = [future.result() for future in futures]
            except (KafkaError, OSError, TimeoutError) as error:
                self.ledger.retries[f"kafka {type(error).__name__}"] += 1
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return int(outcomes[0].offset) if len(outcomes) == 1 else None

    async def _chunks(
        self, lane: Lane, queue: asyncio.Queue[list[Item] | None]
    ) -> AsyncIterator[list[Item]]:
        idle = self.idle[lane]
        try:
            while True:
                idle.set()
                chunk = await queue.get()
                await self.waits.wait()
                idle.clear()
                if chunk is None:
                    return
                yield chunk
        finally:
            idle.set()


class _Patient(AIOKafkaProducer):  # type: ignore[misc]
    """A producer that waits for its broker to come up."""

    async def start(self) -> None:
        while True:
            with suppress(KafkaError, OSError):
                await super().start()
                return
            await asyncio.sleep(RETRY_SECONDS)


def chunks(items: Iterator[Item]) -> Iterator[tuple[Lane, list[Item]]]:
    """What a lane sends at once: at most so many records, and few of any one user."""
    open_: dict[Lane, list[Item]] = {"http": [], "kafka": []}
    counts: dict[Lane, Counter[str]] = {"http": Counter(), "kafka": Counter()}
    for item in items:
        lane = item.lane
        if len(open_[lane]) == CHUNK_ITEMS or counts[lane][item.user_id] == MOST_OF_ONE_USER:
            yield lane, open_[lane]
            open_[lane], counts[lane] = [], Counter()
        open_[lane].append(item)
        counts[lane][item.user_id] += 1
    for lane, rest in open_.items():
        if rest:
            yield lane, rest
