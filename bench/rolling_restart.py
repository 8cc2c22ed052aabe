"""Restart two scorers one after the other under a steady load, and count what the wire saw of it.

    EBBTIDE_TEST_SERVERS=native python -m bench.rolling_restart --model DIR [--rate 200]

Each event is by a user of its own, so that each has a score of its own, and the time from an
event's sending to its score's arrival is its lag. Prints repeats (a score_id seen twice), the
greatest lag, and per partition the longest time in which no score came, before and while
restarting. Servers come from tests/servers.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.partition import home
from contracts.scores import decode_score
from contracts.topics import ACTIVITY, SCORES
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, free_port
from runtime.clock import wall_ms

READY_SECONDS = 60.0


@dataclass
class Figures:
    """What the wire saw; times in seconds."""

    events: int = 0
    scores: int = 0
    repeats: int = 0
    missing: int = 0
    calm_lag: float = 0.0
    """Greatest lag before anything was restarted."""
    lag: float = 0.0
    """Greatest lag while restarting."""
    unavailable: dict[int, float] = field(default_factory=dict)
    """Partition to the longest time without a score while restarting."""
    stops: list[float] = field(default_factory=list)
    """From SIGTERM to the end of the process, per stop."""
    codes: list[int] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The figures to read."""
        gaps = ", ".join(f"{p}: {s:.2f} s" for p, s in sorted(self.unavailable.items()))
        return [
            f"events {self.events}, scores {self.scores}, repeated {self.repeats}, "
            f"missing {self.missing}",
            f"greatest lag {self.calm_lag:.2f} s in calm, {self.lag:.2f} s while restarting",
            f"longest time without a score, per partition: {gaps}",
            "stops: "
            + ", ".join(
                f"exit code {code} after {seconds:.2f} s"
                for code, seconds in zip(self.codes, self.stops, strict=True)
            ),
        ]


class _Tap:
    """Notes every score as it arrives."""

    def __init__(self) -> None:
        self.arrived: dict[str, float] = {}
        self.ids: Counter[str] = Counter()

    async def run(self, bootstrap: str, partitions: int) -> None:
        client = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
        await client.start()
        try:
            client.assign([TopicPartition(SCORES, p) for p in range(partitions)])
            while True:
                for records in (await client.getmany(timeout_ms=100)).values():
                    for record in records:
                        score = decode_score(record.value)
                        self.ids[score.score_id] += 1
                        self.arrived.setdefault(score.user_id, time.monotonic())
        finally:
            await client.stop()


