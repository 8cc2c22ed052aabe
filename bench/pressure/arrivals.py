"""Requests at moments drawn beforehand, whatever the answers: one process, many connections.

    python -m bench.pressure.arrivals PORT PATH PER_SECOND SECONDS BODIES_FILE

Prints a JSON object. A request takes a free connection or opens another; with MOST of them busy it
waits, and its latency runs all the while. Only where this process itself comes too late to a moment
does it run from then: the rate told is what was asked for in truth. PER_SECOND 0 is a closed loop
on CLOSED connections, which says what the server can do.
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
_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One request at a time; the load hears its status, 0 for a connection that ended."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self.due = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, due: float) -> None:
        """Send it."""
        assert self._transport is not None
        self.due, self.is_busy = due, True
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
        self._most_open = self._left = 0
        self.statuses: Counter[int] = Counter()
        self.took: dict[bool, list[float]] = {True: [], False: []}
        """Milliseconds of requests answered 2xx, and of others."""

    async def closed(self, seconds: float) -> None:
        """CLOSED connections, each asking again as soon as it is answered."""
        self._closed_until = time.perf_counter() + seconds
        for _ in range(CLOSED):
            self._send(time.perf_counter())
        await asyncio.sleep(seconds)
        self._asked_for = seconds
        await self._drain()

    async def opened(self, per_second: float, seconds: float, seed: int) -> None:
        """Poisson arrivals."""
        random = np.random.default_rng(seed)
        gaps = random.exponential(1 / per_second, int(per_second * seconds))
        start = time.perf_counter() + 0.1
        pending = deque((start + np.cumsum(gaps)).tolist())
        while pending:
            now = time.perf_counter()
            while pending and pending[0] <= now:
                pending.popleft()
                self._send(now)
            await asyncio.sleep(_TICK)
        self._asked_for = time.perf_counter() - start
        await self._drain()

    def answered(self, connection: Connection, status: int) -> None:
        """An answer has come in full."""
        now = time.perf_counter()
        self.statuses[status] += 1
        self.took[200 <= status < 300].append((now - connection.due) * 1000)
        self._free.append(connection)
        if now < self._closed_until:
            self._waiting.append(now)
        self._use_free()

    def lost(self, connection: Connection, *, was_busy: bool) -> None:
        """A connection has ended, perhaps with a request on it."""
        self._open.discard(connection)
        if was_busy:
            self.statuses[0] += 1
        if self._waiting:
            self._connect_one_more()

    def _send(self, due: float) -> None:
        self._waiting.append(due)
        self._use_free()
        if len(self._waiting) > len(self._opening):
            self._connect_one_more()

    def _use_free(self) -> None:
        while self._waiting and self._free:
            connection = self._free.pop()
            if connection.is_open:
                request = self._requests[self._number % len(self._requests)]
                self._number += 1
                connection.ask(request, self._waiting.popleft())

    def _connect_one_more(self) -> None:
        if len(self._open) + len(self._opening) < MOST:
            task = asyncio.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
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
        self._most_open = max(self._most_open, len(self._open))
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
        p50, p99 = np.percentile(good or [float("nan")], [50, 99]).tolist()
        return {
            "asked_per_second": (answered + self._left) / seconds,
            "accepted_per_second": len(good) / seconds,
            "shed_per_second": self.statuses[503] / seconds,
            "failed": failed + self._left,
            "p50_ms": p50,
            "p99_ms": p99,
            "shed_p99_ms": float(np.percentile(other, 99)) if other else None,
            "connections": self._most_open,
        }


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
