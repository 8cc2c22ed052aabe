"""What the scorer itself spends on a batch, step by step: processor time, nothing waited for.

Each step is what `scorer/handler.py` calls, on made-up batches of users whom the store knows, each
of whom sends one event. What is left out is what the clients of Kafka and Redis, the event loop and
the kernel take to move the bytes.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast
from uuid import UUID

import numpy as np
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from bench.stream.known import known_records
from bench.stream.load import event, user_name
from contracts import packing
from contracts.activity import FoldRules
from contracts.partition import homes
from contracts.topics import ACTIVITY
from model.artefact import Model
from runtime import kafka
from runtime.kafka import Message
from runtime.ledger import Effects, Mark, Marks, RedisLedger
from runtime.metrics import WorkerMetrics
from runtime.records import unpack
from runtime.service import GARBAGE_OBJECTS
from runtime.testing import FakeRecord
from scorer.judging import Case, Judge
from scorer.keeping import keep
from scorer.messages import ScoreWriter
from scorer.reading import Here, read

SIZES: Final = (4_000, 10)
PARTITIONS: Final = 8
EVENTS: Final = 40_000
"""Of each size, at least; one batch of each goes before."""
LEAST_ROUNDS: Final = 5
_PLACE: Final = TopicPartition(ACTIVITY, 0)
STEPS: Final = {
    "parse": "records out of a fetch (aiokafka)",
    "read": "read events",
    "unpack": "unpack users' records",
    "fold": "fold",
    "score": "score",
    "write": "write scores as JSON",
    "keep": "records, timers and ranks to save",
    "save": "the save as one script call",
    "pack": "scores into batches for Kafka (aiokafka, snappy)",
}


def steps(model: Model) -> list[dict[str, Any]]:
    """By size of a batch: microseconds an event in each of STEPS."""
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE_OBJECTS)  # as a worker does
    try:
        return [{"size": size, **asyncio.run(_measured(model, size))} for size in SIZES]
    finally:
        gc.set_threshold(*before)


async def _measured(model: Model, size: int) -> dict[str, float]:
    bench = _Bench(model, size)
    await bench.round(defaultdict(float))
    spent: defaultdict[str, float] = defaultdict(float)
    rounds = max(EVENTS // size, LEAST_ROUNDS)
    for _ in range(rounds):
        await bench.round(spent)
    return {step: spent[step] / (rounds * size) * 1e6 for step in STEPS}


class _Bench:
    """One partition's batch, again and again."""

    def __init__(self, model: Model, size: int) -> None:
        numbers = _at_home(size)
        now_ms = int(time.time() * 1000)
        self._users = [user_name(number) for number in numbers.tolist()]
        self._metrics = WorkerMetrics(CollectorRegistry(), ACTIVITY)
        writer = ScoreWriter(model, 0.7, lambda _: None)
        self._judge = Judge(model, FoldRules(), writer, self._metrics)
        self._ledger = RedisLedger(cast("Redis", _Nowhere()), ACTIVITY)
        self._marks = Marks(0, (Mark(1, 0),) * 16)
        self._here = Here(1, 0, PARTITIONS, 0, UUID(int=1))
        self._stored = packing.pack(known_records(numbers, model, np.zeros(size, np.int64), now_ms))
        events = [
            Message(user.encode(), event(user, n, now_ms), now_ms)
            for n, user in enumerate(self._users)
        ]
        self._fetched = [batch._build() for batch in kafka.batches(_Batches(None), events)]
        self._records = [
            FakeRecord(0, n, now_ms, one.key, one.value, []) for n, one in enumerate(events)
        ]

    async def round(self, spent: defaultdict[str, float]) -> None:
        with _timed(spent, "parse"):
            for data in self._fetched:
                _parsed(bytes(data))
        with _timed(spent, "read"):
            reading = read(self._records, self._here, self._marks, self._judge.rules)
        with _timed(spent, "unpack"):
            before = unpack(self._stored)
        judged = self._stages()
        verdict = await self._judge.judge(Case(0, reading, before))
        for stage, seconds in self._stages().items():
            spent[stage] += seconds - judged.get(stage, 0.0)
        effects = Effects()
        with _timed(spent, "keep"):
            keep(
                effects, reading.user_ids, verdict.after, generation=1,
                homes=[0] * len(reading.user_ids), gone=verdict.erased, ttl_ms=None,
            )  # fmt: skip
        with _timed(spent, "save"):
            await self._ledger.save(self._marks, Mark(1, 1), 1, effects)
        with _timed(spent, "pack"):
            for batch in kafka.batches(_Batches("snappy"), verdict.scores):
                batch._build()

    def _stages(self) -> dict[str, float]:
        """Seconds in each stage of judging so far."""
        return {
            sample.labels["stage"]: sample.value
            for metric in self._metrics.stage_seconds.collect()
            for sample in metric.samples
            if sample.name.endswith("_sum")
        }


@contextmanager
def _timed(spent: defaultdict[str, float], step: str) -> Iterator[None]:
    began = time.thread_time()
    yield
    spent[step] += time.thread_time() - began


def _at_home(count: int) -> np.ndarray:
    """(count,) numbers of users of the first partition."""
    numbers = np.arange(count * PARTITIONS * 2)
    names = [user_name(number) for number in numbers.tolist()]
    found: np.ndarray = numbers[homes(names, PARTITIONS) == 0][:count]
    return found


def _parsed(data: bytes) -> list[Any]:
    return list(PartitionRecords(_PLACE, MemoryRecords(data), [], 0, None, None, True, 0))


class _Batches(AIOKafkaProducer):  # type: ignore[misc]
    """Makes batches and sends none."""

    def __init__(self, compression: str | None) -> None:
        self._codec = {None: 0, "snappy": 2}[compression]

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(kafka.MAX_BATCH_BYTES, self._codec)

    def __del__(self, _warnings: object = None) -> None:
        return


class _Nowhere:
    """A Redis that answers every script as if it had been done."""

    def register_script(self, _script: str) -> Callable[..., Any]:
        async def done(keys: Sequence[str], args: Sequence[Any]) -> list[bytes]:
            return [b""]

        return done
