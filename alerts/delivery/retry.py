"""When a delivery that failed is tried again: the schedule Standard Webhooks recommends."""

from __future__ import annotations

from typing import Final

from contracts.ids import digest
from contracts.times import HOUR_MS, MINUTE_MS, SECOND_MS

WAITS_MS: Final = (
    5 * SECOND_MS,
    5 * MINUTE_MS,
    30 * MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
    10 * HOUR_MS,
    14 * HOUR_MS,
    20 * HOUR_MS,
    24 * HOUR_MS,
)
"""Between attempt n and the next: ten attempts over three days."""

JITTER: Final = 0.2
"""Up to this much longer, so that what failed together does not come back together."""

LONGEST_MS: Final = 24 * HOUR_MS
"""What a receiver may ask for with Retry-After."""


def next_attempt(row_id: str, attempts: int, now_ms: int, retry_after_ms: int | None) -> int | None:
    """When to try again after `attempts` attempts, epoch ms; None when that was the last.

    The jitter follows from the delivery and the attempt, so the same failure gives the same time.
    A receiver's Retry-After makes the wait longer, never shorter.
    """
    if not 0 < attempts <= len(WAITS_MS):
        return None
    share = int(digest(row_id, str(attempts))[:8], 16) / 2**32
    wait = round(WAITS_MS[attempts - 1] * (1 + JITTER * share))
    return now_ms + max(wait, min(retry_after_ms or 0, LONGEST_MS))
