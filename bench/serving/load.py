"""Load on an HTTP server: as much as it takes, or requests at fixed moments.

The closed loop is wrk (https://github.com/wg/wrk), which must be on the PATH: a client in Python
would be slower than what it measures. The open loop sends at moments drawn beforehand and counts
latency from those, so a server that stalls is charged for the requests that had to wait
(coordinated omission: Tene, "How NOT to Measure Latency", 2013).
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from contracts.errors import Misconfigured

CONNECTIONS = 32
_WAITS: Final = r"(?:50|99)%\s+([\d.]+)(us|ms|s|m)\b"
_MILLISECONDS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Throughput:
    """What a closed loop saw."""

    requests_per_second: float
    errors: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Latency:
    """What an open loop saw, in milliseconds from the moment a request was due."""

    p50: float
    p99: float
    p999: float
    errors: int


def require_wrk() -> str:
    """Path of wrk; raises Misconfigured when it is not installed."""
    path = shutil.which("wrk")
    if path is None:
        raise Misconfigured("wrk is not on the PATH: install the package wrk (Debian, Homebrew)")
    return path


def throughput(
    url: str, bodies: Sequence[bytes], seconds: float, *, connections: int = CONNECTIONS
) -> Throughput:
    """Requests a second, each connection asking again once it is answered; the bodies in turn."""
    quoted = ", ".join(f"[==[{body.decode()}]==]" for body in bodies)
    script = f"""
local bodies = {{ {quoted} }}
local at = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  at = at % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
"""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        told = subprocess.run(
            [
                *(require_wrk(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
                *("--latency", "--timeout", "10s", "-s", str(Path(file.name)), url),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    if rate is None:
        raise RuntimeError(f"wrk said: {told}")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    broken = [int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", told)]
    waits = [float(n) * _MILLISECONDS[unit] for n, unit in re.findall(_WAITS, told)]
    p50, p99 = waits or (float("nan"), float("nan"))
    return Throughput(float(rate[1]), (int(failed[1]) if failed else 0) + sum(broken), p50, p99)


async def latency(
    port: int,
    bodies: Sequence[bytes],
    *,
    per_second: float,
    seconds: float,
    seed: int,
    path: str = "/predict",
) -> Latency:
    """Poisson arrivals at `per_second`, each on the first free of CONNECTIONS connections."""
    random = np.random.default_rng(seed)
    due = np.cumsum(random.exponential(1 / per_second, int(per_second * seconds)))
    requests = [_request(path, body) for body in bodies]
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    took: list[float] = []
    errors = 0

    async def send(number: int, at: float) -> None:
        nonlocal errors
        reader, writer = await free.get()
        writer.write(requests[number % len(requests)])
        if not await _answered(reader):
            errors += 1
        took.append((time.perf_counter() - at) * 1000)
        free.put_nowait((reader, writer))

    start = time.perf_counter() + 0.05
    under_way = []
    for number, offset in enumerate(due):
        at = start + float(offset)
        await asyncio.sleep(max(at - time.perf_counter(), 0))
        under_way.append(asyncio.create_task(send(number, at)))
    await asyncio.gather(*under_way)
    while not free.empty():
        free.get_nowait()[1].close()
    p50, p99, p999 = np.percentile(took, [50, 99, 99.9])
    return Latency(float(p50), float(p99), float(p999), errors)


def _request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answered(reader: asyncio.StreamReader) -> bool:
    """Read one answer; whether it is a 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    await reader.readexactly(int(length[1]) if length else 0)
    return b" 200 " in head.split(b"\r\n", 1)[0]
