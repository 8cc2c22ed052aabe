"""How far back to learn from: people change, and so do those who arrive.

All of a log is the most to learn from, and its oldest part may be about another population: those
who came to a young site stayed as nobody who comes later does. Which matters more shows only on
later periods, so memory is chosen like a candidate: walk-forward, by log loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from contracts.scores import DECIMALS
from model.candidates import CANDIDATES
from model.comparison import FULL, forecast
from model.dataset import Moments, Rows
from model.evaluation import difference, row_losses, simplest_good_enough
from model.figures import Memory
from model.split import Split, remembering

YEAR_DAYS: Final = 365
MEMORIES_DAYS: Final = (None, 4 * YEAR_DAYS, 2 * YEAR_DAYS, YEAR_DAYS)
"""From the longest on, which is the order of preference; None: everything. Whole years, so that no
season counts twice."""


EVERYTHING: Final = Memory(None, 0.0, 0.0)


def choose_memory(rows: Rows, splits: Sequence[Split], seed: int) -> Memory:
    """The longest memory whose log loss is within one standard error of the best's.

    Judged with the simplest candidate: what is asked is a question about the log. A memory is
    tried only where it forgets something of what the earliest period learns from, so that every
    period has a say, and short logs have no choice.
    """
    moments = rows.moments
    tried = [days for days in MEMORIES_DAYS if days is None or _can_judge(moments, splits, days)]
    if len(tried) == 1:
        return EVERYTHING
    as_of = moments.as_of
    later = np.concatenate([np.flatnonzero(split.validation(as_of)) for split in splits])
    label, user = moments.label[later], moments.user[later]
    period = np.searchsorted([split.validate_from for split in splits], as_of[later], side="right")
    losses = {}
    for days in tried:
        limited = remembering(splits, days)
        found = forecast(CANDIDATES[0], FULL, rows, None, limited, seed=seed).found
        losses[str(days)] = row_losses(label, found)
    chosen, _ = simplest_good_enough(losses, user, period)
    gain, error = difference(losses[str(None)], losses[chosen], user, period)
    days = next(days for days in tried if str(days) == chosen)
    return Memory(days, round(gain, DECIMALS), round(error, DECIMALS))


def _can_judge(moments: Moments, splits: Sequence[Split], days: int) -> bool:
    """Whether it makes a difference to every period, and leaves each something to learn from."""
    for split, limited in zip(splits, remembering(splits, days), strict=True):
        known = moments.label[limited.train(moments.as_of)]
        if len(known) == split.train(moments.as_of).sum():
            return False
        if not len(known) or known.min() == known.max():
            return False
    return True