class _Load:
    """Sends events at a steady rate, each by a new user."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.sent: dict[str, float] = {}

    async def run(self, bootstrap: str, partitions: int) -> None:
        client = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
        await client.start()
        try:
            began, number = time.monotonic(), 0
            while True:
                await asyncio.sleep(max(began + number / self._rate - time.monotonic(), 0))
                user, now = f"user-{number}", wall_ms()
                event = {"user_id": user, "type": "page_view", "occurred_at": now}
                self.sent[user] = time.monotonic()
                await client.send(
                    ACTIVITY,
                    json.dumps(event).encode(),
                    key=user.encode(),
                    partition=home(user, partitions),
                    timestamp_ms=now,
                )
                number += 1
        finally:
            await client.stop()


async def measure(
    bootstrap: str,
    env: Mapping[str, str],
    folder: Path,
    *,
    partitions: int,
    rate: float,
    calm_seconds: float = 5.0,
) -> Figures:
    """Run two scorers under `rate` events a second, restart both, and return what was seen.

    env: what the scorers need to find servers and model. Topics exist.
    """
    tap, load, figures = _Tap(), _Load(rate), Figures()
    guard = Guard()
    ports = [free_port(), free_port()]
    processes = [await _scorer(env, port, folder, guard) for port in ports]
    try:
        for process, port in zip(processes, ports, strict=True):
            await _until(partial(_is_ready, port, process))
        async with _running(tap.run(bootstrap, partitions)):
            async with _running(load.run(bootstrap, partitions)):
                await _until(lambda: asyncio.sleep(0, len(tap.arrived) > rate))
                await asyncio.sleep(calm_seconds)
                calm_until = time.monotonic()
                for number, port in enumerate(ports):
                    asked = time.monotonic()
                    processes[number].send_signal(signal.SIGTERM)
                    figures.codes.append(await processes[number].wait())
                    figures.stops.append(time.monotonic() - asked)
                    guard.forget(processes[number].pid)
                    await asyncio.sleep(calm_seconds / 2)
                    processes[number] = await _scorer(env, port, folder, guard)
                    await _until(partial(_is_ready, port, processes[number]))
                    await asyncio.sleep(calm_seconds)
                restarted_at = time.monotonic()
            with suppress(TimeoutError):
                await _until(lambda: asyncio.sleep(0, load.sent.keys() <= tap.arrived.keys()))
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        guard.close()
    _evaluate(figures, load, tap, partitions, calm_until=calm_until, restarted_at=restarted_at)
    return figures


def _evaluate(
    figures: Figures,
    load: _Load,
    tap: _Tap,
    partitions: int,
    *,
    calm_until: float,
    restarted_at: float,
) -> None:
    figures.events = len(load.sent)
    figures.scores = tap.ids.total()
    figures.repeats = figures.scores - len(tap.ids)
    figures.missing = len(load.sent.keys() - tap.arrived.keys())
    begins = min(load.sent.values()) + 2.0  # the first events warm things up
    arrivals: dict[int, list[float]] = {partition: [] for partition in range(partitions)}
    for user, sent in load.sent.items():
        arrived = tap.arrived.get(user)
        if arrived is None or sent < begins:
            continue
        arrivals[home(user, partitions)].append(arrived)
        if arrived < calm_until:
            figures.calm_lag = max(figures.calm_lag, arrived - sent)
        else:
            figures.lag = max(figures.lag, arrived - sent)
    for partition, moments in arrivals.items():
        within = sorted(m for m in moments if calm_until <= m <= restarted_at)
        gaps = [later - earlier for earlier, later in pairwise(within)]
        figures.unavailable[partition] = max(gaps, default=restarted_at - calm_until)


async def _scorer(
    env: Mapping[str, str], port: int, folder: Path, guard: Guard
) -> asyncio.subprocess.Process:
    with (folder / f"scorer-{port}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ebbtide", "scorer",
            env={**env, "EBBTIDE_SCORER_HEALTH_PORT": str(port)},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    guard.watch(process.pid)
    return process


async def _is_ready(port: int, process: asyncio.subprocess.Process) -> bool:
    if process.returncode is not None:
        raise RuntimeError(f"a scorer ended with {process.returncode} instead of getting ready")

    def asked() -> bool:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return await asyncio.to_thread(asked)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while not await holds():  # noqa: ASYNC110 - what is asked is elsewhere
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _running(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


async def _with_servers(args: argparse.Namespace, folder: Path) -> Figures:
    from runtime.kafka import ensure_topics  # noqa: PLC0415
    from runtime.settings import ServiceSettings  # noqa: PLC0415
    from tests import servers  # noqa: PLC0415 - only a checkout has them

    guard = Guard()
    kafka, redis = servers.new_kafka(folder, guard), servers.new_redis(folder, guard)
    print(servers.described())
    kafka.start()
    redis.start()
    try:
        settings = ServiceSettings(
            kafka_bootstrap_servers=kafka.bootstrap, partitions=args.partitions
        )
        await ensure_topics(settings, (ACTIVITY, SCORES))
        env = os.environ | environment(
            kafka.bootstrap, kafka.idempotence, redis.url, args.model, args.partitions
        )
        return await measure(
            kafka.bootstrap, env, folder, partitions=args.partitions, rate=args.rate
        )
    finally:
        servers.end(kafka)
        servers.end(redis)
        guard.close()


def environment(
    bootstrap: str, idempotence: bool, redis_url: str, model: Path, partitions: int
) -> dict[str, str]:
    """What a scorer process needs to be told."""
    return {
        "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "EBBTIDE_KAFKA_IDEMPOTENCE": str(idempotence),
        "EBBTIDE_REDIS_URL": redis_url,
        "EBBTIDE_MODEL_DIR": str(model),
        "EBBTIDE_PARTITIONS": str(partitions),
        "EBBTIDE_SESSION_TIMEOUT_MS": "10000" if idempotence else "1000",
        "OMP_NUM_THREADS": "1",
    }


def main() -> int:
    """Run it; 1 when a score was repeated or is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a trained model")
    parser.add_argument("--rate", type=float, default=200.0, help="events a second")
    parser.add_argument("--partitions", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(_with_servers(args, Path(folder)))
    print("\n".join(figures.lines()))
    return 1 if figures.repeats or figures.missing or any(figures.codes) else 0


if __name__ == "__main__":
    raise SystemExit(main())
