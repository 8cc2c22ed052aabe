"""Whether a log can teach anything about tenure.

Where nobody's sign-up is stated, the tenure of everybody who was there at the start is unknown. In
a short log those are most, and the others are all newcomers: what is learned of tenure then is
what the first months were like. Whether that helps later shows walk-forward, by log loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from contracts.scores import DECIMALS
from model.candidates import CANDIDATES
from model.comparison import FULL, forecast
from model.dataset import Rows
from model.evaluation import difference, row_losses
from model.features import FEATURES
from model.split import Split
from model.tenure import blanked

LEAST_GAIN: Final = 0.001
"""Log loss; for less than that a model that can speak of tenure is kept."""


class TenureChoice(msgspec.Struct, frozen=True):
    """Whether tenure is left out, and what that is worth."""

    is_left_out: bool
    gain: float
    """Mean log loss with tenure minus without; positive: better without."""
    error: float
    """Its standard error, rows clustered by user."""


def choose_tenure(rows: Rows, splits: Sequence[Split], seed: int) -> TenureChoice:
    """Leave tenure out if the simplest candidate is better without it, by over a standard error
    and LEAST_GAIN.

    For logs that state no sign-ups: one that does is to be believed.
    """
    as_of = rows.moments.as_of
    later = np.concatenate([np.flatnonzero(split.validation(as_of)) for split in splits])
    period = np.searchsorted([split.validate_from for split in splits], as_of[later], side="right")
    losses = []
    for features in (rows.features, without_tenure(rows).features):
        seen = replace(rows, features=features)
        found = forecast(CANDIDATES[0], FULL, seen, None, splits, seed=seed).found
        losses.append(row_losses(rows.moments.label[later], found))
    gain, error = difference(losses[0], losses[1], rows.moments.user[later], period)
    return TenureChoice(
        gain > max(error, LEAST_GAIN), round(gain, DECIMALS), round(error, DECIMALS)
    )


def without_tenure(rows: Rows) -> Rows:
    """The rows with everybody's tenure missing; the four inputs stay, for callers state them."""
    everybody = np.ones(len(rows.features), bool)
    return replace(rows, features=blanked(rows.features, everybody, FEATURES))
