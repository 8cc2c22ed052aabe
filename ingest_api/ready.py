"""Answers as bytes, and who waits for one."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

from starlette.responses import Response

Headers = Sequence[tuple[bytes, bytes]]


class Asking(Protocol):
    """A connection that waits for an answer."""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """What the server puts before the headers of every answer; another list once it changes."""
        ...

    def reply(self, answer: bytes) -> None:
        """Write it; never raises."""
        ...


class Ready:
    """A response made once and written many times."""

    def __init__(self, answer: Response) -> None:
        self.status = answer.status_code
        self.headers = answer.raw_headers
        self.body = bytes(answer.body)
        self._of: Headers | None = None
        self._wire = b""

    def on_the_wire(self, server: Headers) -> bytes:
        """All of it; server: the headers that stand first, another list once they change."""
        if self._of is not server:
            self._of = server
            phrase = HTTPStatus(self.status).phrase.encode()
            head = lines([*server, *self.headers])
            self._wire = b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (self.status, phrase, head, self.body)
        return self._wire


def lines(headers: Headers) -> bytes:
    """Headers as they stand in an answer, each with the end of its line."""
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)
