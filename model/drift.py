"""Whether what a model meets still looks like what it learned from: the population stability index.

PSI = sum over bins of (live share - training share) * ln(live share / training share), which is the
Kullback-Leibler divergence both ways (Jeffreys 1946). Credit scoring calls less than .1 stable and
.25 or more a shift (Siddiqi, Credit Risk Scorecards, 2006): rules of thumb, with no error rate to
them. What chance alone does is known: of n and m independent rows in B bins, PSI is distributed
about as (1/n + 1/m) times chi-square with B - 1 degrees of freedom (Yurdakul and Naranjo, Journal
of Risk Model Validation 14(4), 2020). Rows of one user are not independent, so that is a lower
bound.
"""

from __future__ import annotations

from math import sqrt
from typing import Final, Literal

import msgspec
import numpy as np

BINS: Final = 10
SOME: Final = 0.1
SHIFTED: Final = 0.25
_Z95: Final = 1.6448536269514722
_LEAST_AT_THE_BOTTOM: Final = 0.05

Verdict = Literal["stable", "some", "shifted"]


class Spread(msgspec.Struct, frozen=True):
    """How the values of a column are spread. Bin i holds cuts[i - 1] <= value < cuts[i]."""

    cuts: tuple[float, ...]
    """Ascending; the first and the last bin are open."""
    rows: tuple[int, ...]
    """One more than there are cuts."""
    missing: int
    """Rows without a value: a bin of their own."""

    @property
    def total(self) -> int:
        return sum(self.rows) + self.missing


def spread(values: np.ndarray) -> Spread:
    """Of (n,) float64, NaN for missing: about BINS bins of equal mass.

    Values that many rows share are not parted, and a lowest one that many share (no purchase, no
    visit) is a bin by itself.
    """
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return Spread((), (0,), len(values))
    cuts = np.quantile(known, np.arange(1, BINS) / BINS)
    lowest = known[0]
    above = int(np.searchsorted(known, lowest, side="right"))
    if _LEAST_AT_THE_BOTTOM * len(known) <= above < len(known):
        cuts = np.append(cuts, known[above])
    cuts = np.unique(cuts[cuts > lowest])
    return counted(values, tuple(float(cut) for cut in cuts))


def counted(values: np.ndarray, cuts: tuple[float, ...]) -> Spread:
    """(n,) values in the bins of another spread."""
    known = values[~np.isnan(values)]
    place = bins_of(known, cuts)
    rows = np.bincount(place, minlength=len(cuts) + 1)
    return Spread(cuts, tuple(int(count) for count in rows), len(values) - len(known))


def bins_of(values: np.ndarray, cuts: tuple[float, ...]) -> np.ndarray:
    """(n,) bin of each of (n,) values, none of which is NaN."""
    return np.searchsorted(np.array(cuts, np.float64), values, side="right")


def stability_index(before: Spread, now: Spread) -> float:
    """PSI of two spreads over the same cuts; both hold rows.

    Half a row is added to every bin, so that an empty one is no infinity.
    """
    there = np.array([*before.rows, before.missing], np.float64) + 0.5
    here = np.array([*now.rows, now.missing], np.float64) + 0.5
    # A bin that neither has anything in is none.
    used = (there > 1) | (here > 1)
    there, here = there[used] / there[used].sum(), here[used] / here[used].sum()
    return float(np.sum((here - there) * np.log(here / there)))


def by_chance(before: Spread, now: Spread) -> float:
    """PSI that two samples of one population stay below 19 times of 20."""
    pairs = zip((*before.rows, before.missing), (*now.rows, now.missing), strict=True)
    used = sum(there + here > 0 for there, here in pairs)
    return (1 / before.total + 1 / now.total) * _chi_square_95(max(used - 1, 1))


def verdict(index: float) -> Verdict:
    """What the rule of thumb calls it."""
    return "stable" if index < SOME else "some" if index < SHIFTED else "shifted"


def _chi_square_95(freedom: int) -> float:
    """Its 95 % quantile, to about 1 % (Wilson and Hilferty 1931); exact for 1."""
    if freedom == 1:
        return 3.841459
    ninth = 2 / (9 * freedom)
    return float(freedom * (1 - ninth + _Z95 * sqrt(ninth)) ** 3)
