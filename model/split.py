"""Where training ends and validation begins: later in time, a horizon apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

VALIDATION_SHARE: Final = 0.25
"""Part of the usable time (without the embargo) that the later validation period takes."""


@dataclass(frozen=True)
class Split:
    """Rows as of `train_until` or before train; rows as of `validate_from` or later validate.

    Both are epoch ms. They are one horizon apart (the embargo): a training row's label looks that
    far ahead, and must not look into the validation period.
    """

    train_until: int
    validate_from: int

    def train(self, as_of: np.ndarray) -> np.ndarray:
        """(n,) bool: rows whose label was known before validation begins."""
        return np.asarray(as_of <= self.train_until)

    def validation(self, as_of: np.ndarray) -> np.ndarray:
        """(n,) bool: rows of the later period."""
        return np.asarray(as_of >= self.validate_from)


def later_period(first: int, last: int, horizon_ms: int) -> Split:
    """Split rows drawn from [first, last] (epoch ms) with an embargo of `horizon_ms`.

    Raises ValueError when the embargo leaves nothing.
    """
    usable = last - first - horizon_ms
    if usable <= 0:
        raise ValueError("the rows span no more than one horizon")
    validate_from = last - round(usable * VALIDATION_SHARE)
    return Split(validate_from - horizon_ms, validate_from)
