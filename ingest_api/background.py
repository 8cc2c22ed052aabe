"""Heavy work in a thread, beside an event loop that answers requests."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

TURN_SECONDS: Final = 0.0002
"""How long a thread keeps the interpreter from others that want it. By default 5 ms: an event loop
gives it away whenever it looks for work, so each look would cost it that much."""


async def beside(work: Callable[[], None]) -> None:
    """Do `work` in a thread; the loop goes on, hardly slower."""
    with _short_turns():
        await asyncio.to_thread(work)


@contextmanager
def _short_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
