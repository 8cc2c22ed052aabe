"""The default alert rule, for all who go by it: the worker that judges by it, the scorer that gives
reasons where it may speak, and training, which looks for the threshold it should have.
"""

from __future__ import annotations

from typing import Final

from contracts.times import DAY_MS

FALLBACK_THRESHOLD: Final = 0.7
"""Where neither a person nor the model states one."""

RESOLVE_SHARE: Final = 5 / 7
"""An episode resolves below this share of its threshold, unless a rule says below what."""

COOLDOWN_MS: Final = 7 * DAY_MS
LEAST_ACTIVE_DAYS: Final = 3


def first_stated(*thresholds: float | None) -> float:
    """The first that anybody states, else FALLBACK_THRESHOLD."""
    return next((value for value in thresholds if value is not None), FALLBACK_THRESHOLD)
