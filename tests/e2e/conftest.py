"""The whole product as a user starts it: `ebbtide up` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from ebbtide.ports import LOOPBACK, free_port
from tests import servers

READY_WITHIN_S = 90.0


@dataclass
class Ebbtide:
    """A running `ebbtide up`."""

    process: subprocess.Popen[str]
    url: str
    bootstrap: str
    redis_url: str
    idempotence: bool
    log: Path

    def stop(self) -> int:
        """Ctrl-C, and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def output(self) -> str:
        return self.log.read_text()


@pytest.fixture
def on_stream_clock(
    tmp_path: Path, demo_model: Path, request: pytest.FixtureRequest
) -> Iterator[Ebbtide]:
    """`ebbtide up --clock stream`, ready to be talked to."""
    kafka_port, redis_port, port = free_port(), free_port(), free_port()
    env = os.environ | {
        "EBBTIDE_MODEL_DIR": str(demo_model),
        "EBBTIDE_PORT": str(port),
        "EBBTIDE_SCORER_HEALTH_PORT": str(free_port()),
        "EBBTIDE_ALERTS_HEALTH_PORT": str(free_port()),
    }
    bootstrap, redis_url = f"{LOOPBACK}:{kafka_port}", f"redis://{LOOPBACK}:{redis_port}/0"
    idempotence = False
    if servers.source() != "embedded":
        kafka = request.getfixturevalue("clean_kafka")
        redis = request.getfixturevalue("clean_redis")
        bootstrap, redis_url, idempotence = kafka.bootstrap, redis.url, kafka.idempotence
        env |= {"EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": bootstrap, "EBBTIDE_REDIS_URL": redis_url}
    log = tmp_path / "up.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ebbtide", "up", "--clock", "stream"),
                *("--data-dir", str(tmp_path / "data")),
                *("--kafka-port", str(kafka_port), "--redis-port", str(redis_port)),
            ],
            env=env,
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running = Ebbtide(
            process, f"http://{LOOPBACK}:{port}", bootstrap, redis_url, idempotence, log
        )
        try:
            _wait_until_up(running)
            yield running
        finally:
            running.stop()


def _wait_until_up(running: Ebbtide) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while "Ebbtide is up" not in running.output():
        assert running.process.poll() is None, running.output()
        assert time.monotonic() < deadline, running.output()
        time.sleep(0.1)
    assert 200 == httpx2.get(f"{running.url}/readyz?need=events", timeout=60).status_code
