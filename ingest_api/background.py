"""Heavy work in a thread, beside an event loop that answers requests."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

TURN_SECONDS: Final = 0.0002
"""How long a thread keeps the interpreter from others that want it. By default 5 ms: an event loop
gives it away whenever it looks for work, so each look would cost it that much."""


async def beside(work: Callable[[], T]) -> T:
    """Do `work` in a thread and return what it does; the loop goes on, hardly slower."""
    with _turns:
        return await asyncio.to_thread(work)


class _ShortTurns:
    """Turns are short as long as somebody is inside. Of one thread, the event loop's."""

    def __init__(self) -> None:
        self._inside = 0
        self._before = 0.0

    def __enter__(self) -> None:
        if self._inside == 0:
            self._before = sys.getswitchinterval()
            sys.setswitchinterval(TURN_SECONDS)
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1
        if self._inside == 0:
            sys.setswitchinterval(self._before)


_turns: Final = _ShortTurns()
