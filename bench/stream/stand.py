"""A broker and a store of the benchmark's own, and the workers that run against them."""

from __future__ import annotations

import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from contracts.topics import ACTIVITY, SCORES
from ebbtide import embedded
from ebbtide.child import Child
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, free_port
from runtime.settings import ServiceSettings

Broker = Literal["embedded", "kafka"]
TITLES: Final[dict[Broker, str]] = {"embedded": "embedded broker", "kafka": "Apache Kafka"}
READY_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Stand:
    """Where the servers of a run answer."""

    broker: Broker
    bootstrap: str
    redis_url: str
    folder: Path
    guard: Guard

    def settings(self, partitions: int = 8) -> ServiceSettings:
        """For clients of ours."""
        return ServiceSettings(
            kafka_bootstrap_servers=self.bootstrap,
            kafka_idempotence=self.broker != "embedded",
            redis_url=self.redis_url,
            partitions=partitions,
        )

    def env(self, **more: str) -> dict[str, str]:
        """For workers: ours as `ebbtide up` starts them, with a short session so that they join."""
        return os.environ | {
            "OMP_NUM_THREADS": "1",
            "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "EBBTIDE_KAFKA_IDEMPOTENCE": str(self.broker != "embedded").lower(),
            "EBBTIDE_SESSION_TIMEOUT_MS": "2000" if self.broker == "embedded" else "10000",
            "EBBTIDE_FETCH_WAIT_MS": "20" if self.broker == "embedded" else "200",
            "EBBTIDE_SCORE_COMPRESSION": "none" if self.broker == "embedded" else "snappy",
            "EBBTIDE_REDIS_URL": self.redis_url,
            "EBBTIDE_MODEL_DIR": str(self.folder / "model"),
            "EBBTIDE_LOG_LEVEL": "warning",
            **more,
        }


def kafka_missing() -> str | None:
    """Why Apache Kafka cannot be run here, in one line; None if it can."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    if shutil.which("java") is None:
        return "java is not on the PATH"
    if not list(cache.glob("ebbtide-kafka/*/.complete")):
        return "its jars are not here; tests/native/get-kafka fetches them"
    return None


@contextmanager
def running(broker: Broker, folder: Path) -> Iterator[Stand]:
    """Servers while in the context; each stand begins with nothing."""
    guard = Guard()
    store_port = free_port()
    started: list[Child] = []
    try:
        store = embedded.store(store_port, data=folder / "store", log_folder=folder, guard=guard)
        _start(store, started)
        if broker == "embedded":
            port = free_port()
            _start(embedded.broker(port, folder=folder, guard=guard), started)
            bootstrap = f"{LOOPBACK}:{port}"
        else:
            from tests.servers import NativeKafka  # noqa: PLC0415 - only a checkout has it

            kafka = NativeKafka(folder / "kafka", guard)
            started.append(kafka.child)
            kafka.start()
            bootstrap = kafka.bootstrap
        yield Stand(broker, bootstrap, f"redis://{LOOPBACK}:{store_port}/0", folder, guard)
    finally:
        for child in reversed(started):
            child.stop()
        guard.close()
        for name in ("store", "kafka"):
            shutil.rmtree(folder / name, ignore_errors=True)


def _start(child: Child, started: list[Child]) -> None:
    started.append(child)
    child.start()
    deadline = time.monotonic() + READY_SECONDS
    while not child.is_ready():
        if child.exit_code() is not None or time.monotonic() > deadline:
            raise RuntimeError("\n".join([f"{child.name} does not start", *child.last_lines()]))
        time.sleep(0.01)


@dataclass(frozen=True)
class Sample:
    """What a worker had done at a moment."""

    at: float
    """Seconds of time.perf_counter."""
    records: float
    scores: float
    cpu_seconds: float
    """Of the process; NaN where the machine does not tell."""
    stages: Mapping[str, float]
    """Seconds spent in each stage of a batch so far."""


class Worker:
    """A process of `ebbtide scorer` or `ebbtide alerts`, watched through its own metrics."""

    def __init__(self, stand: Stand, service: str, argv: list[str], **env: str) -> None:
        self.port = free_port()
        self._topic = ACTIVITY if service == "scorer" else SCORES
        self.child = Child(
            name=service,
            argv=argv,
            log=stand.folder / f"{service}-{self.port}.log",
            guard=stand.guard,
            env=stand.env(**{f"EBBTIDE_{service.upper()}_HEALTH_PORT": str(self.port)}, **env),
            folder=Path.cwd(),
        )

    def sample(self) -> Sample | None:
        """Ask; None while it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{self.port}/metrics", timeout=5
            ) as answer:
                text = answer.read().decode()
        except OSError:
            if self.child.exit_code() is not None:
                words = "\n".join(self.child.last_lines())
                raise RuntimeError(f"{self.child.name} ended:\n{words}") from None
            return None
        counted = series(text)
        label = f'topic="{self._topic}"'
        stages = {
            key.split('"')[1]: value
            for key, value in counted.items()
            if key.startswith("ebbtide_stage_seconds_sum")
        }
        return Sample(
            time.perf_counter(),
            counted.get(f"ebbtide_records_total{{{label}}}", 0.0),
            sum(v for k, v in counted.items() if k.startswith("ebbtide_scores_total")),
            cpu_seconds(self.child.pid or 0),
            stages,
        )

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/readyz", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def worker(
    stand: Stand, service: Literal["scorer", "alerts"], *, batch: int | None = None, **env: str
) -> Iterator[Worker]:
    """A worker while in the context; batch: records a batch, None for its own."""
    argv = [sys.executable, "-m", "ebbtide", service]
    if batch is not None:
        argv = [sys.executable, "-m", "bench.stream.batched", str(batch)]
    made = Worker(stand, service, argv, **env)
    made.child.start()
    try:
        yield made
    finally:
        made.child.stop()


def series(text: str) -> dict[str, float]:
    """Prometheus text: series to value."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
    return {name: float(value) for name, value in pairs}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; NaN where /proc is missing."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
