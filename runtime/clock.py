"""The partition clock: how far time has come for the users of one partition."""

from __future__ import annotations

import time
from collections.abc import Callable


def wall_ms() -> int:
    """Milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


def partition_clock(*, log_time: int, caught_up_at: int | None) -> int:
    """Moment up to which silence may be believed, epoch ms.

    log_time: time of the last record folded. caught_up_at: when a fetch last showed that nothing
    was unread, None if something is. Only then silence is real: behind, a user's return may lie
    unread in the backlog, so time stands where the last folded record put it.
    """
    return log_time if caught_up_at is None else max(log_time, caught_up_at)


class Awake:
    """Seconds during which the event loop ran: stands still while the process is suspended."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, most: float = 3.0) -> None:
        """most: a longer pause between two ticks is taken for this many seconds."""
        self._monotonic = monotonic
        self._most = most
        self._last = monotonic()
        self._seconds = 0.0

    def tick(self) -> None:
        """Called every second by who watches."""
        now = self._monotonic()
        self._seconds += min(now - self._last, self._most)
        self._last = now

    def now(self) -> float:
        """Seconds as of the last tick."""
        return self._seconds
