"""A minute's worth of the benchmarks: two ratios that tell whether something has gone badly wrong.

Requests and events are counted per CPU-second of the process measured, so that what else the
machine does changes little. Without wrk on the PATH a client in Python asks; it is slower than the
servers, but what a request costs them stays the same.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from bench.serving import model as bench_model
from bench.serving.__main__ import ROUTES, Route, served
from bench.serving.bodies import BODIES
from bench.serving.load import throughput
from bench.stream.known import fill
from bench.stream.load import Crowd, events, preload
from bench.stream.stand import cpu_seconds, running
from bench.stream.throughput import PARTITIONS, rival_rate, scorer_rate
from ebbtide.ports import LOOPBACK
from model.artefact import Model

SERVED: Final = ROUTES[:3]
ROUNDS: Final = 1
SECONDS: Final = 2.0
ITERATIONS: Final = 50
USERS: Final = 2_000
EVENTS: Final = 20_000
CEILING: Final = "ceiling"


def ratios() -> dict[str, float]:
    """By name; in all of them more is better."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = bench_model.write(folder / "model", iterations=ITERATIONS)
        return _serving(folder) | _stream(folder, model)


def _serving(folder: Path) -> dict[str, float]:
    per_cpu: dict[str, list[float]] = {route.title: [] for route in SERVED}
    for _ in range(ROUNDS):
        for route in SERVED:
            per_cpu[route.title].append(_requests_per_cpu_second(route, folder))
    rates = {title: median(runs) for title, runs in per_cpu.items()}
    ours = rates.pop("Ebbtide")
    return {
        f"tiny: /predict, per CPU-second, times {title}": ours / rate
        for title, rate in rates.items()
    }


def _requests_per_cpu_second(route: Route, folder: Path) -> float:
    with served(route, folder) as (port, child):
        _ask(port, folder)  # warm
        before = cpu_seconds(child.pid or 0)
        answered = _ask(port, folder)
        return answered / (cpu_seconds(child.pid or 0) - before)


def _ask(port: int, folder: Path) -> float:
    """As much as one client can for SECONDS; how many were answered."""
    if shutil.which("wrk"):
        url = f"http://{LOOPBACK}:{port}/predict"
        told = throughput(url, BODIES, SECONDS)
        if told.errors:
            raise RuntimeError(f"{told.errors} requests failed")
        return told.requests_per_second * SECONDS
    bodies = folder / "bodies"
    bodies.write_bytes(b"\n".join(BODIES))
    argv = [sys.executable, "-m", "bench.pressure.arrivals", str(port), "/predict", "0"]
    said = subprocess.run(
        [*argv, str(SECONDS), str(bodies)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return float(json.loads(said)["accepted_per_second"]) * SECONDS


def _stream(folder: Path, model: Model) -> dict[str, float]:
    now_ms = int(time.time() * 1000)
    made = events(Crowd(USERS), EVENTS, until_ms=now_ms)
    with running("embedded", folder) as stand:
        asyncio.run(preload(stand, made, partitions=PARTITIONS))
        ceiling = rival_rate(stand, CEILING, EVENTS, seconds=SECONDS)
        fill(stand, USERS, model, partitions=PARTITIONS, now_ms=now_ms)
        ours = scorer_rate(stand, EVENTS, keep=True)
    name = "tiny: scorer, per CPU-second, times decode, group, fold in memory, commit"
    return {name: ours.per_cpu_second / ceiling.per_cpu_second}
