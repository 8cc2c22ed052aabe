"""`/predict` beside BentoML, LitServe and MLServer that serve the same trees.

Each as it comes, as its documentation says to tune it for many small requests (batching, no access
log), and tuned with the compiled form inside. Load and figures are those of bench.serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench.peers import environments
from bench.peers.environments import INSIDE, Unavailable
from bench.peers.export import Files
from bench.progress import say
from bench.serving.__main__ import UVICORN
from bench.serving.bodies import BODIES
from bench.serving.load import Latency, Throughput, latency, throughput
from ebbtide.child import Child
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, free_port

PER_SECOND: Final = 400.0
READY_SECONDS: Final = 45.0
WARM_SECONDS: Final = 2.0
SUSTAINED: Final = 0.6
"""The open loop asks at most this share of what the closed loop got: more would only queue."""

ANSWERED_SECONDS: Final = 30.0
"""After the open loop's time, for what is still queued."""
_FAILURES: Final = (Unavailable, asyncio.IncompleteReadError, subprocess.SubprocessError, OSError)

_ROWS: Final = [list(map(float, json.loads(body).values())) for body in BODIES]
_BENTO_ROWS: Final = tuple(json.dumps({"rows": [row]}).encode() for row in _ROWS)
_V2: Final = [
    json.dumps(
        {"inputs": [{"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": row}]}
    ).encode()
    for row in _ROWS
]


@dataclass(frozen=True)
class Server:
    """One configuration to measure. In argv, {bin} is the peer's environment, {port} its port."""

    title: str
    peer: str | None
    """The file of requirements; None: Ebbtide's own environment."""
    argv: tuple[str, ...]
    is_compiled: bool = False
    path: str = "/predict"
    bodies: Sequence[bytes] = field(default=tuple(BODIES), repr=False)
    settings: Mapping[str, object] | None = None
    """MLServer's: (settings.json, with the model's under `model`)."""


def _litserve(title: str, *batching: str, is_compiled: bool = False) -> Server:
    argv = ("{bin}/python", str(INSIDE / "litserve_app.py"), "{port}", *batching)
    return Server(title, "litserve", argv, is_compiled)


def _bentoml(
    title: str, service: str, bodies: Sequence[bytes], *, is_compiled: bool = False
) -> Server:
    argv = ("{bin}/bentoml", "serve", f"bentoml_service:{service}", "--host", LOOPBACK)
    return Server(
        title, "bentoml", (*argv, "--port", "{port}", "--working-dir", str(INSIDE)), is_compiled,
        bodies=bodies,
    )  # fmt: skip


def _mlserver(title: str, settings: Mapping[str, object], *, is_compiled: bool = False) -> Server:
    return Server(
        title, "mlserver", ("{bin}/mlserver", "start", "{folder}"), is_compiled,
        path="/v2/models/churn/infer", bodies=_V2, settings=settings,
    )  # fmt: skip


_QUIET: Final = {"parallel_workers": 0, "debug": False, "metrics_endpoint": None}
_BATCHED: Final = _QUIET | {"model": {"max_batch_size": 32, "max_batch_time": 0.002}}

SERVERS: Final = (
    Server(
        "bare ASGI, constant", None, (*UVICORN, "bench.serving.routes:constant", "--port", "{port}")
    ),
    Server("Ebbtide", None, (sys.executable, "-m", "ebbtide", "api")),
    _mlserver("MLServer, defaults", {}),
    _litserve("LitServe, defaults"),
    _bentoml("BentoML, defaults", "Default", BODIES),
    _mlserver("MLServer, no worker pool, adaptive batching", _BATCHED),
    _litserve("LitServe, batching, ZeroMQ", "32", "0.002"),
    _bentoml("BentoML, adaptive batching", "Batched", _BENTO_ROWS),
    _mlserver("MLServer, no worker pool, compiled model", _QUIET, is_compiled=True),
    _litserve("LitServe, batching, ZeroMQ, compiled model", "32", "0.002", is_compiled=True),
    _bentoml(
        "BentoML, adaptive batching, compiled model", "Batched", _BENTO_ROWS, is_compiled=True
    ),
)
"""As configured after trying alternatives: with the compiled model MLServer is faster unbatched."""


@dataclass
class Runs:
    """What one server did, a value per round."""

    closed: list[Throughput] = field(default_factory=list)
    opened: list[Latency] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    """Requests a second that the open loop asked for."""


