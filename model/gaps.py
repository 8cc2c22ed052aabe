"""Logarithms of gaps between sessions, in integers: the same on every machine."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, localcontext
from functools import cache
from typing import Final

import numpy as np

OCTAVE: Final = 256
"""Steps per doubling."""


def log2_steps(seconds: np.ndarray) -> np.ndarray:
    """(n,) i8: floor(OCTAVE * log2(seconds)) of (n,) i8 in [0, 2**32); 0 counts as 1."""
    seconds = np.maximum(seconds, 1)
    # frexp is exact below 2**53: it reads the exponent, it does not compute one.
    length = np.frexp(seconds.astype(np.float64))[1].astype(np.int64)
    mantissa = seconds << (32 - length)
    return (length - 1) * OCTAVE + np.searchsorted(_bounds(), mantissa, side="right") - 1


@cache
def _bounds() -> np.ndarray:
    """(OCTAVE,) i8: the smallest 32-bit mantissa of each step, from exact decimal arithmetic."""
    with localcontext() as context:
        context.prec = 40
        step = Decimal(2) ** (Decimal(1) / OCTAVE)
        bounds = [
            int((Decimal(1 << 31) * step**k).to_integral_value(ROUND_CEILING))
            for k in range(OCTAVE)
        ]
    return np.array(bounds, np.int64)
