"""The partition clock: how far time has come for the users of one partition."""

from __future__ import annotations

import time


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
