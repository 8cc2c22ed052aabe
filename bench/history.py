"""What the history worker costs: bytes a user in the store, and CPU time a score.

    python -m bench.history [--users 20000] [--days 30] [--batch 2000] [--redis redis://...]

The embedded store unless another is named, which is emptied. Scores are folded by the worker's own
handler, a partition's batch at a time, as they lie in the topic: users who come almost daily are
scored at each visit, users who fall silent climb the rungs of a ladder.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from bench.store import store_at
from contracts.partition import SHARDS
from contracts.scores import Attributes, ChurnScore, Evidence, Position, encode_score, score_id
from contracts.times import DAY_MS, HOUR_MS, from_ms
from contracts.topics import SCORES
from history.handler import Archive, HistoryHandler
from history.main import LEDGER
from history.settings import HistorySettings
from runtime import keys
from runtime.handler import Opening
from runtime.ledger import RedisLedger
from runtime.log_identity import Log
from runtime.metrics import WorkerMetrics
from runtime.store import connect
from runtime.testing import FakeRecord

NOON: Final = 20_000 * DAY_MS + DAY_MS // 2
RUNGS: Final = 16
HABITS: Final = ("come almost daily, 3 scores a visit", "come once, then silence", "half and half")

_Told = tuple[str, int, str, int, float]
"""User, moment, trigger, last seen, probability."""


def main() -> None:
    """Print bytes and microseconds for each habit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--batch", type=int, default=2_000)
    parser.add_argument("--redis", help="address of a store that may be emptied")
    args = parser.parse_args()
    with store_at(args.redis) as url:
        asyncio.run(_print_all(url, args.users, args.days, args.batch))


async def _print_all(url: str, users: int, days: int, batch: int) -> None:
    redis = connect(url)
    try:
        print(f"{users} users, {days} days")
        print(
            f"{'users':36} {'scores':>9} {'bytes each':>10} {'value':>6} {'counts':>8}  µs a score"
        )
        for habit in HABITS:
            # SYNC: else the server frees memory later, while we measure.
            await redis.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]
            empty = (await redis.info("memory"))["used_memory"]
            scores, took = await _fold(redis, habit, users, days, batch)
            total = (await redis.info("memory"))["used_memory"] - empty
            values = await redis.mget([keys.trail(f"user-{n}") for n in range(0, users, 20)])
            length = sum(len(value or b"") for value in values) / len(values)
            counts = await _counts(redis)
            print(
                f"{habit:36} {scores:9} {(total - counts) / users:10.0f} {length:6.0f} "
                f"{counts / 2**20:5.1f} MB  {took / scores * 1e6:.1f}"
            )
    finally:
        await redis.aclose()


async def _fold(redis: Redis, habit: str, users: int, days: int, batch: int) -> tuple[int, float]:
    """How many scores, and the CPU seconds that took."""
    settings = HistorySettings()
    ledger = RedisLedger(redis, SCORES, name=LEDGER)
    opening = Opening(Log(SCORES, 1, UUID(int=1), 1), await ledger.marks(0), 0)
    handler = HistoryHandler(
        opening,
        Archive(
            redis=redis,
            ledger=ledger,
            metrics=WorkerMetrics(CollectorRegistry(), SCORES),
            points=settings.history_points,
            retention_days=settings.retention_days,
            trail_ttl_ms=settings.trail_ttl_ms,
        ),
    )
    told, took = 0, 0.0
    records: list[FakeRecord] = []
    for each in _scores(habit, users, days):
        score = _score(each, told)
        records.append(FakeRecord(0, told, each[1], each[0].encode(), encode_score(score)))
        told += 1
        if len(records) == batch:
            took += await _handled(handler, records)
            records = []
    if records:
        took += await _handled(handler, records)
    return told, took


async def _handled(handler: HistoryHandler, records: list[FakeRecord]) -> float:
    began = time.process_time()
    await handler.handle(records)
    return time.process_time() - began


def _scores(habit: str, users: int, days: int) -> Iterator[_Told]:
    """In the order of time."""
    chance = random.Random(3)
    comes = [habit == HABITS[0] or (habit == HABITS[2] and n % 2 == 0) for n in range(users)]
    seen = [NOON] * users
    for day in range(days):
        for n in range(users):
            at = NOON + day * DAY_MS + n * 3
            if comes[n] or day == 0:
                if day and chance.random() < 0.2:
                    continue
                for visit in range(3):
                    seen[n] = at + visit * HOUR_MS
                    yield f"user-{n}", seen[n], "activity", seen[n], chance.random() * 0.2
            elif day <= RUNGS:
                yield f"user-{n}", at, "silence", seen[n], min(day / RUNGS, 0.999)


def _score(told: _Told, offset: int) -> ChurnScore:
    user, at, trigger, seen, probability = told
    position = Position(1, offset, 0)
    risk = round(probability, 6)
    return ChurnScore(
        score_id=score_id(user, position, at, trigger, "bench"),
        user_id=user,
        prediction="1" if risk >= 0.5 else "0",
        confidence=max(risk, 1 - risk),
        churn_probability=risk,
        previous_probability=None,
        scored_at=from_ms(at),
        trigger=trigger,  # type: ignore[arg-type]
        last_seen_at=from_ms(seen),
        cancelled=False,
        crossings=(),
        at_risk_at=None,
        horizon_days=14,
        model_version="bench",
        origin="a benchmark",
        evidence=Evidence(90, 30 + (seen - NOON) // DAY_MS, 22.5, ()),
        attributes=Attributes(None, None, None, None, 0.0),
        position=position,
    )


async def _counts(redis: Redis) -> int:
    """Bytes of what is counted, whatever the number of users."""
    names = [keys.population(0), *(keys.tally(shard, 0) for shard in range(SHARDS))]
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.memory_usage(name, samples=0)
        return sum(told or 0 for told in await pipe.execute())


if __name__ == "__main__":
    main()
