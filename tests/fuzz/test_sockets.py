"""Bytes that are hardly HTTP, sent to the gateway's server: it stays up and refuses."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import uvicorn

from ebbtide.ports import LOOPBACK
from ingest_api import bodies
from ingest_api.protocol import MAX_HEAD_BYTES, BoundedProtocol
from tests.unit.ingest_api.stand import TOTALS, Stand

PREDICT = json.dumps(TOTALS).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
BODY = b"content-length: %d\r\n\r\n%s" % (len(PREDICT), PREDICT)


class _Server(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """The gateway on doubles behind its real server; the port."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        config = uvicorn.Config(
            Stand().app, http=BoundedProtocol, log_config=None, access_log=False, lifespan="on",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


async def told(port: int, sent: bytes, *, ends: bool = True) -> bytes:
    """Everything the server says to the bytes, until it or we hang up."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        for at in range(0, len(sent), 65_536):
            writer.write(sent[at : at + 65_536])
            await writer.drain()
        if ends:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b"gone"
    finally:
        writer.close()


async def stays_up(port: int) -> None:
    """It answers an ordinary request as ever."""
    answer = await told(port, HEAD + b"connection: close\r\n" + BODY, ends=False)
    assert answer.startswith(b"HTTP/1.1 200")


NASTY = {
    "no request at all": (b"\x00\x01\x02\xff\r\n\r\n", b"400"),
    "bad request line": (b"POST\r\n\r\n", b"400"),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(100), b"400"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
    "a url that is none": (b"GET //[::1:99999999/ HTTP/1.1\r\nhost: gateway\r\n\r\n", b"40"),
    "endless request line": (b"GET /" + b"a" * 5_000_000, b"431"),
    "endless header": (HEAD + b"x: " + b"a" * 5_000_000, b"431"),
    "endless headers": (HEAD + b"x: y\r\n" * 500_000, b"431"),
    "header without a name": (HEAD + b": x\r\n\r\n", b"400"),
    "header with a null": (HEAD + b"x: \x00\r\n\r\n", b"400"),
    "content-length no number": (HEAD + b"content-length: ten\r\n\r\n", b"400"),
    "negative content-length": (HEAD + b"content-length: -1\r\n\r\n", b"400"),
    "endless content-length": (HEAD + b"content-length: " + b"9" * 60 + b"\r\n\r\n", b"400"),
    "two content-lengths": (HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"),
    "length and chunks": (HEAD + b"transfer-encoding: chunked\r\n" + BODY, b"400"),
    "chunk size no number": (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
    "endless chunk": (HEAD + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", b"400"),
    "body longer than told": (HEAD + b"content-length: 2\r\n\r\n{}garbage\r\n\r\n", b"4"),
    "body too large, told": (HEAD + b"content-length: 99999999\r\n\r\n", b"413"),
    "body too large, in chunks": (
        HEAD + b"transfer-encoding: chunked\r\n\r\nffff\r\n" + b" " * 65_535
        + b"\r\n5\r\n     \r\n", b"413",
    ),
    "gzip": (
        HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(gzip.compress(PREDICT))
        + gzip.compress(PREDICT), b"415",
    ),
    "gzip that says it is JSON": (
        HEAD + b"content-length: 24\r\n\r\n" + gzip.compress(bytes(10_000_000))[:24], b"400",
    ),
    "another protocol asked for": (
        b"GET /livez HTTP/1.1\r\nhost: gateway\r\n"
        b"connection: upgrade\r\nupgrade: websocket\r\n\r\n", b"200",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "status"), NASTY.values(), ids=NASTY)
async def test_what_is_hardly_http_is_refused(sent: bytes, status: bytes) -> None:
    """
    And the next request is answered; what our code refuses is a problem in JSON.
    """
    async with serving() as port:
        answer = await told(port, sent)

        assert answer == b"gone" or answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        if status in {b"413", b"415", b"422"}:
            assert b"application/problem+json" in answer
        await stays_up(port)


async def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The client is told, and nobody else waits meanwhile.
    """
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    async with serving() as port:
        slow = asyncio.create_task(told(port, HEAD + b"content-length: 9\r\n\r\n{", ends=False))
        await stays_up(port)

        assert (await slow).startswith(b"HTTP/1.1 408")


async def test_large_but_allowed_heads_are_read_whatever_pieces_they_come_in() -> None:
    """
    Several requests on one connection count each for itself.
    """
    half = HEAD + b"x: " + b"a" * (MAX_HEAD_BYTES // 2) + b"\r\n"
    async with serving() as port:
        answer = await told(port, (half + BODY) * 3 + half + b"connection: close\r\n" + BODY)

        assert 4 == answer.count(b"HTTP/1.1 200")


async def test_any_spoiled_request_is_survived() -> None:
    """
    Good requests with some of their bytes changed, left out or repeated.
    """
    choose = random.Random(5)
    good = HEAD + BODY
    async with serving() as port:
        for _ in range(200):
            spoiled = bytearray(good)
            for _ in range(choose.randint(1, 4)):
                at = choose.randrange(len(spoiled))
                spoiled[at : at + choose.randint(0, 3)] = choose.randbytes(choose.randint(0, 3))
            answer = await told(port, bytes(spoiled))
            assert b"HTTP/1.1 5" not in answer
        await stays_up(port)
