"""Ctrl-C while sending: the chunk under way is finished, then we stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STOPPED_EXIT_CODE = 130
_IMPATIENT_SECONDS = 1.0


class Stopping:
    """Asked to stop, or not yet."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Ask to stop at the next opportunity."""
        self._asked.set()

    async def pause(self, seconds: float) -> bool:
        """Wait so many seconds, or until asked to stop; True in that case."""
        if seconds <= 0:
            await asyncio.sleep(0)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), seconds)
        return self._asked.is_set()


@contextmanager
def stopping_on_signals() -> Iterator[Stopping]:
    """SIGINT and SIGTERM ask to stop; one more, a second later, raises KeyboardInterrupt."""
    stopping = Stopping()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    first: float | None = None

    def ask() -> None:
        nonlocal first
        stopping.ask()
        if first is None:
            first = loop.time()
        # A process group may hand us the same Ctrl-C twice.
        elif loop.time() - first >= _IMPATIENT_SECONDS and task is not None:
            task.cancel()

    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, ask)
    try:
        yield stopping
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
