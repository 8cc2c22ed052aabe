"""The ring of 28 UTC days that ends at last-seen's day, and the decayed counts beside it."""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.record import RING_DAYS

DAYS: Final = ("day_pages", "day_seconds", "day_sessions")

_ALL_DAYS: Final = np.int64((1 << RING_DAYS) - 1)
_SLOTS: Final = np.arange(RING_DAYS)


def advance_ring(facts: np.ndarray, day: np.ndarray, days: np.ndarray) -> None:
    """Move the rings of `facts` on, in place: the days entered are empty.

    day: (m,) last-seen's day before; days: (m,) how many days it moves, 0 or more.
    """
    moved = np.flatnonzero(days)
    if not len(moved):
        return
    entered = days[moved, None] > (_SLOTS - day[moved, None] - 1) % RING_DAYS
    row, slot = np.nonzero(entered)
    for name in DAYS:
        facts[name][moved[row], slot] = 0
    facts["day_bits"][moved] = _shift_bits(facts["day_bits"][moved], days[moved])


def _shift_bits(bits: np.ndarray, days: np.ndarray) -> np.ndarray:
    """(m,) i8 day bits after `days` more days; the oldest fall out."""
    shifted: np.ndarray = (bits.astype(np.int64) << np.minimum(days, RING_DAYS)) & _ALL_DAYS
    return shifted


def add_to_ring(
    facts: np.ndarray, name: str, at: np.ndarray, slot: np.ndarray, amount: np.ndarray
) -> None:
    """Add amounts (n,) i8 to ring `name`, in place; a day saturates."""
    wide = facts[name].astype(np.int64)
    np.add.at(wide.reshape(-1), at * RING_DAYS + slot, amount)
    facts[name] = np.minimum(wide, np.iinfo(facts[name].dtype).max)
