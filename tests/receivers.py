"""Receivers of the tests, on loopback: one that takes HTTP, one that takes mail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from ebbtide.ports import LOOPBACK, free_port


@dataclass(frozen=True)
class Taken:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What an HTTP receiver got; `answer` says with which status it answers, and may take time."""

    url: str = ""
    answer: Callable[[Taken], int] = lambda taken: 204
    taken: list[Taken] = field(default_factory=list)

    def at(self, path: str) -> list[Taken]:
        return [one for one in list(self.taken) if one.path == path]


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """A receiver in threads of its own."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            taken = Taken(self.path, headers, body)
            receiver.taken.append(taken)
            status = receiver.answer(taken)
            try:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()
            except OSError:
                pass  # whoever sent it was killed meanwhile

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    receiver.url = f"http://{LOOPBACK}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def slow(seconds: float) -> Callable[[Taken], int]:
    """An answer that takes its time."""

    def answer(_: Taken) -> int:
        time.sleep(seconds)
        return 204

    return answer


@dataclass
class Mailbox:
    """What an SMTP server got."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@contextmanager
def smtp_server() -> Iterator[Mailbox]:
    """A real SMTP server in a thread of its own."""
    mailbox = Mailbox(free_port())
    controller = Controller(mailbox, hostname=LOOPBACK, port=mailbox.port)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()
