"""Whether the event loop itself still turns, watched from a thread.

A loop that is busy with one computation answers no probe, sends no heartbeat and runs none of its
own watchmen.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType

import structlog

logger = structlog.get_logger(__name__)

BEAT_SECONDS = 1.0
EXIT_FACTOR = 3


class Pulse:
    """For the length of a `with` block: after `limit` seconds without a turn of the loop, log where
    it is; after three times as long, end the process, for whoever started it to do so again.

    Its own beats are counted rather than a clock read: a process that was suspended for an hour
    and goes on has missed none.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limit: float,
        exit_code: int,
        leave: Callable[[int], object] = os._exit,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._loop = loop
        self._limit = max(round(limit / beat_seconds), 1)
        self._exit_code = exit_code
        self._leave = leave
        self._beat_seconds = beat_seconds
        self._missed = 0
        self._watched = threading.get_ident()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _turned(self) -> None:
        self._missed = 0

    def _watch(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            self._missed += 1
            if self._missed == self._limit:
                self._tell("event_loop_stands_still")
            if self._missed >= self._limit * EXIT_FACTOR:
                self._tell("event_loop_given_up")
                self._leave(self._exit_code)
                return
            self._loop.call_soon_threadsafe(self._turned)

    def _tell(self, event: str) -> None:
        frame = sys._current_frames().get(self._watched)
        where = "".join(traceback.format_stack(frame)[-12:]) if frame is not None else ""
        logger.error(event, seconds=self._missed * self._beat_seconds, where=where)
