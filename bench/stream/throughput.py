"""The scorer over a preloaded topic, seen from outside: its own metrics, its process's CPU time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

import redis

from bench.stream.load import fresh_scores, preload, produce
from bench.stream.stand import Sample, Stand, Worker, worker
from runtime.kafka import Message

PARTITIONS: Final = 8
POLL_SECONDS: Final = 0.1
START_SECONDS: Final = 60.0
DONE_SECONDS: Final = 600.0
SILENT_SECONDS: Final = 2.0
"""Without a score: nothing more is due."""
JOIN_SECONDS: Final = 6.0
"""Until a second member of a group surely has its partitions."""


@dataclass(frozen=True)
class Rate:
    """What one run came to."""

    events: float
    seconds: float
    cpu_seconds: float
    """Of the process or processes measured, not of the servers."""
    stages: Mapping[str, float]
    """Seconds by stage, awaited time included; empty for what has no stages."""
    scores: float = 0.0

    @property
    def per_second(self) -> float:
        return self.events / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.events / self.cpu_seconds


def scorer_rate(
    stand: Stand,
    count: int,
    *,
    partitions: int = 8,
    batch: int | None = None,
    keep: bool = False,
    timers: bool = False,
) -> Rate:
    """Run a scorer over the `count` preloaded events, from its first batch to its last save.

    keep: leave the records in the store as they are; a store without watermarks is read from the
    beginning either way. timers: the run goes on until no more of them fire, to the last score.
    """
    if not keep:
        with redis.Redis.from_url(stand.redis_url) as client:
            client.flushall()
    asyncio.run(fresh_scores(stand, partitions))
    with worker(stand, "scorer", batch=batch) as scorer:
        before = _samples([scorer])
        now = before
        while not now[0].stages:
            before, now = now, _samples([scorer])
        done = _done([scorer], count)
        return _between(before, _silent([scorer], done) if timers else done)


def together_rate(stand: Stand, messages: Iterator[Message], count: int, processes: int) -> Rate:
    """Let scorers share a topic that is filled while they are held, and go on all at once.

    Otherwise the first to start would have read much of it before the last had joined.
    """
    asyncio.run(preload(stand, iter(()), partitions=PARTITIONS))
    with ExitStack() as stack:
        workers = [
            stack.enter_context(worker(stand, "scorer", EBBTIDE_SESSION_TIMEOUT_MS="10000"))
            for _ in range(processes)
        ]
        deadline = time.monotonic() + START_SECONDS
        while not all(each.is_ready() for each in workers):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the scorers do not start:\n{workers[0].child.last_lines()}")
            time.sleep(POLL_SECONDS)
        time.sleep(JOIN_SECONDS)
        before = _samples(workers)
        for each in workers:
            os.kill(each.child.pid or 0, signal.SIGSTOP)
        try:
            asyncio.run(produce(stand, messages, partitions=PARTITIONS))
        finally:
            for each in workers:
                os.kill(each.child.pid or 0, signal.SIGCONT)
        began = time.perf_counter()
        return _between([replace(one, at=began) for one in before], _done(workers, count))


def _samples(workers: Sequence[Worker]) -> list[Sample]:
    """One of each, once all answer."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        time.sleep(POLL_SECONDS)
        samples = [found for each in workers if (found := each.sample()) is not None]
        if len(samples) == len(workers):
            return samples
        if time.monotonic() > deadline:
            raise RuntimeError(f"the scorer does not answer:\n{workers[0].child.last_lines()}")


def _done(workers: Sequence[Worker], count: int) -> list[Sample]:
    """The samples once all events are saved: in between, batches under way would blur them."""
    deadline = time.monotonic() + DONE_SECONDS
    now = _samples(workers)
    while sum(sample.records for sample in now) < count:
        now = _samples(workers)
        if time.monotonic() > deadline:
            raise RuntimeError(f"the scorer does not end:\n{workers[0].child.last_lines()}")
    return now


def _silent(workers: Sequence[Worker], now: list[Sample]) -> list[Sample]:
    """The samples at the last score, once none has come for a while."""
    last, deadline = now, time.monotonic() + DONE_SECONDS
    while max(one.at for one in now) - max(one.at for one in last) < SILENT_SECONDS:
        now = _samples(workers)
        if [one.scores for one in now] != [one.scores for one in last]:
            last = now
        if time.monotonic() > deadline:
            raise RuntimeError(f"timers fire without end:\n{workers[0].child.last_lines()}")
    return last


def _between(before: Sequence[Sample], after: Sequence[Sample]) -> Rate:
    def grown(what: Callable[[Sample], float]) -> float:
        return sum(map(what, after)) - sum(map(what, before))

    stages = {
        stage: sum(s.stages.get(stage, 0.0) for s in after)
        - sum(s.stages.get(stage, 0.0) for s in before)
        for stage in after[0].stages
    }
    return Rate(
        grown(lambda s: s.records),
        max(s.at for s in after) - max(s.at for s in before),
        grown(lambda s: s.cpu_seconds),
        stages,
        grown(lambda s: s.scores),
    )


def rival_rate(stand: Stand, name: str, count: int, *, seconds: float) -> Rate:
    """Run one of `bench.stream.rivals` over the preloaded events."""
    with redis.Redis.from_url(stand.redis_url) as client:
        client.flushall()
    asyncio.run(fresh_scores(stand, PARTITIONS))
    told = subprocess.run(
        [
            *(sys.executable, "-m", "bench.stream.rivals", name, stand.bootstrap),
            *(stand.redis_url, str(count), str(seconds)),
        ],
        env=stand.env(),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return Rate(**json.loads(told), stages={})
