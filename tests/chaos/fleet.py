"""The processes under test, all real ones: scorers, gateways, alerts, delivery, history workers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

import httpx2

from ebbtide.child import Child
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, free_port

Kind = Literal["scorer", "alerts", "delivery", "history", "gateway"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_COMMANDS: Final[dict[Kind, str]] = {
    "scorer": "scorer",
    "alerts": "alerts",
    "delivery": "delivery",
    "history": "history",
    "gateway": "api",
}
_PORTS: Final[dict[Kind, str]] = {
    "scorer": "EBBTIDE_SCORER_HEALTH_PORT",
    "alerts": "EBBTIDE_ALERTS_HEALTH_PORT",
    "delivery": "EBBTIDE_DELIVERY_HEALTH_PORT",
    "history": "EBBTIDE_HISTORY_HEALTH_PORT",
    "gateway": "EBBTIDE_PORT",
}
WATCH_SECONDS: Final = 0.25
REVIVE_SECONDS: Final = 1.0


@dataclass(eq=False)
class Worker:
    """One process. `wanted` says whether somebody watching it should start it again."""

    kind: Kind
    name: str
    child: Child
    port: int
    """Of its health page, or of the gateway itself."""
    wanted: bool = False
    paused: bool = False
    ended_at: float | None = None
    starts: int = 0
    ends: list[int] = field(default_factory=list)
    """Exit codes it ended with although nobody told it to."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start it, if it does not run; it is not ready at once."""
        if not self.child.is_running():
            self.starts += 1
            self.child.log = self.child.log.with_name(f"{self.name}.{self.starts}.log")
            self.child.start()
        self.wanted, self.paused, self.ended_at = True, False, None

    def kill(self) -> None:
        """kill -9, and wait until it is gone; it stays down until `start`."""
        self.wanted = False
        if self.child.is_running():
            self.child.kill()
            self.child.wait(10)

    async def stop(self) -> int:
        """SIGTERM, and wait; SIGKILL if it does not end. The exit code."""
        self.wanted = False
        self.resume()
        return await asyncio.to_thread(self.child.stop)

    def pause(self) -> None:
        """SIGSTOP: it neither runs nor ends, and its connections stay open."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        if self.paused:
            self._signal(signal.SIGCONT)
        self.paused = False

    def _signal(self, number: int) -> None:
        if self.child.pid is not None and self.child.is_running():
            with suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)


class Fleet:
    """All workers of a run, and what an operator's supervisor does: start again what ended."""

    def __init__(
        self,
        folder: Path,
        guard: Guard,
        env_of: Callable[[Kind], Mapping[str, str]],
        log: Callable[[str], None],
        code: Path | None = None,
    ) -> None:
        """code: the folder whose product runs; None: the one we run from."""
        self._code = code
        self._folder = folder
        self._guard = guard
        self._env_of = env_of
        self._log = log
        self._count = dict.fromkeys(KINDS, 0)
        self._all: list[Worker] = []
        self._gone: list[Worker] = []

    def add(self, kind: Kind) -> Worker:
        """A new worker of the kind, started."""
        self._count[kind] += 1
        name = f"{kind}-{self._count[kind]}"
        port = free_port()
        env = {**self._env_of(kind), _PORTS[kind]: str(port)}
        child = Child(
            name=name,
            argv=[sys.executable, "-m", "ebbtide", _COMMANDS[kind]],
            log=self._folder / f"{name}.log",
            guard=self._guard,
            env=env,
            folder=self._code,
            grace_s=20.0,
        )
        worker = Worker(kind, name, child, port)
        worker.start()
        self._all.append(worker)
        return worker

    async def remove(self, worker: Worker) -> int:
        """Stop it for good; the exit code."""
        self._all.remove(worker)
        self._gone.append(worker)
        return await worker.stop()

    def of(self, kind: Kind) -> list[Worker]:
        """The workers of a kind, oldest first, running or not."""
        return [worker for worker in self._all if worker.kind == kind]

    def everybody(self) -> list[Worker]:
        """All workers there ever were."""
        return self._all + self._gone

    def all(self) -> list[Worker]:
        """All workers there are, running or not."""
        return list(self._all)

    async def ready(self, worker: Worker) -> bool:
        """Whether it says of itself that it is."""
        with suppress(httpx2.HTTPError, OSError):
            async with httpx2.AsyncClient(timeout=1.0) as http:
                return (await http.get(f"{worker.url}/readyz")).status_code == 200
        return False

    async def watch(self) -> None:
        """For ever: start again, a second later, what ended by itself."""
        while True:
            for worker in self._all:
                if not worker.wanted or worker.child.is_running():
                    continue
                now = time.monotonic()
                if worker.ended_at is None:
                    worker.ended_at = now
                    code = worker.child.exit_code()
                    worker.ends.append(0 if code is None else code)
                    last = "\n    ".join(worker.child.last_lines(6))
                    self._log(f"{worker.name} ended by itself with {code}:\n    {last}")
                elif now - worker.ended_at > REVIVE_SECONDS:
                    worker.start()
            await asyncio.sleep(WATCH_SECONDS)

    async def stop(self) -> None:
        """Stop all of them."""
        await asyncio.gather(*(worker.stop() for worker in self._all))
