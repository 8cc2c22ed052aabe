"""Reading of many people, for the audit log: exports, and who goes on through lists page by page.

The first page of a list is what the dashboard shows and asks for again and again; it is no act.
Who asks for what is behind it begins a reading, which ends when nothing more is asked for. A
reading is told when it begins, so that a gateway that dies leaves a trace of it, and when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.types import Message, Send

from contracts.times import from_ms
from ingest_api.access import Caller
from ingest_api.audit import Act, Trail, shortened

READ: Final = "ebbtide.read"
"""In the ASGI scope: what a route gave out."""
IDLE_MS: Final = 60_000
LOOK_SECONDS: Final = 5.0
MOST_READINGS: Final = 1_000
"""Kept in mind; beyond, the one that waits longest counts as ended."""
_PAGING: Final = frozenset({"cursor", "limit", "skip", "after"})


@dataclass(slots=True)
class Read:
    """What one request was given of many people."""

    is_export: bool
    rows: int = 0
    is_whole: bool = False
    """Whether an export came to its end."""


def export(request: Request) -> Read:
    """Say that this request takes out a list in whole; the caller counts on in what is returned."""
    read = Read(is_export=True)
    request.scope[READ] = read
    return read


def further_page(request: Request, rows: int) -> None:
    """Say that this request was given rows from behind the first page of a list."""
    request.scope[READ] = Read(is_export=False, rows=rows)


class _Reader(NamedTuple):
    """Who reads what."""

    who: str
    via: Any
    address: str
    path: str
    filters: str


@dataclass(slots=True)
class _Reading:
    requests: int = 0
    rows: int = 0
    last_ms: int = 0


class MassReads:
    """Notes readings. now: epoch ms of the wall."""

    def __init__(self, trail: Trail, now: Callable[[], int]) -> None:
        self._trail = trail
        self._now = now
        self._readings: dict[_Reader, _Reading] = {}
        """The one that waits longest first."""

    def noting_start(self, scope: Any, caller: Caller, send: Send) -> Send:
        """A send that tells of an export when its answer begins."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                read: Read | None = scope.get(READ)
                if read is not None and read.is_export:
                    self._tell(_reader(scope, caller), "begun", message["status"])
            await send(message)

        return sending

    def answered(self, scope: Any, caller: Caller) -> None:
        """Take in what a request was given, once it is over."""
        read: Read | None = scope.get(READ)
        if read is None:
            return
        reader = _reader(scope, caller)
        if read.is_export:
            how = "ended with" if read.is_whole else "broken off after"
            self._tell(reader, f"{how} {read.rows} rows")
            return
        reading = self._readings.pop(reader, None)
        if reading is None:
            reading = _Reading()
            self._tell(reader, "reads on behind the first page")
        self._readings[reader] = reading
        reading.requests += 1
        reading.rows += read.rows
        reading.last_ms = self._now()
        if len(self._readings) > MOST_READINGS:
            self._end(next(iter(self._readings)))

    async def run(self) -> None:
        """End what nobody goes on with, until cancelled; then all."""
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                self.look()
        finally:
            for reader in list(self._readings):
                self._end(reader)

    def look(self) -> None:
        """End the readings that nobody goes on with."""
        until = self._now() - IDLE_MS
        for reader, reading in list(self._readings.items()):
            if reading.last_ms <= until:
                self._end(reader)

    def _end(self, reader: _Reader) -> None:
        reading = self._readings.pop(reader)
        times = "request" if reading.requests == 1 else "requests"
        self._tell(reader, f"ended after {reading.rows} rows in {reading.requests} {times}")

    def _tell(self, reader: _Reader, said: str, status: int = 200) -> None:
        filters = f"; {reader.filters}" if reader.filters else ""
        self._trail.note(
            Act(
                at=from_ms(self._now()),
                who=reader.who,
                via=reader.via,
                action=f"GET {reader.path}",
                target=reader.path,
                status=status,
                address=reader.address,
                said=shortened(said + filters),
                kind="read",
            )
        )


def _reader(scope: Any, caller: Caller) -> _Reader:
    told = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    filters = urlencode([pair for pair in told if pair[0] not in _PAGING])
    address = (scope.get("client") or ("",))[0]
    return _Reader(caller.name, caller.via, address, shortened(scope["path"]), filters)
