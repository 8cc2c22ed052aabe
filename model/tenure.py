"""How long a user has been here, where the log cannot know.

Who was first seen soon after the log begins may have come years before: unless something states
their sign-up, their tenure is unknown, and stays unknown in training and in scoring alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from contracts.times import NEVER
from model.features import Feature

_TENURES: Final = ("tenure_days", "days_since_signup")

ALWAYS_UNKNOWN: Final = int(np.iinfo(np.int64).max)
"""As `since`: a first visit never tells a tenure."""


def with_known_tenure(
    values: np.ndarray, facts: np.ndarray, since: int | None, columns: Sequence[Feature]
) -> np.ndarray:
    """The (n, len(columns)) values of (n,) FACTS, tenure NaN where only the first visit tells it.

    since: epoch ms from which a first visit is believed to be one, None for always.
    """
    if since is None:
        return values
    unknown = (facts["signup_at"] == NEVER) & (facts["first_seen"] < since)
    unknown &= facts["first_seen"] != NEVER
    return blanked(values, unknown, columns)


def blanked(values: np.ndarray, who: np.ndarray, columns: Sequence[Feature]) -> np.ndarray:
    """The (n, len(columns)) values without the tenure of `who`, a mask of (n,)."""
    places = [i for i, feature in enumerate(columns) if feature.name in _TENURES]
    kept = values.copy()
    kept[np.ix_(who, np.array(places, np.intp))] = np.nan
    return kept
