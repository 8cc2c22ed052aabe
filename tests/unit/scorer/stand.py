"""A scorer for one partition on doubles, with a model whose answers are easy to foretell."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import numpy as np
from prometheus_client import CollectorRegistry

from contracts.activity import FoldRules
from contracts.events import EVENT_ROW, ActivityEvent, LogPlace, row
from contracts.partition import home
from contracts.record import blank_facts
from contracts.scores import ChurnScore, decode_score
from contracts.times import DAY_MS
from contracts.topics import ACTIVITY, CLOCK_HEADER, SCORES
from model.fold import fold
from runtime.dead_letters import DeadLetters
from runtime.handler import Opening
from runtime.health import Health
from runtime.log_identity import Log
from runtime.metrics import WorkerMetrics
from runtime.records import RecordStore
from runtime.testing import FakeLedger, FakePublisher, FakeRecord, FakeRedis, record
from runtime.timers import TimerIndex
from scorer.activation import Activation
from scorer.handler import PartitionScorer, Tools
from scorer.judging import Judge
from scorer.messages import ScoreWriter
from scorer.names import Names
from tests.fading_model import FadingModel

NOON = 1_790_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
RULES = FoldRules()
PARTITIONS = 4


class Stand:
    """One partition, its Redis and its Kafka; `opened` gives a fresh worker on the same store."""

    def __init__(
        self,
        *,
        partition: int = 0,
        log: int = 1,
        spread_ms: int = 0,
        record_ttl_ms: int | None = None,
    ) -> None:
        self.partition = partition
        self.log = log
        self.spread_ms = spread_ms
        self.record_ttl_ms = record_ttl_ms
        self.redis = FakeRedis()
        self.ledger = FakeLedger(self.redis, ACTIVITY)
        self.publisher = FakePublisher(PARTITIONS)
        self.health = Health()
        self.model = FadingModel()
        self.records = RecordStore(self.redis.client)
        self.offset = 0

    async def opened(self) -> PartitionScorer:
        client = self.redis.client
        timers = TimerIndex(client, self.partition)
        names = Names(client)
        await names.load()
        metrics = WorkerMetrics(CollectorRegistry(), ACTIVITY)
        writer = ScoreWriter(self.model, 0.7, names.name)
        tools = Tools(
            judge=Judge(self.model, RULES, writer, metrics),
            ledger=self.ledger,
            publisher=self.publisher,
            dead_letters=DeadLetters(self.publisher, client, ACTIVITY, self.health),
            names=names,
            metrics=metrics,
            record_ttl_ms=self.record_ttl_ms,
        )
        opening = Opening(
            Log(ACTIVITY, self.log, UUID(int=self.log), PARTITIONS),
            await self.ledger.marks(self.partition),
            beginning=0,
        )
        activation = Activation(client, self.partition, timers, self.model.version, self.spread_ms)
        return PartitionScorer(opening, tools, self.records, timers, activation)

    def event(self, at: int, *, log_time: int | None = None, **fields: Any) -> FakeRecord:
        """The next record of the log: an event that occurred at `at`."""
        fields = {
            "user_id": user_at(self.partition),
            "type": "page_view",
            "occurred_at": at,
        } | fields
        return self.raw(json.dumps(fields).encode(), at if log_time is None else log_time)

    def raw(self, value: bytes | None, at: int, **more: Any) -> FakeRecord:
        """The next record of the log, with any value."""
        made = record(value, partition=self.partition, offset=self.offset, timestamp=at, **more)
        self.offset += 1
        return made

    def tick(self, at: int) -> FakeRecord:
        """The next record of the log: time alone."""
        return self.raw(b"", at, headers=[(CLOCK_HEADER, b"")])

    def scores(self) -> list[ChurnScore]:
        return [
            decode_score(message.value)
            for message in self.publisher.of(SCORES)
            if message.value is not None
        ]

    async def facts(self, user_id: str) -> np.ndarray:
        return (await self.records.load([user_id]))["facts"]


async def settle(scorer: PartitionScorer, clock_ms: int) -> None:
    """Sweep until nothing more is due by `clock_ms`."""
    while await scorer.sweep(clock_ms):
        pass


def user_at(partition: int, number: int = 0) -> str:
    """The `number`-th user whose home is `partition`."""
    at_home = (f"user-{i}" for i in range(10_000) if home(f"user-{i}", PARTITIONS) == partition)
    return next(user for i, user in enumerate(at_home) if i == number)


def offline(records: list[FakeRecord], user_id: str, log: int = 1) -> np.ndarray:
    """(1,) FACTS of one user by folding the log at once, without any of the plumbing."""
    rows = []
    for one in records:
        event = ActivityEvent(**json.loads(one.value or b"{}"))
        if event.user_id == user_id:
            rows.append(row(event, LogPlace(log, one.partition, one.offset, one.timestamp), RULES))
    return fold(blank_facts(1), np.array(rows, EVENT_ROW), np.zeros(len(rows), np.intp), RULES)
