"""Replay a recorded log through the real pipeline, and compare every user with the offline fold.

    python -m bench.replay_log LOG.parquet --model DIR [--partitions 8]

Starts an embedded broker and store, replays the log into Kafka, then starts the scorer and the
alerts worker as processes of their own on a stream clock, and measures how long they take to the
end of the log. Then every user's facts in Redis are compared, byte for byte, with folding Kafka's
log offline, and (bookkeeping apart) with folding the file itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from contracts.activity import FoldRules
from contracts.events import EVENT_ROW, LogPlace, decode, row
from contracts.partition import SHARDS
from contracts.record import BOOKKEEPING, FACTS, RECORD, blank_facts
from contracts.topics import ACTIVITY, ALERTS, CLOCK_HEADER, SCORES
from ebbtide import embedded
from ebbtide.child import Child
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, free_port
from model.event_log import load_event_log
from model.fold import fold
from runtime import keys
from runtime.arrivals import Arrivals
from runtime.kafka import at_end
from runtime.ledger import Mark
from runtime.records import RecordStore

RULES = FoldRules()
PAGE = 5_000


def main() -> int:
    """Run it; 1 when any user differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("log", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--partitions", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _run(args, Path(folder))


def _run(args: argparse.Namespace, folder: Path) -> int:
    guard = Guard()
    kafka_port, redis_port = free_port(), free_port()
    env = os.environ | {
        "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{kafka_port}",
        "EBBTIDE_KAFKA_IDEMPOTENCE": "false",
        "EBBTIDE_SESSION_TIMEOUT_MS": "3000",
        "EBBTIDE_REDIS_URL": f"redis://{LOOPBACK}:{redis_port}/0",
        "EBBTIDE_PARTITIONS": str(args.partitions),
        "EBBTIDE_CLOCK": "stream",
        "EBBTIDE_MODEL_DIR": str(args.model.resolve()),
        "EBBTIDE_SCORER_HEALTH_PORT": str(free_port()),
        "EBBTIDE_ALERTS_HEALTH_PORT": str(free_port()),
        "EBBTIDE_LOG_LEVEL": "warning",
    }
    children = [
        embedded.broker(kafka_port, folder=folder, guard=guard),
        embedded.store(redis_port, data=folder / "valkey", log_folder=folder, guard=guard),
    ]
    try:
        for child in children:
            child.start()
        time.sleep(0.5)
        started = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", "ebbtide", "replay", *map(str, args.log)),
                *("--kafka", env["EBBTIDE_KAFKA_BOOTSTRAP_SERVERS"]),
                *("--resume-file", str(folder / "resume.json")),
            ],
            check=True,
            env=env,
        )
        replayed_s = time.perf_counter() - started
        workers = [_worker(name, env, folder, guard) for name in ("scorer", "alerts")]
        children += workers
        return asyncio.run(_measure(args, env, workers, replayed_s))
    finally:
        for child in reversed(children):
            child.stop()
        guard.close()


def _worker(name: str, env: dict[str, str], folder: Path, guard: Guard) -> Child:
    return Child(
        name=name,
        argv=[sys.executable, "-m", "ebbtide", name],
        log=folder / f"{name}.log",
        guard=guard,
        env=env,
        folder=Path.cwd(),
        is_ready=lambda: True,
        grace_s=20.0,
    )


