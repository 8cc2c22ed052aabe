"""A worker's word of itself in Redis, every few seconds: who is there, and how it gets on.

One small write per process, whatever the load. It is for people only: nothing depends on it, and
a worker goes on when it cannot be written.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final, cast

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from contracts.metrics import Metric
from contracts.topics import ACTIVITY
from contracts.workers import BEAT_SECONDS, REMEMBERED_MS, Beat, Standing
from runtime import keys
from runtime.clock import wall_ms
from runtime.health import Health
from runtime.redis_errors import redis_errors
from runtime.store import connect, text

logger = structlog.get_logger(__name__)

GOODBYE_SECONDS: Final = 1.0
FOLDS: Final = "scorer"
"""Whose records of the activity topic are events folded; others only look at them."""
_COUNTED: Final[Mapping[str, str]] = {
    Metric.RECORDS: "records",
    Metric.SCORES: "scores",
    Metric.ALERTS: "alerts",
    Metric.DELIVERIES: "deliveries",
    Metric.RECORDS_PARKED: "parked",
    Metric.RECORDS_SENT_HOME: "sent_home",
    Metric.REFUSED_WRITES: "refused",
    Metric.RESTARTS: "restarts",
}

Partitions = Callable[[], Sequence[Standing]]


class Heartbeat:
    """What one process tells of itself."""

    def __init__(
        self,
        service: str,
        registry: CollectorRegistry,
        health: Health,
        *,
        now: Callable[[], int] = wall_ms,
    ) -> None:
        """now: epoch ms."""
        self._service = service
        self._registry = registry
        self._health = health
        self._now = now
        self._since = now()
        self._host = socket.gethostname()
        self.id = f"{service}-{self._host}-{os.getpid()}-{self._since}"
        self._watched: dict[int, Partitions] = {}
        self._last: tuple[int, dict[str, float]] | None = None
        self._grew_at: dict[str, int] = {}

    @contextmanager
    def watching(self, partitions: Partitions) -> Iterator[None]:
        """Tell of these partitions, too, while the block runs."""
        number = id(partitions)
        self._watched[number] = partitions
        try:
            yield
        finally:
            del self._watched[number]

    def beat(self) -> Beat:
        """All there is to tell; rates are of the time since the last call."""
        at, totals = self._now(), self._totals()
        rates: dict[str, float] = {}
        if self._last is not None:
            before, then = self._last
            seconds = (at - before) / 1000
            if seconds > 0:
                rates = {
                    name: round((total - then.get(name, 0.0)) / seconds, 3)
                    for name, total in totals.items()
                }
        known = self._last[1] if self._last is not None else {}
        self._grew_at |= {n: at for n, total in totals.items() if total > known.get(n, 0.0)}
        self._last = at, totals
        return Beat(
            id=self.id,
            service=self._service,
            host=self._host,
            pid=os.getpid(),
            version=metadata.version("ebbtide"),
            since=self._since,
            at=at,
            reasons=self._health.reasons,
            partitions=tuple(
                standing for partitions in self._watched.values() for standing in partitions()
            ),
            totals=totals,
            rates=rates,
            grew_at=dict(self._grew_at),
        )

    async def run(self, redis: Redis) -> None:
        """Tell every BEAT_SECONDS until cancelled; then take it back."""
        told = False
        try:
            while True:
                try:
                    await write(redis, self.beat())
                    told = True
                except Exception as error:
                    # A worker does not stop for want of being seen; its health says why.
                    logger.debug("heartbeat_unheard", reason=repr(error))
                if _is_cancelled():  # Redis' client may have kept it to itself
                    return
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            if told:
                try:
                    async with asyncio.timeout(GOODBYE_SECONDS):
                        await forget(redis, self.id)
                except Exception as error:
                    logger.debug("heartbeat_left_behind", reason=repr(error))

    def _totals(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        for family in self._registry.restricted_registry(list(_COUNTED)).collect():
            for sample in family.samples:
                name = _COUNTED.get(sample.name)
                folds = self._service == FOLDS and sample.labels.get("topic") == ACTIVITY
                if name == "records" and folds:
                    name = "events"
                if name is not None:
                    totals[name] = totals.get(name, 0.0) + sample.value
        return totals


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def standing(known: Mapping[str, Any], *, topic: str, ledger: str, group: str) -> Standing:
    """What a partition's loop knows of it (`PartitionLoop.known`)."""
    return Standing(
        topic=topic,
        ledger=ledger or topic,
        group=group,
        partition=known["partition"],
        stage=known["stage"],
        still_seconds=known["still_seconds"],
        refusal=known["refusal"],
        position=known.get("position"),
        highwater=known.get("highwater"),
        log_time=known.get("log_time"),
    )


@asynccontextmanager
async def beating(redis_url: str, heartbeat: Heartbeat) -> AsyncIterator[None]:
    """Tell of the process while the block runs, over a connection of its own."""
    redis = connect(redis_url, timeout_seconds=2.0)
    task = asyncio.create_task(heartbeat.run(redis), name="heartbeat")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await redis.aclose()


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker told last, and how long ago, by the one clock of Redis."""

    beat: Beat
    seconds_ago: float


async def write(redis: Redis, beat: Beat) -> None:
    """Store a beat, and forget the names of those long unheard of; raises StoreUnavailable."""
    with redis_errors("telling that we are there"):
        async with redis.pipeline(transaction=False) as pipe:
            pipe.set(keys.worker(beat.id), msgspec.json.encode(beat), px=REMEMBERED_MS)
            pipe.zadd(keys.WORKERS, {beat.id: beat.at})
            pipe.zremrangebyscore(keys.WORKERS, "-inf", beat.at - 2 * REMEMBERED_MS)
            await pipe.execute()


async def forget(redis: Redis, worker_id: str) -> None:
    """A worker says goodbye; raises StoreUnavailable."""
    with redis_errors("saying goodbye"):
        async with redis.pipeline(transaction=False) as pipe:
            pipe.delete(keys.worker(worker_id))
            pipe.zrem(keys.WORKERS, worker_id)
            await pipe.execute()


async def read(redis: Redis) -> list[Heard]:
    """Every worker heard of within REMEMBERED_MS, by service and start.

    What a newer release tells in another form is passed over. Raises StoreUnavailable.
    """
    with redis_errors("reading who is there"):
        names = [text(cast("bytes", each)) for each in await redis.zrange(keys.WORKERS, 0, -1)]
        if not names:
            return []
        async with redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.get(keys.worker(name))
                pipe.pttl(keys.worker(name))
            answers = await pipe.execute()
    heard = []
    for stored, left_ms in zip(answers[::2], answers[1::2], strict=True):
        if stored is None:
            continue
        try:
            beat = msgspec.json.decode(stored, type=Beat)
        except msgspec.MsgspecError:
            continue
        heard.append(Heard(beat, max(REMEMBERED_MS - left_ms, 0) / 1000))
    return sorted(heard, key=lambda each: (each.beat.service, each.beat.since, each.beat.id))
