"""The gateway asked for more than it can answer.

The routes: open loop, at multiples of what a closed loop gets out of them just before. `/predict`
and single events are more than a client in Python can ask for, so wrk asks for them, each of so
many connections again as soon as it has its answer: the more, the longer each waits for its turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.progress import say
from bench.serving.bodies import BODIES
from bench.serving.load import throughput
from bench.stream.load import event, user_name
from bench.stream.stand import Stand, cpu_seconds, series
from contracts.metrics import Metric
from ebbtide.child import Child
from ebbtide.ports import LOOPBACK, free_port

FACTORS: Final = (0.5, 1.0, 2.0, 4.0)
CONNECTIONS: Final = (32, 256, 1_000, 4_000)
EVENTS: Final = 500
TEN: Final = 10
READY_SECONDS: Final = 60.0
WARM_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Case:
    """What is asked for."""

    title: str
    path: str
    bodies: list[bytes]


def cases() -> list[Case]:
    """A route with much to compute, and one that waits for Kafka."""
    events = _events()
    lists = [b"[" + b",".join(events[at : at + TEN]) + b"]" for at in range(0, len(events), TEN)]
    return [
        Case("`/predict?explain=true`", "/predict?explain=true", BODIES),
        Case("`/events`, ten each", "/events", lists),
    ]


def under_pressure(stand: Stand, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """By case: a row for each of FACTORS, with the resident memory after it."""
    figures: dict[str, list[dict[str, Any]]] = {}
    for case in cases():
        with _gateway(stand) as (port, child):
            _load(stand, port, case, 0, WARM_SECONDS)
            capacity = _load(stand, port, case, 0, seconds)["accepted_per_second"]
            rows = []
            for factor in FACTORS:
                say(f"{case.path}: {factor:g} times {capacity:,.0f}/s")
                with _watched(port, child, seconds) as seen:
                    row = _load(stand, port, case, factor * capacity, seconds)
                rows.append({"factor": factor, "capacity": capacity, **row, **seen})
            figures[case.title] = rows
    return figures


def crowded(stand: Stand, seconds: float) -> list[dict[str, Any]]:
    """`/predict` and single events over each of CONNECTIONS."""
    return [
        row
        for case in (
            Case("`/predict`", "/predict", BODIES),
            Case("`/events`, one each", "/events", _events()),
        )
        for row in _crowded(stand, case, seconds)
    ]


def _crowded(stand: Stand, case: Case, seconds: float) -> list[dict[str, Any]]:
    rows = []
    with _gateway(stand) as (port, child):
        url = f"http://{LOOPBACK}:{port}{case.path}"
        throughput(url, case.bodies, WARM_SECONDS)
        for connections in CONNECTIONS:
            say(f"{case.path}: {connections:,} connections")
            before = _shed(port)
            with _watched(port, child, seconds) as seen:
                told = throughput(url, case.bodies, seconds, connections=connections)
            shed = _shed(port) - before
            rows.append({
                "title": case.title,
                "connections": connections,
                **asdict(told),
                "requests_per_second": told.requests_per_second - shed / seconds,
                "shed_per_second": shed / seconds,
                # What wrk counts as failed is any answer but 2xx.
                "errors": max(told.errors - round(shed), 0),
                **seen,
            })  # fmt: skip
    return rows


def _shed(port: int) -> float:
    """Requests refused so far for want of room or time."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:
        told = series(answer.read().decode())
    return sum(n for name, n in told.items() if name.startswith(Metric.REQUESTS_SHED))


def _events() -> list[bytes]:
    now_ms = int(time.time() * 1000)
    return [event(user_name(n), n, now_ms) for n in range(EVENTS)]


@contextmanager
def _watched(port: int, child: Child, seconds: float) -> Iterator[dict[str, float]]:
    """What a load of so many seconds does to the process; filled in when it is over."""
    seen: dict[str, float] = {}
    health = _Health(port)
    cpu = cpu_seconds(child.pid or 0)
    with health:
        yield seen
    seen |= {
        "cores": (cpu_seconds(child.pid or 0) - cpu) / seconds,
        "rss_mb": _memory_mb(child.pid or 0),
        "health_worst_ms": health.worst_ms,
        "health_failed": health.failed,
    }


class _Health:
    """Asks `/livez` all the time meanwhile: it must answer most of all then."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{LOOPBACK}:{port}/livez"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.worst_ms = 0.0
        self.failed = 0

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.1):
            began = time.perf_counter()
            try:
                with urllib.request.urlopen(self._url, timeout=5):
                    pass
            except OSError:
                self.failed += 1
            self.worst_ms = max(self.worst_ms, (time.perf_counter() - began) * 1000)


def _load(stand: Stand, port: int, case: Case, per_second: float, seconds: float) -> dict[str, Any]:
    bodies = stand.folder / "bodies"
    bodies.write_bytes(b"\n".join(case.bodies))
    told = subprocess.run(
        [
            *(sys.executable, "-m", "bench.pressure.arrivals", str(port), case.path),
            *(str(per_second), str(seconds), str(bodies)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    found: dict[str, Any] = json.loads(told)
    return found


@contextmanager
def _gateway(stand: Stand) -> Iterator[tuple[int, Child]]:
    """A gateway that Kafka has let in."""
    port = free_port()
    env: Mapping[str, str] = stand.env(EBBTIDE_PORT=str(port), EBBTIDE_HOST=LOOPBACK)
    child = Child(
        name="gateway", argv=[sys.executable, "-m", "ebbtide", "api"],
        log=stand.folder / "gateway.log", guard=stand.guard, env=dict(env), folder=Path.cwd(),
    )  # fmt: skip
    child.start()
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _is_ready(port):
            if child.exit_code() is not None or time.monotonic() > deadline:
                raise RuntimeError("\n".join(["the gateway does not start", *child.last_lines()]))
            time.sleep(0.05)
        yield port, child
    finally:
        child.stop()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz?need=events", timeout=5):
            return True
    except OSError:
        return False


def _memory_mb(pid: int) -> float:
    """Resident memory; NaN where /proc is missing."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    (kilobytes,) = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(kilobytes) / 1024
