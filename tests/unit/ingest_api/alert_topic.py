"""`churn-alert` as lists, a feed over it, and clients that read its stream an event at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from contracts.alerts import ChurnAlert, encode_alert
from contracts.errors import LogUnavailable
from runtime.handler import Record
from runtime.tail import BEGINNING, MAX_RECORDS, Cursor
from runtime.testing import record

WITHIN_SECONDS = 5.0


class AlertTopic:
    """Kafka's side. `away` refuses and breaks readers; `renew` is the topic deleted and made."""

    def __init__(self, partitions: int = 2) -> None:
        self.log = "0" * 31 + "1"
        self.partitions: list[list[Record]] = [[] for _ in range(partitions)]
        self.beginning = 0
        self.away = False
        self.opened: list[Cursor | None] = []
        self.open_now = 0
        self.changed = asyncio.Event()

    def put(self, alert: ChurnAlert | bytes, partition: int = 0) -> None:
        value = alert if isinstance(alert, bytes) else encode_alert(alert)
        held = self.partitions[partition]
        held.append(record(value, partition=partition, offset=len(held)))
        self.change()

    def renew(self) -> None:
        self.log = f"{int(self.log, 16) + 1:032x}"
        self.partitions = [[] for _ in self.partitions]
        self.change()

    def change(self) -> None:
        """Let every reader look again."""
        self.changed.set()
        self.changed = asyncio.Event()

    @asynccontextmanager
    async def open(self, cursor: Cursor | None) -> AsyncIterator[MemoryTail]:
        if self.away:
            raise LogUnavailable("Kafka is away: it is a test")
        self.opened.append(cursor)
        self.open_now += 1
        try:
            yield MemoryTail(self, cursor)
        finally:
            self.open_now -= 1


class MemoryTail:
    """A Tail of it."""

    def __init__(self, topic: AlertTopic, cursor: Cursor | None) -> None:
        self._topic = topic
        self._gap: str | None = None
        offsets = [len(held) for held in topic.partitions]
        if cursor is not None:
            same = cursor.log == topic.log
            if not same and cursor is not BEGINNING:
                self._gap = "another log"
            stated = cursor.offsets if same else ()
            if any(offset < topic.beginning for offset in stated):
                self._gap = "gone"
            stated += (0,) * (len(offsets) - len(stated))
            offsets = [max(offset, topic.beginning) for offset in stated]
        self.at = Cursor(topic.log, tuple(offsets))

    def take_gap(self) -> str | None:
        gap, self._gap = self._gap, None
        return gap

    async def read(self) -> list[Record]:
        changed = self._topic.changed
        if not self._unread():
            await changed.wait()
        if self._topic.away or self._topic.log != self.at.log:
            raise LogUnavailable("it is a test")
        unread = self._unread()
        for each in unread:
            self.at = self.at.after(each.partition, each.offset)
        return unread

    def _unread(self) -> list[Record]:
        pairs = zip(self._topic.partitions, self.at.offsets, strict=True)
        return [each for held, offset in pairs for each in held[offset:]][:MAX_RECORDS]


@dataclass(frozen=True)
class Event:
    """One event, or sign of life (`name` is empty), of a stream."""

    name: str
    data: Any
    id: str | None


class Listener:
    """A client of the stream, called in-process; it reads only when asked to, if `slow`."""

    def __init__(
        self, app: FastAPI, query: str = "", *, after: str | None = None, slow: bool = False,
        method: str = "GET", extensions: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        headers = [] if after is None else [(b"last-event-id", after.encode())]
        self._scope = {
            "type": "http", "method": method, "path": "/alerts/stream", "raw_path": b"",
            "query_string": query.encode(), "headers": headers, "extensions": extensions or {},
        }  # fmt: skip
        self._app = app
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._left = asyncio.Event()
        self._room = asyncio.Event()
        if not slow:
            self._room.set()
        self._unparsed = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            await self._room.wait()
        self._messages.put_nowait(message)

    def read_on(self) -> None:
        """Take what is sent from here on."""
        self._room.set()

    async def leave(self) -> None:
        """Hang up, and wait until the gateway is done with it."""
        self._left.set()
        await self.ended()

    async def ended(self) -> None:
        """Until the gateway is done with the request."""
        async with asyncio.timeout(WITHIN_SECONDS):
            await asyncio.wait([self.task])
        self.task.result()

    async def started(self) -> int:
        """The status."""
        async with asyncio.timeout(WITHIN_SECONDS):
            message = await self._messages.get()
        self.status = message["status"]
        self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        return self.status

    async def body(self) -> bytes:
        """What is left, to its end."""
        pieces = [self._unparsed]
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                message = await self._messages.get()
                pieces.append(message["body"])
                if not message.get("more_body"):
                    return b"".join(pieces)

    async def next(self) -> Event:
        """The next event or sign of life."""
        while True:
            block, separator, rest = self._unparsed.partition(b"\n\n")
            if not separator:
                async with asyncio.timeout(WITHIN_SECONDS):
                    self._unparsed += (await self._messages.get())["body"]
                continue
            self._unparsed = rest
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
            if fields.keys() == {b"retry"}:
                continue
            place = fields.get(b"id")
            return Event(
                fields.get(b"event", b"").decode(),
                json.loads(fields[b"data"]) if b"data" in fields else None,
                None if place is None else place.decode(),
            )

    async def event(self, name: str = "alert") -> Event:
        """The next event, which has to be of that name."""
        while True:
            found = await self.next()
            if found.name:
                assert name == found.name, found
                return found


async def until(holds: Callable[[], bool]) -> None:
    """Let the others run until it holds."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while not holds():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0)
