"""A connection to the gateway's server as bytes in and bytes out, without a socket."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from ingest_api.protocol import BoundedProtocol

_LENGTH = re.compile(rb"content-length: (\d+)")
ROUNDS = 2_000


@dataclass(frozen=True)
class Answer:
    """One answer off the wire."""

    status: int
    headers: tuple[bytes, ...]
    """In the order of their names."""
    body: bytes


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Wire:
    """A client of `app`; made inside an event loop."""

    def __init__(self, app: Any) -> None:
        config = uvicorn.Config(app, http=BoundedProtocol, log_config=None, access_log=False)
        config.load()
        self.transport = _Transport()
        self.server = BoundedProtocol(config, ServerState(), {})
        self.server.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        """As one piece."""
        self.server.data_received(data)

    def leave(self) -> None:
        """Hang up."""
        self.server.connection_lost(None)

    async def answers(self, count: int) -> list[Answer]:
        """The first so many, once they are here."""
        for _ in range(ROUNDS):
            found = _parsed(self.transport.written)
            if len(found) >= count:
                return found
            await asyncio.sleep(0)
        raise AssertionError(f"{len(found)} of {count} answers: {self.transport.written!r}")

    async def ask(self, data: bytes) -> Answer:
        """Send it; the answer to it, which has to be the first on this connection."""
        self.send(data)
        (answer,) = await self.answers(1)
        return answer


def post(path: str, body: bytes, content_type: str = "application/json", more: str = "") -> bytes:
    """A request; more: further header lines, each with its end."""
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: {content_type}\r\n{more}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _parsed(data: bytes) -> list[Answer]:
    found = []
    while b"\r\n\r\n" in data:
        head, data = data.split(b"\r\n\r\n", 1)
        first, *headers = head.split(b"\r\n")
        told = _LENGTH.search(head)
        length = int(told[1]) if told else 0
        if len(data) < length:
            break
        body, data = data[:length], data[length:]
        found.append(Answer(int(first.split()[1]), tuple(sorted(headers)), body))
    return found
