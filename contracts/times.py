"""Time on the wire is ISO 8601 in UTC; inside it is whole milliseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

NEVER: Final = -(2**63)
"""An instant that has not happened. Not 0: 1970 is a real time."""

EARLIEST_MS: Final = 0
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01
"""Instants accepted from outside lie in [EARLIEST_MS, LATEST_MS)."""

SESSION_GAP_MS: Final = 30 * MINUTE_MS
"""Longer than this without activity, and the session has ended."""

BACKFILL_MS: Final = HOUR_MS
"""An event this much older than its log time is a backfill: it changes facts, not the score."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_MS = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware datetime, exact, truncated to the millisecond."""
    return (moment - _EPOCH) // _ONE_MS


def from_ms(ms: int) -> datetime:
    """Return the aware UTC datetime of `ms` milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=ms)


def from_ms_or_none(ms: int) -> datetime | None:
    """Like `from_ms`, with NEVER as None."""
    return None if ms == NEVER else from_ms(ms)
