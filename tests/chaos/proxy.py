"""A TCP proxy between one service and one server that can do what networks do.

Each service has a proxy of its own to each server, so that one service can be cut off while the
others go on. A Kafka broker tells its clients where to connect, and an embedded broker can tell
only one address: a proxy to Kafka therefore writes its own address over the broker's in whatever
the broker answers, and no broker has to know of any proxy. Redis has one address and no such
trouble; the nodes of a Redis Cluster name each other's, so their clients go past proxies.

The proxy has an event loop and a thread of its own: a driver that is busy for a second is not a
network that stalls for one. Its methods may be called from any thread and do not wait long.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from ebbtide.ports import LOOPBACK
from tests.servers import steady_port

CHUNK = 64 * 1024
CONNECT_SECONDS = 2.0


@dataclass(eq=False)
class Proxy:
    """Listens on `port` and passes every byte on to `target`, until told otherwise."""

    name: str
    """Who talks to whom, as in `scorer-kafka`."""

    target: int
    """The server's port on loopback."""

    kafka: bool = False
    """Whether addresses in the server's answers have to become ours."""

    port: int = field(default_factory=steady_port)

    delay_s: float = field(default=0.0, init=False)
    _stalled: frozenset[Way] = field(default=frozenset(), init=False)
    _flows: asyncio.Condition = field(default_factory=asyncio.Condition, init=False)
    _connections: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _listener: asyncio.Server | None = field(default=None, init=False)
    _network: _Network = field(init=False)

    def start(self) -> None:
        """Listen."""
        self._network = _Network()
        self._network.run(self._open())

    def close(self) -> None:
        """Stop listening, break every connection and end the thread."""
        self._network.run(self._shut(), self._reset())
        self._network.end()

    def reset(self) -> None:
        """Break every connection, as a router that restarts does; new ones are welcome."""
        self._network.run(self._reset())

    def refuse(self) -> None:
        """Break every connection and refuse new ones, until `heal`."""
        self._network.run(self._shut(), self._reset())

    def stall(self, *ways: Way) -> None:
        """Hold back every byte, or those of one way only, until `heal`; nobody is told.

        Connections can be made: the kernel accepts them for us. After `heal` what was held back
        arrives, as TCP would repeat it; after `reset` or `refuse` it never does.
        """
        self._network.run(self._stall(frozenset(ways or ("there", "back"))))

    def delay(self, seconds: float) -> None:
        """Hold back every piece, either way, for so long, until `heal`."""
        self.delay_s = seconds

    def point_at(self, target: int) -> None:
        """From here on another server answers at this address."""
        self.target = target
        self.reset()

    def heal(self) -> None:
        """Back to a network without a fault."""
        self.delay_s = 0.0
        self._network.run(self._open(), self._stall(frozenset()))

    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    async def _open(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accepted, LOOPBACK, self.port)

    async def _shut(self) -> None:
        if self._listener is None:
            return
        # A connection accepted in the same round gets its transport in the next, from a server that
        # must still be there, or nobody closes its socket (CPython's gh-109564).
        loop = asyncio.get_running_loop()
        for listening in self._listener.sockets:
            loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)
        self._listener.close()
        self._listener = None

    async def _reset(self) -> None:
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _stall(self, ways: frozenset[Way]) -> None:
        async with self._flows:
            self._stalled = ways
            self._flows.notify_all()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._listener is None:
            _abort(writer)  # it was accepted in the round in which we stopped listening
            return
        connection = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(connection)

        def over(connection: asyncio.Task[None]) -> None:
            self._connections.discard(connection)
            if connection.cancelled():
                _abort(writer)  # one that is cancelled before its first step closes nothing itself

        connection.add_done_callback(over)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        end: Callable[[asyncio.StreamWriter], None] = _abort
        try:
            await self._clear("there")
            async with asyncio.timeout(CONNECT_SECONDS):
                answers, server = await asyncio.open_connection(LOOPBACK, self.target)
            writers.append(server)
            await _first_done(
                self._pass(_chunk, reader, server, "there"),
                self._pass(_frame if self.kafka else _chunk, answers, writer, "back"),
            )
            end = _close
        except (OSError, TimeoutError):
            pass  # either side broke its connection: so does the other, below
        finally:
            for each in writers:
                end(each)

    async def _pass(
        self, read: Read, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        while data := await read(reader):
            await self._clear(way)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.kafka and way == "back":
                data = data.replace(_address(self.target), _address(self.port))
            writer.write(data)
            await writer.drain()

    async def _clear(self, way: Way) -> None:
        if way in self._stalled:
            async with self._flows:
                await self._flows.wait_for(lambda: way not in self._stalled)


Way = Literal["there", "back"]
"""`there`: from the service to the server; `back`: its answers."""

Read = Callable[[asyncio.StreamReader], Awaitable[bytes]]


async def _first_done(*ways: Coroutine[Any, Any, None]) -> None:
    """Run all until one is done; raises what that one raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    # Lingering for no time makes the kernel send RST instead of FIN.
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    writer.transport.abort()


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    return await reader.read(CHUNK)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One answer of Kafka's protocol, its length first: an address in it is in one piece."""
    try:
        length = await reader.readexactly(4)
        return length + await reader.readexactly(int.from_bytes(length, "big"))
    except asyncio.IncompleteReadError:
        return b""


def _address(port: int) -> bytes:
    """Of a broker in Metadata and FindCoordinator: the end of the host, then the port."""
    return LOOPBACK.encode() + struct.pack(">i", port)


async def _others_done() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


class _Network:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, *works: Coroutine[Any, Any, None]) -> None:
        """Run these one after the other there, and wait for them."""

        async def in_turn() -> None:
            for work in works:
                await work

        asyncio.run_coroutine_threadsafe(in_turn(), self._loop).result(10)

    def end(self) -> None:
        """End the thread."""
        # The loop makes a connection's transport in tasks of its own, and a closed transport tells
        # its protocol in the next round.
        self.run(_others_done(), asyncio.sleep(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
