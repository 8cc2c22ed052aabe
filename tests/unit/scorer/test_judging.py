"""Batches of several partitions, judged as one."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from contracts.partition import SHARDS
from contracts.record import blank_records
from contracts.times import MINUTE_MS
from contracts.topics import ACTIVITY
from runtime.ledger import Mark, Marks
from runtime.metrics import WorkerMetrics
from runtime.testing import record
from scorer import judging
from scorer.judging import Case, Judge, Verdict
from scorer.messages import ScoreWriter
from scorer.reading import Here, read
from tests.fading_model import FadingModel
from tests.unit.scorer.stand import NOON, PARTITIONS, RULES, user_at


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores say when they were published."""
    monkeypatch.setattr(judging, "wall_ms", lambda: NOON)


def judge() -> Judge:
    model = FadingModel()
    writer = ScoreWriter(model, 0.7, lambda number: str(number) if number else None)
    return Judge(model, RULES, writer, WorkerMetrics(CollectorRegistry(), ACTIVITY))


def case(partition: int) -> Case:
    """Users who come, cancel, are erased, and come again after they were."""
    here = Here(1, partition, PARTITIONS, 0, UUID(int=1))
    users = [user_at(partition, number) for number in range(4)]
    told = [
        (users[number % 4], "subscription_cancelled" if number == 5 + partition else "page_view")
        for number in range(12)
    ]
    records = [
        record(
            json.dumps({"user_id": user, "type": kind, "event_id": f"{number}"}).encode(),
            key=user.encode(), partition=partition, offset=number,
            timestamp=NOON + number * MINUTE_MS,
        )
        for number, (user, kind) in enumerate(told)
    ]  # fmt: skip
    for at, number in ((9, 0), (11, 3)):
        records[at] = record(
            None, key=users[number].encode(), partition=partition, offset=at, timestamp=NOON
        )
    reading = read(records, here, Marks(partition, (Mark(1, 0),) * SHARDS), RULES)
    return Case(partition, reading, blank_records(len(reading.user_ids)))


def seen(verdict: Verdict) -> tuple[object, ...]:
    told = verdict.tombstones + verdict.scores
    return verdict.after.tobytes(), verdict.erased.tolist(), told, verdict.arrived


async def test_who_else_is_judged_makes_no_difference() -> None:
    """Records to the byte, scores and tombstones in their order, each partition's own."""
    alone = [await judge().judge(case(partition)) for partition in range(3)]
    one = judge()
    together = await asyncio.gather(*(one.judge(case(partition)) for partition in range(3)))

    assert [seen(verdict) for verdict in alone] == [seen(verdict) for verdict in together]
    assert [2, 2, 2] == [len(verdict.tombstones) for verdict in together]
    assert {0, 1, 2} == {int(v.after["outlook"]["home"].max()) for v in together}


async def test_a_batch_without_scores_has_none() -> None:
    """Of users who were erased and did not come back."""
    here = Here(1, 0, PARTITIONS, 0, UUID(int=1))
    gone = record(None, key=user_at(0).encode(), timestamp=NOON)
    reading = read([gone], here, Marks(0, (Mark(1, 0),) * SHARDS), RULES)

    verdict = await judge().judge(Case(0, reading, blank_records(1)))

    assert ([], None, 1) == (verdict.scores, verdict.arrived, len(verdict.tombstones))
    assert np.array([True]) == verdict.erased
