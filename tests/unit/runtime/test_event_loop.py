"""How an outgoing connection says that it is lost."""

from __future__ import annotations

from typing import Any, cast

import pytest

from runtime.event_loop import Outgoing


class Refusing:
    """A transport that raises when it is written to."""

    def __init__(self, words: str) -> None:
        self._words = words

    def write(self, data: bytes) -> None:
        raise RuntimeError(self._words)

    def writelines(self, data: list[bytes]) -> None:
        raise RuntimeError(self._words)

    def is_closing(self) -> bool:
        return True


def outgoing(words: str) -> Any:
    return Outgoing(cast("Any", Refusing(words)))


def test_a_lost_connection_is_an_oserror() -> None:
    """uvloop's RuntimeError of a closed transport comes out as what client libraries catch."""
    lost = outgoing("unable to perform operation on <TCPTransport>; the handler is closed")

    with pytest.raises(ConnectionResetError):
        lost.write(b"x")
    with pytest.raises(ConnectionResetError):
        lost.writelines([b"x"])


def test_other_errors_stay_what_they_are() -> None:
    """A mistake of the writer is not taken for a lost connection."""
    with pytest.raises(RuntimeError, match="write_eof"):
        outgoing("Cannot call write() after write_eof()").write(b"x")


def test_everything_else_is_the_transport_s() -> None:
    """What is not a write goes to the transport inside."""
    assert outgoing("").is_closing()
