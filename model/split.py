"""Walk-forward in time: fit on the past, wait a horizon, judge what comes next, move on.

One later period would do for a steady business. Several show whether a choice holds from one
season to the next, and their pooled predictions are what candidates and calibrations are chosen
on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from contracts.times import DAY_MS

PERIODS: Final = 4
VALIDATION_SHARE: Final = 0.5
"""Part of the usable time (without the embargo) that the validation periods take together."""

ALWAYS: Final = -(2**62)
"""Before any moment of a log."""


@dataclass(frozen=True)
class Split:
    """Rows in (train_after, train_until] train; rows in [validate_from, validate_until) validate.

    All are epoch ms. An embargo lies between training and validation: a training row's label
    looks a horizon ahead, and must not look into the validation period.
    """

    train_until: int
    validate_from: int
    validate_until: int
    train_after: int = ALWAYS

    def train(self, as_of: np.ndarray) -> np.ndarray:
        """(n,) bool: rows whose label was known before validation begins, and are not too old."""
        return np.asarray((as_of > self.train_after) & (as_of <= self.train_until))

    def validation(self, as_of: np.ndarray) -> np.ndarray:
        """(n,) bool: rows of the validation period."""
        return np.asarray((as_of >= self.validate_from) & (as_of < self.validate_until))


def walk_forward(
    first: int, last: int, embargo_ms: int, periods: int = PERIODS
) -> tuple[Split, ...]:
    """Splits of rows drawn from [first, last] (epoch ms), the earliest validation first.

    The validation periods follow each other without a gap up to `last`, which belongs to the
    final one. Raises ValueError when the embargo leaves nothing.
    """
    usable = last - first - embargo_ms
    if usable < 2 * periods:
        raise ValueError("the rows span no more than one embargo")
    bounds = (
        last
        + 1
        - np.rint(usable * VALIDATION_SHARE * np.linspace(1, 0, periods + 1)).astype(np.int64)
    )
    return tuple(Split(start - embargo_ms, start, end) for start, end in pairwise(bounds.tolist()))


def remembering(splits: Sequence[Split], days: int | None) -> tuple[Split, ...]:
    """The same periods, each predicted from rows no older than `days`; None: from all."""
    return tuple(
        replace(split, train_after=memory_begins(split.train_until, days)) for split in splits
    )


def memory_begins(until: int, days: int | None) -> int:
    """Epoch ms after which a memory of `days` that ends at `until` begins; None: always."""
    return ALWAYS if days is None else until - days * DAY_MS