def measure(
    files: Files, folder: Path, servers: Sequence[Server], *, rounds: int, seconds: float
) -> tuple[dict[str, Runs], list[str]]:
    """By title; and a line for each server that could not be measured."""
    runs: dict[str, Runs] = {}
    missing: dict[str, str] = {}
    for number in range(rounds):
        for server in servers:
            if server.title in missing:
                continue
            say(f"round {number + 1} of {rounds}: {server.title}")
            try:
                with _running(server, files, folder) as port:
                    found = runs.setdefault(server.title, Runs())
                    _round(server, port, found, seconds, seed=number)
            except _FAILURES as error:
                missing[server.title] = f"{server.title}: {error}".splitlines()[0]
    return {title: told for title, told in runs.items() if title not in missing}, [
        *missing.values()
    ]


def _round(server: Server, port: int, runs: Runs, seconds: float, *, seed: int) -> None:
    url = f"http://{LOOPBACK}:{port}{server.path}"
    throughput(url, server.bodies, WARM_SECONDS)
    closed = throughput(url, server.bodies, seconds)
    rate = min(PER_SECOND, max(closed.requests_per_second * SUSTAINED, 5.0))
    seen = latency(
        port, server.bodies, per_second=rate, seconds=seconds, seed=seed, path=server.path
    )
    opened = asyncio.run(asyncio.wait_for(seen, seconds + ANSWERED_SECONDS))
    runs.closed.append(closed)
    runs.opened.append(opened)
    runs.rates.append(rate)


def figures(runs: Mapping[str, Runs]) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by title."""
    return {
        title: {
            "requests_per_second": median(run.requests_per_second for run in told.closed),
            "slowest": min(run.requests_per_second for run in told.closed),
            "fastest": max(run.requests_per_second for run in told.closed),
            "asked_per_second": median(told.rates),
            "p50_ms": median(run.p50 for run in told.opened),
            "p99_ms": median(run.p99 for run in told.opened),
            "errors": sum(run.errors for run in told.closed)
            + sum(run.errors for run in told.opened),
        }
        for title, told in runs.items()
    }


@contextmanager
def _running(server: Server, files: Files, folder: Path) -> Iterator[int]:
    port = free_port()
    place = folder / "serving"
    place.mkdir(exist_ok=True)
    model = files.inputs.with_suffix(".onnx") if server.is_compiled else files.inputs
    if server.settings is not None:
        _write_mlserver(place, port, model, dict(server.settings))
    binaries = (
        environments.folder(server.peer) / "bin" if server.peer else Path(sys.executable).parent
    )
    guard = Guard()
    child = Child(
        name=server.title,
        argv=[word.format(bin=binaries, port=port, folder=place) for word in server.argv],
        log=folder / "server.log",
        guard=guard,
        env=_environment(server, files, model, port, place),
        folder=INSIDE if server.peer else Path.cwd(),
        grace_s=5.0,
    )
    try:
        child.start()
        _wait(server, child, port)
        yield port
    finally:
        _stop(child)
        guard.close()


def _environment(
    server: Server, files: Files, model: Path, port: int, place: Path
) -> dict[str, str]:
    own = {"EBBTIDE_MODEL_DIR": str(files.ebbtide), "EBBTIDE_HOST": LOOPBACK}
    own |= {"EBBTIDE_PORT": str(port), "EBBTIDE_LOG_LEVEL": "error"}
    # Nobody listens there: /predict needs neither.
    own["EBBTIDE_KAFKA_BOOTSTRAP_SERVERS"] = f"{LOOPBACK}:{free_port()}"
    own["EBBTIDE_REDIS_URL"] = f"redis://{LOOPBACK}:{free_port()}/0"
    peers = {"PEER_MODEL": str(model), "PYTHONPATH": str(INSIDE), "BENTOML_HOME": str(place)}
    peers["BENTOML_DO_NOT_TRACK"] = "True"
    return os.environ | {"OMP_NUM_THREADS": "1"} | (peers if server.peer else own)


def _write_mlserver(place: Path, port: int, model: Path, settings: dict[str, object]) -> None:
    of_model = settings.pop("model", {})
    assert isinstance(of_model, dict)
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (place / "settings.json").write_text(json.dumps({"host": LOOPBACK, **ports, **settings}))
    told = {
        "name": "churn",
        "implementation": "mlserver_runtime.Churn",
        "parameters": {"uri": str(model)},
        **of_model,
    }
    (place / "model-settings.json").write_text(json.dumps(told))


def _wait(server: Server, child: Child, port: int) -> None:
    """Until it answers; raises Unavailable with the last line of its log."""
    request = urllib.request.Request(
        f"http://{LOOPBACK}:{port}{server.path}",
        data=server.bodies[0],
        headers={"content-type": "application/json"},
    )
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError as error:
            if child.exit_code() is not None or time.monotonic() > deadline:
                said = child.last_lines(1)
                raise Unavailable(f"does not start ({error}): {''.join(said)}") from error
        time.sleep(0.1)


def _stop(child: Child) -> None:
    """The whole group: a server that ends may leave its workers behind."""
    pid = child.pid
    child.stop()
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