async def _measure(
    args: argparse.Namespace, env: dict[str, str], workers: list[Child], replayed_s: float
) -> int:
    bootstrap = env["EBBTIDE_KAFKA_BOOTSTRAP_SERVERS"]
    log = await _whole_log(bootstrap, ACTIVITY, args.partitions)
    ends = {p: max(r.offset for r in log if r.partition == p) + 1 for p in range(args.partitions)}
    redis = Redis.from_url(env["EBBTIDE_REDIS_URL"])
    for worker in workers:
        worker.start()
    first = None
    while True:
        for worker in workers:
            if not worker.is_running():
                print("\n".join(worker.last_lines(40)))
                return 1
        done = await _handled(redis, ends)
        if done and first is None:
            first, already = time.perf_counter(), done
        if done >= sum(ends.values()):
            break
        await asyncio.sleep(0.02)
    scored_s = time.perf_counter() - (first or 0.0)

    offline = _fold_records(log)
    names = sorted(offline)
    stored = await _stored(redis, names)
    different = sum(stored[name].tobytes() != offline[name].tobytes() for name in names)
    from_file = _fold_file(args.log)
    unlike = sum(not _same_behaviour(stored[name], from_file[name]) for name in from_file)
    scores = await _whole_log(bootstrap, SCORES, args.partitions)
    alerts = await _whole_log(bootstrap, ALERTS, args.partitions)
    sample = [keys.record(name) for name in names[:: max(len(names) // 500, 1)]]
    bytes_each = np.mean([await redis.memory_usage(key) for key in sample])
    triggers = [b'"trigger":"silence"' in record.value for record in scores]
    await redis.aclose()

    print(f"events                     {len(log):>12,}")
    print(f"users                      {len(names):>12,}")
    print(f"replay into Kafka          {len(log) / replayed_s:>12,.0f} events/s, reading included")
    print(
        f"scorer and timers          {(sum(ends.values()) - already) / scored_s:>12,.0f} events/s"
    )
    print(f"scores published           {len(scores):>12,} ({sum(triggers):,} by silence)")
    print(f"alerts published           {len(alerts):>12,}")
    print(f"record                     {RECORD.itemsize:>12,} bytes, {bytes_each:.0f} in Redis")
    print(f"users unlike Kafka's log   {different:>12,}")
    print(f"users unlike the file      {unlike:>12,}")
    return 1 if different or unlike else 0


async def _handled(redis: Redis, ends: dict[int, int]) -> int:
    """Records whose effects every shard holds."""
    async with redis.pipeline(transaction=False) as pipe:
        for shard in range(SHARDS):
            pipe.hmget(keys.marks(shard, ACTIVITY), [str(p) for p in ends])
        marks = await pipe.execute()
    return sum(
        min(Mark.parse(row[i].decode()).offset if row[i] else 0 for row in marks)
        for i in range(len(ends))
    )


async def _whole_log(bootstrap: str, topic: str, partitions: int) -> list:  # type: ignore[type-arg]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none")
    await consumer.start()
    assigned = [TopicPartition(topic, p) for p in range(partitions)]
    consumer.assign(assigned)
    await consumer.seek_to_beginning(*assigned)
    records: list = []  # type: ignore[type-arg]
    while not await at_end(consumer, assigned):
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            records += batch
    await consumer.stop()
    return records


def _fold_records(records: list) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    index: dict[str, int] = {}
    rows, user = [], []
    arrivals: defaultdict[int, Arrivals] = defaultdict(Arrivals)
    for record in sorted(records, key=lambda record: (record.partition, record.offset)):
        if any(name == CLOCK_HEADER for name, _ in record.headers):
            continue
        event = decode(record.value)
        if arrivals[record.partition].is_repeat(event.user_id, record.headers):
            continue
        place = LogPlace(1, record.partition, record.offset, record.timestamp)
        rows.append(row(event, place, RULES))
        user.append(index.setdefault(event.user_id, len(index)))
    facts = fold(blank_facts(len(index)), np.array(rows, EVENT_ROW), np.array(user), RULES)
    return {name: facts[i] for name, i in index.items()}


def _fold_file(paths: list[Path]) -> dict[str, np.ndarray]:
    log = load_event_log(paths, RULES)
    facts = fold(blank_facts(len(log.user_ids)), log.rows, log.user, RULES)
    return {name: facts[i] for i, name in enumerate(log.user_ids)}


def _same_behaviour(one: np.ndarray, other: np.ndarray) -> bool:
    names = [name for name in FACTS.names or () if name not in BOOKKEEPING]
    return all(np.array_equal(one[name], other[name]) for name in names)


async def _stored(redis: Redis, names: list[str]) -> dict[str, np.ndarray]:
    store = RecordStore(redis)
    found = {}
    for start in range(0, len(names), PAGE):
        page = names[start : start + PAGE]
        records = await store.load(page)
        found |= {name: records["facts"][i] for i, name in enumerate(page)}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
