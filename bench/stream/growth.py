"""What an event costs as users, batches, partitions, features, skew and processes change."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from bench.serving.model import ITERATIONS
from bench.stream.known import Memory, fill
from bench.stream.load import Crowd, events, preload
from bench.stream.stand import Stand
from bench.stream.throughput import PARTITIONS, Rate, scorer_rate, together_rate
from contracts.times import DAY_MS
from model.artefact import Model
from model.compiled import Compiled
from model.compiling import compiled

ZIPF: Final = 1.1
_ROWS: Final = 2_000
_REPEATS: Final = 7


@dataclass(frozen=True)
class Size:
    """How much is run per point."""

    users: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    usual_users: int = 100_000
    batches: tuple[int, ...] = (100, 1_000, 4_000, 8_000)
    partitions: tuple[int, ...] = (1, 8, 32)
    features: tuple[int, ...] = (4, 12, 37, 100)
    events: int = 100_000


QUICK: Final = Size(
    users=(1_000, 10_000, 100_000),
    usual_users=10_000,
    batches=(500, 2_000),
    partitions=(1, 8),
    features=(4, 37),
    events=20_000,
)

Point = dict[str, Any]


def growth(stand: Stand, model: Model, size: Size) -> dict[str, list[Point]]:
    """Points by what varies; the middle of everything else is held."""
    usual = _Point(stand, model, size)
    # The batch sizes and the usual point read the same topic.
    usual.load(Crowd(size.usual_users), PARTITIONS)
    held = usual.run("as usual")
    batches = [usual.run(b, batch=b) for b in size.batches]
    users = []
    for count in size.users:
        # The same number acts, or batches of few users would have fewer scores.
        usual.load(Crowd(count, active=size.users[0]), PARTITIONS)
        users.append(usual.run(count, users=count))
    partitions = []
    for count in size.partitions:
        usual.load(Crowd(size.usual_users), count)
        partitions.append(usual.run(count, partitions=count))
    usual.load(Crowd(size.usual_users, ZIPF), PARTITIONS)
    skewed = usual.run(f"Zipf {ZIPF}")
    usual.load(Crowd(size.usual_users), PARTITIONS)
    strangers = usual.run("users nobody knows", users=0)
    usual.load(Crowd(size.usual_users), PARTITIONS, span_ms=2 * DAY_MS)
    silent = usual.run("two days of log, to the last timer", users=0, timers=True)
    return {
        "users": users,
        "batch": batches,
        "partitions": partitions,
        "processes": [usual.share(processes) for processes in (1, 2)],
        "kind": [held, skewed, strangers, silent],
        "features": [_features(count) for count in size.features],
    }


class _Point:
    def __init__(self, stand: Stand, model: Model, size: Size) -> None:
        self._stand = stand
        self._model = model
        self._size = size
        self._now_ms = 0

    def load(self, crowd: Crowd, partitions: int, span_ms: int = 60_000) -> None:
        self._now_ms = int(time.time() * 1000)
        made = events(crowd, self._size.events, until_ms=self._now_ms, span_ms=span_ms)
        asyncio.run(preload(self._stand, made, partitions=partitions))

    def run(
        self,
        x: Any,
        *,
        users: int | None = None,
        partitions: int = PARTITIONS,
        batch: int | None = None,
        timers: bool = False,
    ) -> Point:
        """users: how many the store knows, None for the usual number; timers: wait for all due."""
        known = self._size.usual_users if users is None else users
        memory = None
        if known:
            memory = fill(
                self._stand, known, self._model, partitions=partitions, now_ms=self._now_ms
            )
        rate = scorer_rate(
            self._stand,
            self._size.events,
            partitions=partitions,
            batch=batch,
            keep=known > 0,
            timers=timers,
        )
        return _told(x, rate, memory)

    def share(self, processes: int) -> Point:
        """Scorers that share the partitions."""
        now_ms = int(time.time() * 1000)
        users, count = self._size.usual_users, self._size.events
        fill(self._stand, users, self._model, partitions=PARTITIONS, now_ms=now_ms)
        made = events(Crowd(users), count, until_ms=now_ms)
        return _told(processes, together_rate(self._stand, made, count, processes), None)


def _told(x: Any, rate: Rate, memory: Memory | None) -> Point:
    point: Point = {
        "x": x,
        "events_per_second": rate.per_second,
        "cpu_us": 1e6 / rate.per_cpu_second,
        "scores_per_event": rate.scores / rate.events,
    }
    if memory is not None:
        point["bytes"] = {
            "total": memory.total,
            "record": memory.record,
            "timer": memory.timer,
            "rank": memory.rank,
        }
    return point


def _features(count: int) -> Point:
    """CPU time of the compiled model for one row of `count` columns, in batches."""
    random = np.random.default_rng(count)
    rows = random.lognormal(2.0, 1.5, (10_000, count))
    label = np.log(rows).mean(axis=1) + random.logistic(0, 0.3, len(rows)) > 2.0
    trees = HistGradientBoostingClassifier(
        max_iter=ITERATIONS, early_stopping=False, random_state=5
    ).fit(rows, label)
    content = compiled(trees)
    assert content is not None
    graph = Compiled(content)
    batch = rows[:_ROWS]
    took = []
    for _ in range(_REPEATS):
        began = time.process_time()
        graph.log_odds(batch)
        took.append(time.process_time() - began)
    return {"x": count, "cpu_us": float(np.median(took)) / _ROWS * 1e6}
