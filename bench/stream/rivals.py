"""Consumers of the same topic that do less than the scorer, and the one most people would write.

    python -m bench.stream.rivals decode|ceiling|naive BOOTSTRAP REDIS_URL EVENTS SECONDS

Reads from the beginning and prints how far it came: events, seconds, CPU seconds, as JSON. Settings
of the consumer are those of the scorer, and decoding is that of its event without its checks.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from contracts.events import ActivityEvent
from contracts.topics import ACTIVITY, SCORES
from model import artefact
from model.features import FEATURES

BATCH: Final = 2_000


class Total:
    """What the ceiling's fold keeps of a user."""

    __slots__ = ("events", "last_seen", "minutes", "pages")

    def __init__(self) -> None:
        self.events = self.pages = self.last_seen = 0
        self.minutes = 0.0


async def decode(consumer: AIOKafkaConsumer) -> AsyncIterator[int]:
    """Fetch and decode, nothing else."""
    decoder = msgspec.json.Decoder(ActivityEvent)
    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        yield sum(len([decoder.decode(r.value) for r in part]) for part in fetched.values())


async def ceiling(consumer: AIOKafkaConsumer) -> AsyncIterator[int]:
    """Fetch, decode, group by user, fold in memory and commit: nothing is scored or kept."""
    decoder = msgspec.json.Decoder(ActivityEvent)
    totals: defaultdict[str, Total] = defaultdict(Total)
    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        done = 0
        for part in fetched.values():
            of_user: defaultdict[str, list[tuple[ActivityEvent, int]]] = defaultdict(list)
            for record in part:
                event = decoder.decode(record.value)
                of_user[event.user_id].append((event, record.timestamp))
            for user_id, events in of_user.items():
                total = totals[user_id]
                for event, at in events:
                    total.events += 1
                    total.pages += event.pages_visited or 0
                    total.minutes += event.time_spent or 0.0
                    total.last_seen = max(total.last_seen, at)
            done += len(part)
        if done:
            await consumer.commit({tp: p[-1].offset + 1 for tp, p in fetched.items()})
        yield done


async def naive(
    consumer: AIOKafkaConsumer, redis: Redis, producer: AIOKafkaProducer
) -> AsyncIterator[int]:
    """An event at a time: totals in a Redis hash, scikit-learn for one row, a score sent."""
    estimator = artefact.load(Path(os.environ["EBBTIDE_MODEL_DIR"])).full
    async for record in consumer:
        event: dict[str, Any] = json.loads(record.value)
        key = f"user:{event['user_id']}"
        async with redis.pipeline(transaction=False) as pipe:
            pipe.hincrby(key, "events", 1)
            pipe.hincrby(key, "pages", event.get("pages_visited") or 0)
            pipe.hincrbyfloat(key, "minutes", event.get("time_spent") or 0.0)
            pipe.hset(key, "last_seen", str(record.timestamp))
            events, pages, minutes, _ = await pipe.execute()
        row = np.zeros((1, len(FEATURES)))
        row[0, :3] = events, pages, minutes
        churn = float(estimator.predict_proba(row)[0, 1])
        score = {"user_id": event["user_id"], "churn_probability": round(churn, 6)}
        await producer.send(SCORES, json.dumps(score).encode(), key=record.key)
        yield 1


async def _run(
    name: str, bootstrap: str, url: str, events: int, seconds: float
) -> dict[str, float]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=f"bench-{name}-{os.getpid()}" if name == "ceiling" else None,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 * 1024 * 1024,
        session_timeout_ms=int(os.environ["EBBTIDE_SESSION_TIMEOUT_MS"]),
        heartbeat_interval_ms=200,
    )
    await consumer.start()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    redis = Redis.from_url(url)
    try:
        if name == "ceiling":
            consumer.subscribe([ACTIVITY])
        else:
            partitions = await producer.partitions_for(ACTIVITY)
            consumer.assign([TopicPartition(ACTIVITY, p) for p in sorted(partitions)])
            await consumer.seek_to_beginning()
        work: AsyncIterator[int]
        match name:
            case "decode":
                work = decode(consumer)
            case "ceiling":
                work = ceiling(consumer)
            case _:
                work = naive(consumer, redis, producer)
        return await _timed(work, events, seconds)
    finally:
        await consumer.stop()
        await producer.stop()
        await redis.aclose()


async def _timed(work: AsyncIterator[int], events: int, seconds: float) -> dict[str, float]:
    """From the end of the first batch (its wait is for connections) to the end or the time."""
    began = cpu = 0.0
    done = 0
    async for count in work:
        if not began:
            if count:
                events -= count
                began, cpu = time.perf_counter(), time.process_time()
            continue
        done += count
        if done >= events or time.perf_counter() - began > seconds:
            break
    return {
        "events": done,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
    }


def _arguments() -> Iterator[Any]:
    name, bootstrap, url, events, seconds = sys.argv[1:]
    yield from (name, bootstrap, url, int(events), float(seconds))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(*_arguments()))))
