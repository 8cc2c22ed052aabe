"""Facts of a user who was away longer than the retention start anew."""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.record import blank_facts

# What the log did, not what the user did: it outlives an expiry.
_KEPT: Final = ("log_number", "offset", "log_time", "id_next", "ids_low", "ids_high")


def expire(facts: np.ndarray, rows: np.ndarray) -> None:
    """Blank the facts of `rows`, in place, except for position and duplicate window."""
    blank = blank_facts(len(rows))
    for name in _KEPT:
        blank[name] = facts[name][rows]
    facts[rows] = blank
