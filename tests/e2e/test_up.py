"""`ebbtide up` as a person meets it: it starts, tells, serves, and leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ebbtide.ports import LOOPBACK, free_port

OPTIONS = ["--port", "--kafka-port", "--redis-port"] + [
    f"--{worker}-health-port" for worker in ("scorer", "alerts", "history")
]


@dataclass
class Up:
    """A running `ebbtide up`."""

    data: Path
    model: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in OPTIONS})
    told: list[str] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Start it and wait for its welcome."""
        words = [word for name, port in self.ports.items() for word in (name, str(port))]
        words += ["--data-dir", str(self.data), "--model-dir", str(self.model)]
        # Embedded servers are what is tested here, whoever runs the tests.
        env = {key: value for key, value in os.environ.items() if not key.startswith("EBBTIDE_")}
        with subprocess.Popen(
            [sys.executable, "-m", "ebbtide", "up", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            start_new_session=True,
        ) as process:
            try:
                self.read_until("Ctrl-C stops everything", process)
                yield process
            finally:
                process.kill()

    def read_until(self, words: str, process: subprocess.Popen[str]) -> None:
        """Read what it says up to a line with `words`."""
        assert process.stdout is not None
        for line in process.stdout:
            self.told.append(line)
            if words in line:
                return
        raise AssertionError("".join(self.told))

    def ended(self, process: subprocess.Popen[str]) -> int:
        """Read the rest of what it says; its exit code."""
        assert process.stdout is not None
        self.told += process.stdout.readlines()
        return process.wait(30)

    def get(self, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        """Status and answer of the gateway; with a body it is a POST."""
        with closing(
            http.client.HTTPConnection(LOOPBACK, self.ports["--port"], timeout=10)
        ) as connection:
            if body is None:
                connection.request("GET", path)
            else:
                headers = {"content-type": "application/json"}
                connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def open_ports(self) -> list[str]:
        """The options whose port somebody listens on."""
        return [name for name, port in self.ports.items() if is_open(port)]


def is_open(port: int) -> bool:
    """Whether somebody listens on `port`."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def scorer_of(up_pid: int) -> int:
    """Process id of the scorer that the process `up_pid` has started."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    (pid,) = [
        int(pid)
        for pid, parent, args in rows
        if int(parent) == up_pid and args.endswith("ebbtide scorer")
    ]
    return pid


@pytest.fixture
def up(tmp_path: Path, demo_model: Path) -> Up:
    """An `ebbtide up` to run, with ports nobody has and a folder of its own."""
    return Up(tmp_path / "data", demo_model)


def test_it_keeps_what_it_accepted(up: Up) -> None:
    """
    The lines it prints work; SIGTERM right after them ends everything with 0 and nothing listening;
    and what was accepted is there after the next start, which Ctrl-C ends.
    """
    with up.running() as process:
        welcome = "".join(up.told)
        assert OPTIONS == up.open_ports()
        assert all(str(port) in welcome for port in up.ports.values())
        tries = re.findall(r"curl -s http://[^/]+(\S+) -H .* -d '(.*)'", welcome)
        assert [200, 202] == [up.get(path, json.loads(body))[0] for path, body in tries]

        process.send_signal(signal.SIGTERM)

        assert 0 == up.ended(process)
        assert "stopping ...\n" in up.told
        assert "stopped\n" == up.told[-1]
        assert [] == up.open_ports()

    with up.running() as process:
        status, user = up.get("/users/ada")
        assert 200 == status
        assert 3 == user["features"]["pages_visited"]  # type: ignore[index]

        process.send_signal(signal.SIGINT)

        assert 0 == up.ended(process)


def test_a_dead_part_ends_everything(up: Up) -> None:
    """
    When a part dies it says which and how, stops the others and fails.
    """
    with up.running() as process:
        os.kill(scorer_of(process.pid), signal.SIGKILL)

        assert 1 == up.ended(process)
        assert any(line.startswith("scorer died: killed by SIGKILL") for line in up.told)
        assert [] == up.open_ports()


def test_killing_it_leaves_no_orphans(up: Up) -> None:
    """
    Killed with SIGKILL it can do nothing itself; its children stop all the same.
    """
    with up.running() as process:
        process.kill()
        process.wait(10)

        deadline = time.monotonic() + 15
        while up.open_ports() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [] == up.open_ports()
