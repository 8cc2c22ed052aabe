"""Risk bands: users by calibrated probability, apart by how far it is to be believed."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, Literal

EDGES: Final = (0.1, 0.3, 0.5, 0.7)
"""Where a band ends and the next begins. 0.5 and 0.7 are rungs of every ladder, so in silence a
user enters the upper bands when they really reach them."""

BANDS: Final = len(EDGES) + 1

Kind = Literal["counted", "little_evidence", "cancelled"]
KINDS: Final[tuple[Kind, ...]] = ("counted", "little_evidence", "cancelled")
"""Totals leave out all but the first: of the second little is known, of the third everything."""

SIMULATOR: Final = "simulator"
"""The origin of a model that has seen no real user. Whom it judges is counted apart, too."""

STANDINGS: Final = 2 * len(KINDS)
"""A standing is a kind of users under a real model, or, from `len(KINDS)` on, a simulated one."""

CELLS: Final = BANDS * STANDINGS
"""A cell is a band of a standing. Counts are lists of CELLS integers."""


def band_of(probability: float) -> int:
    """The band 0..BANDS-1 a probability lies in; an edge belongs to the band above it."""
    return bisect_right(EDGES, probability)


def bounds(band: int) -> tuple[float, float]:
    """The lowest probability of a band, and the lowest of the next; 1 ends the last."""
    edges = (0.0, *EDGES, 1.0)
    return edges[band], edges[band + 1]


def is_little(usual_gap_hours: float | None) -> bool:
    """Whether there is little evidence: without a rhythm of their own there is little to judge."""
    return usual_gap_hours is None


def standing_of(origin: str, cancelled: bool, usual_gap_hours: float | None) -> int:
    """0..STANDINGS-1 of a score."""
    kind = 2 if cancelled else 1 if is_little(usual_gap_hours) else 0
    return kind + len(KINDS) * (origin == SIMULATOR)


def cell_of(band: int, standing: int) -> int:
    """0..CELLS-1"""
    return standing * BANDS + band


def kind_in(standing: int) -> Kind:
    return KINDS[standing % len(KINDS)]


def is_simulated(standing: int) -> bool:
    return standing >= len(KINDS)
