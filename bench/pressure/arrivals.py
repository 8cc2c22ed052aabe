"""Requests at moments drawn beforehand, whatever the answers: one process, many connections.

    python -m bench.pressure.arrivals PORT PATH PER_SECOND SECONDS BODIES_FILE

Prints a JSON object. MOST connections are open before the load begins. A request takes one that is
free; with all of them busy it waits, and its latency runs all the while: what it waits from then on
is told apart. Only where this process itself comes too late to a moment does it run from then: the
rate told is what was asked for in truth. PER_SECOND 0 is a closed loop on CLOSED connections, which
says what the server can do. Rates are of what was answered while the load lasted.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import uvloop

CLOSED: Final = 64
MOST: Final = 1_000
PATIENCE_SECONDS: Final = 10.0
_TICK: Final = 0.001
_OPENED_AT_ONCE: Final = 50
_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One request at a time; the load hears its status, 0 for a connection that ended."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self.due = self.sent = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, due: float) -> None:
        """Send it."""
        assert self._transport is not None
        self.due, self.sent, self.is_busy = due, time.perf_counter(), True
        self._transport.write(request)

    @property
    def is_open(self) -> bool:
        """Whether it can be asked again."""
        return self._transport is not None and not self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if found else None
        if length is None or len(body) < int(length[1]):
            return
        self._data = b""
        self.is_busy = False
        self._load.answered(self, int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        was_busy, self.is_busy = self.is_busy, False
        self._load.lost(self, was_busy=was_busy)

    def close(self) -> None:
        """Say no more."""
        if self._transport is not None:
            self._transport.close()


class Load:
    """A run, and what was seen of it."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._port = port
        self._requests = requests
        self._open: set[Connection] = set()
        self._free: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[float] = deque()
        """Moments at which requests were due that have no connection yet."""
        self._number = 0
        self._closed_until = self._asked_for = 0.0
        self._left = 0
        self._ends = float("inf")
        self.statuses: Counter[int] = Counter()
        self.in_time: Counter[int] = Counter()
        """Those answered while the load lasted."""
        self.took: dict[bool, list[float]] = {True: [], False: []}
        """Milliseconds of requests answered 2xx, and of others."""
        self.served: list[float] = []
        """The same of those answered 2xx, from when they were sent."""

    async def closed(self, seconds: float) -> None:
        """CLOSED connections, each asking again as soon as it is answered."""
        await self._connect(CLOSED)
        start = time.perf_counter()
        self._asked_for, self._ends = seconds, start + seconds
        self._closed_until = self._ends
        for _ in range(CLOSED):
            self._send(start)
        await asyncio.sleep(seconds)
        await self._drain()

    async def opened(self, per_second: float, seconds: float, seed: int) -> None:
        """Poisson arrivals at `per_second`."""
        random = np.random.default_rng(seed)
        offsets = np.cumsum(random.exponential(1 / per_second, int(per_second * seconds)))
        await self._connect(MOST)
        start = time.perf_counter()
        pending = deque((start + offsets).tolist())
        while pending:
            now = time.perf_counter()
            while pending and pending[0] <= now:
                pending.popleft()
                self._send(now)
            await asyncio.sleep(_TICK)
        self._ends = time.perf_counter()
        self._asked_for = self._ends - start
        await self._drain()

    def answered(self, connection: Connection, status: int) -> None:
        """An answer has come in full."""
        now = time.perf_counter()
        self.statuses[status] += 1
        if now <= self._ends:
            self.in_time[status] += 1
        is_good = 200 <= status < 300
        self.took[is_good].append((now - connection.due) * 1000)
        if is_good:
            self.served.append((now - connection.sent) * 1000)
        self._free.append(connection)
        if now < self._closed_until:
            self._waiting.append(now)
        self._use_free()

    def lost(self, connection: Connection, *, was_busy: bool) -> None:
        """A connection has ended, perhaps with a request on it."""
        self._open.discard(connection)
        if was_busy:
            self.statuses[0] += 1
        if self._waiting and not self._opening:
            self._open_another()

    def _send(self, due: float) -> None:
        self._waiting.append(due)
        self._use_free()
        if self._waiting and not self._open and not self._opening:
            self._open_another()

    def _use_free(self) -> None:
        while self._waiting and self._free:
            connection = self._free.pop()
            if connection.is_open:
                request = self._requests[self._number % len(self._requests)]
                self._number += 1
                connection.ask(request, self._waiting.popleft())

    async def _connect(self, count: int) -> None:
        for done in range(0, count, _OPENED_AT_ONCE):
            now = min(count - done, _OPENED_AT_ONCE)
            await asyncio.gather(*(self._open_one() for _ in range(now)))

    def _open_another(self) -> None:
        """In place of one that was lost."""
        task = asyncio.create_task(self._open_one())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_one(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(
                lambda: Connection(self), "127.0.0.1", self._port
            )
        except OSError:
            if self._waiting:
                self._waiting.popleft()
                self.statuses[0] += 1
            return
        self._open.add(made)
        self._free.append(made)
        self._use_free()

    async def _drain(self) -> None:
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while self._unanswered() and time.perf_counter() < deadline:  # noqa: ASYNC110 - others do
            await asyncio.sleep(0.01)
        self._left = self._unanswered()
        for task in list(self._opening):
            task.cancel()
        for each in list(self._open):
            each.close()

    def _unanswered(self) -> int:
        return sum(each.is_busy for each in self._open) + len(self._waiting)

    def told(self) -> dict[str, Any]:
        """Figures for the table."""
        seconds = self._asked_for
        good, other = self.took[True], self.took[False]
        answered = sum(self.statuses.values())
        failed = answered - len(good) - self.statuses[503]
        p50, p99 = _percentiles(good)
        served_p50, served_p99 = _percentiles(self.served)
        return {
            "asked_per_second": (answered + self._left) / seconds,
            "accepted_per_second": sum(n for s, n in self.in_time.items() if s // 100 == 2)
            / seconds,
            "shed_per_second": self.in_time[503] / seconds,
            "failed": failed + self._left,
            "p50_ms": p50,
            "p99_ms": p99,
            "served_p50_ms": served_p50,
            "served_p99_ms": served_p99,
            "shed_p99_ms": _percentiles(other)[1] if other else None,
            "client_cpu": time.process_time() / seconds,
        }


def _percentiles(took: list[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(took or [float("nan")], [50, 99]).tolist()
    return p50, p99


async def _run(
    port: int, path: str, per_second: float, seconds: float, bodies: list[bytes]
) -> None:
    requests = [
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    ]
    load = Load(port, requests)
    if per_second:
        await load.opened(per_second, seconds, seed=1)
    else:
        await load.closed(seconds)
    print(json.dumps(load.told()))


if __name__ == "__main__":
    asked = Path(sys.argv[5]).read_bytes().splitlines()
    uvloop.run(_run(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), asked))
