"""`/predict` beside routes that do less, and beside the one most people would write.

    python -m bench.serving [--rounds 4] [--seconds 3] [--json FILE]

One server process at a time, the same server settings and model for all, rounds interleaved, so
that a noisy machine is noisy to everybody; compare the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.progress import say
from bench.serving import model as bench_model
from bench.serving.bodies import BODIES
from bench.serving.load import Latency, Throughput, latency, require_wrk, throughput
from ebbtide.child import Child
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, free_port

UVICORN = (
    *(sys.executable, "-m", "uvicorn", "--host", LOOPBACK, "--loop", "uvloop"),
    *("--http", "httptools", "--no-access-log", "--no-server-header", "--log-level", "warning"),
)
PER_SECOND = 400.0
READY_SECONDS = 60.0


@dataclass(frozen=True)
class Route:
    """One server to measure; argv with {port}."""

    title: str
    argv: tuple[str, ...]


ROUTES = (
    Route("bare ASGI, constant", (*UVICORN, "bench.serving.routes:constant")),
    Route("Ebbtide", (sys.executable, "-m", "ebbtide", "api")),
    Route(
        "FastAPI + pydantic, constant",
        (*UVICORN, "--factory", "bench.serving.routes:fastapi_constant"),
    ),
    Route(
        "FastAPI + pydantic + scikit-learn",
        (*UVICORN, "--factory", "bench.serving.routes:naive"),
    ),
)


def main() -> int:
    """Print a table; 1 when a request failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    require_wrk()
    with tempfile.TemporaryDirectory() as folder:
        bench_model.write(Path(folder) / "model")
        closed, opened, starts = _measure(Path(folder), args.rounds, args.seconds)
    figures = _figures(closed, opened, starts)
    print(_table(figures))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    return int(any(f["errors"] for f in figures.values()))


def _measure(
    folder: Path, rounds: int, seconds: float
) -> tuple[dict[str, list[Throughput]], dict[str, list[Latency]], dict[str, list[float]]]:
    closed: dict[str, list[Throughput]] = {route.title: [] for route in ROUTES}
    opened: dict[str, list[Latency]] = {route.title: [] for route in ROUTES}
    starts: dict[str, list[float]] = {route.title: [] for route in ROUTES}
    for number in range(rounds):
        for route in ROUTES:
            say(f"round {number + 1} of {rounds}: {route.title}")
            began = time.perf_counter()
            with served(route, folder) as (port, _):
                starts[route.title].append(time.perf_counter() - began)
                url = f"http://{LOOPBACK}:{port}/predict"
                throughput(url, BODIES, 1)  # warm
                closed[route.title].append(throughput(url, BODIES, seconds))
                seen = latency(port, BODIES, per_second=PER_SECOND, seconds=seconds, seed=number)
                opened[route.title].append(asyncio.run(seen))
    return closed, opened, starts


def _figures(
    closed: dict[str, list[Throughput]],
    opened: dict[str, list[Latency]],
    starts: dict[str, list[float]],
) -> dict[str, dict[str, float]]:
    figures = {}
    for title, runs in closed.items():
        rates = [run.requests_per_second for run in runs]
        figures[title] = {
            "requests_per_second": median(rates),
            "slowest": min(rates),
            "fastest": max(rates),
            "p50_ms": median(run.p50 for run in opened[title]),
            "p99_ms": median(run.p99 for run in opened[title]),
            "p999_ms": median(run.p999 for run in opened[title]),
            "start_s": median(starts[title]),
            "errors": sum(run.errors for run in runs) + sum(run.errors for run in opened[title]),
        }
    return figures


def _table(figures: dict[str, dict[str, float]]) -> str:
    bare = figures[ROUTES[0].title]["requests_per_second"]
    lines = [
        f"| | requests/s (spread) | of bare | p50, p99, p99.9 at {PER_SECOND:.0f}/s | start |",
        "|---|---|---|---|---|",
    ]
    for title, told in figures.items():
        spread = f"{told['slowest']:,.0f} to {told['fastest']:,.0f}"
        waits = ", ".join(f"{told[name]:.1f}" for name in ("p50_ms", "p99_ms", "p999_ms"))
        lines.append(
            f"| {title} | {told['requests_per_second']:,.0f} ({spread}) "
            f"| {told['requests_per_second'] / bare:.2f} | {waits} ms | {told['start_s']:.1f} s |"
        )
    return "\n".join(lines)


@contextmanager
def served(route: Route, folder: Path) -> Iterator[tuple[int, Child]]:
    """The server's port, and the server, while it runs; `folder` has a model and takes its log."""
    port = free_port()
    guard = Guard()
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "BENCH_MODEL": str(folder / "model"),
        "EBBTIDE_MODEL_DIR": str(folder / "model"),
        "EBBTIDE_HOST": LOOPBACK,
        "EBBTIDE_PORT": str(port),
        "EBBTIDE_LOG_LEVEL": "error",
        # Nobody listens there: /predict needs neither.
        "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{free_port()}",
        "EBBTIDE_REDIS_URL": f"redis://{LOOPBACK}:{free_port()}/0",
    }
    argv = [*route.argv, "--port", str(port)] if "uvicorn" in route.argv else list(route.argv)
    child = Child(
        name=route.title, argv=argv, log=folder / "server.log", guard=guard, env=env,
        folder=Path.cwd(),
    )  # fmt: skip
    child.start()
    try:
        _wait(child, port, folder / "server.log")
        yield port, child
    finally:
        child.stop()
        guard.close()


def _wait(child: Child, port: int, log: Path) -> None:
    request = urllib.request.Request(
        f"http://{LOOPBACK}:{port}/predict",
        data=BODIES[0],
        headers={"content-type": "application/json"},
    )
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError as error:
            if child.exit_code() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{child.name}: {log.read_text()}") from error
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
