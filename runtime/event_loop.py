"""uvloop's event loop, with connections that break as asyncio's do.

Once a connection is lost, asyncio's transports swallow what is written, and the stream's `drain`
raises ConnectionResetError. uvloop's raise RuntimeError instead ("unable to perform operation on
<TCPTransport closed=True ...>; the handler is closed") from the moment the reset is noticed, before
the protocol has been told. aiokafka and redis-py catch OSError around a write and nothing else: in
aiokafka the RuntimeError ends the task that sends for a producer, which never sends again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

import uvloop

if TYPE_CHECKING:
    from asyncio import Transport

CLOSED: Final = "the handler is closed"


class Loop(uvloop.Loop):
    """An event loop whose outgoing connections raise ConnectionResetError where they are lost."""

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """As asyncio's; whatever opens streams (asyncio.open_connection, aiokafka) comes here."""
        transport, protocol = await super().create_connection(*args, **kwargs)
        return Outgoing(cast("Transport", transport)), protocol


class Outgoing:
    """A transport as its writers see it; its protocol and the loop know the one inside."""

    __slots__ = ("_inside",)

    def __init__(self, inside: Transport) -> None:
        self._inside = inside

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inside, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._inside.write(data)
        except RuntimeError as error:
            raise _honest(error) from error

    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        try:
            self._inside.writelines(data)
        except RuntimeError as error:
            raise _honest(error) from error


def _honest(error: RuntimeError) -> Exception:
    return ConnectionResetError(str(error)) if CLOSED in str(error) else error
