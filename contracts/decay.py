"""Fixed-point decay: how much of a count is left after whole days.

Integers, so that a sum does not depend on the machine, and a table, so that live scoring and
training look up the same number. Entries come from exact decimal arithmetic, not from libm.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from typing import Final

import numpy as np

from contracts.record import HALF_LIVES

ONE: Final = 1 << 16
"""A decayed count of exactly one."""

TABLE_DAYS: Final = 8192
"""From here on nothing is left: 2**(-8192/240) of the largest u4 rounds to 0."""

_BITS: Final = 32


@cache
def table() -> np.ndarray:
    """(len(HALF_LIVES), TABLE_DAYS + 1) u8: 2**32 * 2**(-days / half_life), rounded."""
    rows = np.zeros((len(HALF_LIVES), TABLE_DAYS + 1), np.uint64)
    with localcontext() as context:
        context.prec = 40
        for row, half_life in enumerate(HALF_LIVES):
            daily = Decimal(2) ** (Decimal(-1) / half_life)
            left = Decimal(1 << _BITS)
            for day in range(TABLE_DAYS):
                rows[row, day] = int(left.to_integral_value())
                left *= daily
    rows.flags.writeable = False
    return rows


def decay(values: np.ndarray, days: np.ndarray) -> np.ndarray:
    """What is left of `values` after `days` whole days, rounded half up.

    values: (n, len(HALF_LIVES)) u8, each below 2**32; days: (n,) non-negative integers.
    """
    factors = table()[:, np.minimum(days, TABLE_DAYS)].T
    left = (values * factors + np.uint64(1 << (_BITS - 1))) >> np.uint64(_BITS)
    return np.where(days[:, None] == 0, values, left)


def worth(days: np.ndarray) -> np.ndarray:
    """(n, len(HALF_LIVES)) u8: what an event `days` whole days old still counts, ONE when new."""
    return decay(np.full((len(days), len(HALF_LIVES)), ONE, np.uint64), days)
