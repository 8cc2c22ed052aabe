"""A model whose answers are easy to foretell: risk is the share of ten days spent in silence."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from contracts.times import DAY_MS, NEVER


class FadingModel:
    """What the scorer asks of a model; `calls` counts how often it was asked."""

    origin = "test"
    horizon_days = 14
    class_cutoff = 0.5
    alert_threshold: float | None = None
    levels = np.round(np.linspace(0.2, 0.95, 16), 6)
    grid_hours = np.array([1, 6, 12, *range(24, 24 * 12 + 1, 6)])

    def __init__(self, version: str = "fading-1") -> None:
        self.version = version
        self.hash = crc32(version.encode())
        self.calls = 0

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        self.calls += 1
        seen = facts["last_seen"] != NEVER
        silent = np.where(seen, as_of - facts["last_seen"], 0) / DAY_MS
        return np.round(np.clip(silent / 10, 0.0, 1.0), 6)
