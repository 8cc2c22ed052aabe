"""The scorer beside Quix Streams, FastStream and arroyo over the same preloaded topic.

What a peer did is counted from outside, in the scores on its output topic: it publishes one for
every event. Ebbtide publishes one for every user in a batch, and tells its events in its metrics.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import redis
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.peers import environments
from bench.peers.environments import INSIDE, Unavailable
from bench.peers.export import Files
from bench.progress import say
from bench.stream.load import Crowd, events, fresh_scores, preload
from bench.stream.stand import Broker, Stand, cpu_seconds, running
from bench.stream.throughput import Rate, scorer_rate
from contracts.topics import ACTIVITY, SCORES
from ebbtide.child import Child

USERS: Final = 100_000
PARTITIONS: Final = 8
START_SECONDS: Final = 40.0
SETTLE_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Consumer:
    """One configuration to measure. In argv, {redis}, {folder}, {idempotent} are the run's."""

    title: str
    peer: str | None
    """The file of requirements; None: Ebbtide."""
    program: str = ""
    more: tuple[str, ...] = ()
    is_compiled: bool = False


def _both(title: str, peer: str, program: str, *more: str) -> tuple[Consumer, Consumer]:
    return (
        Consumer(f"{title}, scikit-learn", peer, program, more),
        Consumer(f"{title}, compiled model", peer, program, more, is_compiled=True),
    )


CONSUMERS: Final = (
    Consumer("Ebbtide", None),
    *_both("Quix Streams, RocksDB", "quixstreams", "quix_app.py", "{folder}", "{idempotent}"),
    *_both("FastStream, batches, Redis hashes", "faststream", "faststream_app.py", "{redis}"),
    *_both("arroyo, batches, Redis hashes", "arroyo", "arroyo_app.py", "{redis}", "{idempotent}"),
)


def measure(
    files: Files,
    folder: Path,
    consumers: Sequence[Consumer],
    *,
    broker: Broker,
    rounds: int,
    seconds: float,
    count: int,
) -> tuple[dict[str, list[Rate]], list[str]]:
    """A rate per round, by title; and a line for each consumer that could not be measured."""
    rates: dict[str, list[Rate]] = {}
    missing: dict[str, str] = {}
    with running(broker, folder) as stand:
        until = time.time_ns() // 1_000_000
        made = events(Crowd(USERS), count, until_ms=until)
        asyncio.run(preload(stand, made, partitions=PARTITIONS))
        for number in range(rounds):
            for consumer in consumers:
                if consumer.title in missing:
                    continue
                say(f"round {number + 1} of {rounds}, {broker}: {consumer.title}")
                try:
                    rate = _rate(consumer, stand, files, count, seconds)
                except (Unavailable, OSError) as error:
                    missing[consumer.title] = f"{consumer.title}: {error}".splitlines()[0]
                    continue
                rates.setdefault(consumer.title, []).append(rate)
    return {t: told for t, told in rates.items() if t not in missing}, [*missing.values()]


def figures(rates: Mapping[str, Sequence[Rate]]) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by title."""
    return {
        title: {
            "events_per_second": median(rate.per_second for rate in told),
            "slowest": min(rate.per_second for rate in told),
            "fastest": max(rate.per_second for rate in told),
            "per_cpu_second": median(rate.per_cpu_second for rate in told),
        }
        for title, told in rates.items()
    }


def _rate(consumer: Consumer, stand: Stand, files: Files, count: int, seconds: float) -> Rate:
    if consumer.peer is None:
        return scorer_rate(stand, count, partitions=PARTITIONS)
    with redis.Redis.from_url(stand.redis_url) as client:
        client.flushall()
    asyncio.run(fresh_scores(stand, PARTITIONS))
    child = _child(consumer, consumer.peer, stand, files)
    child.start()
    try:
        return asyncio.run(_watched(child, stand, count, seconds))
    finally:
        child.stop()


def _child(consumer: Consumer, peer: str, stand: Stand, files: Files) -> Child:
    group = f"{peer}-{uuid.uuid4().hex[:8]}"
    told = {
        "redis": stand.redis_url,
        "folder": str(stand.folder / group),
        "idempotent": str(stand.broker != "embedded").lower(),
    }
    python = environments.folder(peer) / "bin" / "python"
    model = files.full.with_suffix(".onnx") if consumer.is_compiled else files.full
    return Child(
        name=consumer.title,
        argv=[
            *(str(python), consumer.program, stand.bootstrap, ACTIVITY, SCORES, group),
            *(word.format(**told) for word in consumer.more),
        ],
        log=stand.folder / "peer.log",
        guard=stand.guard,
        env=stand.env(PEER_MODEL=str(model)),
        folder=INSIDE,
        grace_s=5.0,
    )


async def _watched(child: Child, stand: Stand, count: int, seconds: float) -> Rate:
    """From a moment after the first scores to the last one, or to the end of the time."""
    watcher = AIOKafkaConsumer(bootstrap_servers=stand.bootstrap)
    await watcher.start()
    places = [TopicPartition(SCORES, partition) for partition in range(PARTITIONS)]

    async def scores() -> int:
        return sum((await watcher.end_offsets(places)).values())

    try:
        deadline = time.perf_counter() + START_SECONDS
        while not await scores():
            _check(child, deadline)
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(SETTLE_SECONDS)
        first, began, cpu = await scores(), time.perf_counter(), cpu_seconds(child.pid or 0)
        deadline = began + seconds
        while (last := await scores()) < count and time.perf_counter() < deadline:
            _check(child, deadline + POLL_SECONDS)
            await asyncio.sleep(POLL_SECONDS)
        ended = time.perf_counter()
        return Rate(last - first, ended - began, cpu_seconds(child.pid or 0) - cpu, {})
    finally:
        await watcher.stop()


def _check(child: Child, deadline: float) -> None:
    if child.exit_code() is not None or time.perf_counter() > deadline:
        raise Unavailable(f"does not score: {''.join(child.last_lines(1))}")
