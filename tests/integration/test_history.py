"""The history worker between a real Kafka and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

from contracts import history as stored
from contracts.bands import CELLS, band_of
from contracts.partition import SHARDS, home
from contracts.scores import ChurnScore, encode_score
from contracts.times import to_ms
from contracts.topics import SCORES
from ebbtide.ports import free_port
from history import main
from history.settings import HistorySettings
from runtime import history, keys, population, service
from runtime import kafka as kafka_clients
from runtime.handler import OpenPartition
from runtime.kafka import Message, Publisher, ensure_topics
from runtime.ledger import Effects, Ledger, Mark, Marks
from runtime.service import Parts
from runtime.store import connect, text
from tests.churn_scores import churn_score
from tests.integration.pipeline import eventually
from tests.servers import KafkaServer, RedisServer

PARTITIONS = 2
USERS = [f"user-{number}" for number in range(30)]
RISKS = (0.05, 0.4, 0.8)


class Killed(Exception):
    """The process is gone: nothing it would have done after this happens."""


@dataclass
class DyingLedger:
    """Kills the worker once it has saved so often, before or after a write."""

    real: Ledger
    saves: int
    writes: bool

    async def marks(self, partition: int) -> Marks:
        return await self.real.marks(partition)

    async def save(self, expected: Marks, to: Mark, clock_ms: int, effects: Effects) -> Marks:
        self.saves -= 1
        if self.saves >= 0:
            return await self.real.save(expected, to, clock_ms, effects)
        if self.writes:
            await self.real.save(expected, to, clock_ms, effects)
        raise Killed


@asynccontextmanager
async def worker(
    settings: HistorySettings, change: Callable[[Parts], Parts] = lambda parts: parts
) -> AsyncIterator[asyncio.Task[None]]:
    """A worker in this process; its death is for who awaits the task."""
    stop = asyncio.Event()

    async def prepare(parts: Parts) -> OpenPartition:
        return main.opener(settings, change(parts))

    task = asyncio.create_task(service.work(settings, stop, main.job(settings), prepare))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


async def test_killed_before_and_after_its_save_the_worker_counts_everybody_once(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """
    Deaths and repeated scores leave counts that are those of the trails, and of what was said.
    """
    settings = HistorySettings(
        kafka_bootstrap_servers=clean_kafka.bootstrap,
        kafka_idempotence=clean_kafka.idempotence,
        redis_url=clean_redis.url,
        session_timeout_ms=10_000 if clean_kafka.idempotence else 1_000,
        partitions=PARTITIONS,
        history_health_port=free_port(),
        # These users were last seen years ago: by the wall's clock they have expired.
        clock="stream",
    )
    redis = connect(clean_redis.url)
    published = 0

    async def publish(*scores: ChurnScore) -> None:
        nonlocal published
        producer = await service.started(kafka_clients.producer(settings))
        try:
            for score in scores:
                moment = to_ms(score.scored_at)
                message = Message(score.user_id.encode(), encode_score(score), moment)
                place = home(score.user_id, PARTITIONS)
                await Publisher(producer).publish(SCORES, place, [message])
                published += 1
        finally:
            await producer.stop()

    async def caught_up() -> bool:
        marks = [
            await redis.hget(keys.marks(shard, main.LEDGER), str(partition))
            for shard in range(SHARDS)
            for partition in range(PARTITIONS)
        ]
        known = [0 if mark is None else Mark.parse(text(mark)).offset for mark in marks]
        return sum(known) == SHARDS * published

    try:
        await ensure_topics(settings, (SCORES,))
        rounds = [
            [replace_risk(risk, day, user_id, number) for number, user_id in enumerate(USERS)]
            for day, risk in enumerate(RISKS)
        ]
        for number, scores in enumerate(rounds):
            await publish(*scores)
            mortal = DyingLedger(cast("Ledger", None), 1, writes=number == 1)

            def dying(parts: Parts, mortal: DyingLedger = mortal) -> Parts:
                mortal.real = parts.ledger
                return replace(parts, ledger=mortal)

            async with worker(settings, dying) as task:
                await asyncio.wait({task}, timeout=20)
                assert isinstance(task.exception(), Killed)
        await publish(*rounds[0], *rounds[2])
        async with worker(settings):
            await eventually(caught_up)

        courses = await population.read(redis, hours=0, days=0)
        counts = [sum(cell) for cell in zip(*(each.now.counts for each in courses), strict=True)]
        recount = [0] * CELLS
        for user_id in USERS:
            recount[stored.decode(await redis.get(keys.trail(user_id)) or b"").cell] += 1
        assert recount == counts
        assert len(USERS) == counts[band_of(RISKS[-1])]
        told = await history.read(redis, USERS[0])
        assert told is not None
        assert list(RISKS) == [point.probability for point in told.points]
    finally:
        await redis.aclose()


def replace_risk(risk: float, day: int, user_id: str, number: int) -> ChurnScore:
    return churn_score(risk, day + number / 100, user_id=user_id, offset=day)
