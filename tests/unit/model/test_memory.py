"""How far back a model learns from is chosen on what came later."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.times import DAY_MS
from model.dataset import Moments, Rows
from model.features import FEATURES, PREDICT_INPUTS
from model.memory import EVERYTHING, choose_memory
from model.split import walk_forward

YEAR = 365 * DAY_MS
EMBARGO = 28 * DAY_MS


def rows_over(years: float, drift: float, n: int = 6_000, seed: int = 0) -> Rows:
    """Rows of a log whose churn rises by `drift` log-odds a year, whatever users do."""
    rng = np.random.default_rng(seed)
    as_of = np.sort(rng.integers(0, int(years * YEAR), n))
    silent = rng.exponential(10, n)
    values = np.zeros((n, len(FEATURES)))
    values[:, 0] = silent
    odds = silent / 10 - 1 + drift * (as_of / YEAR - years / 2)
    label = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(np.uint8)
    moments = Moments(np.arange(n), as_of, np.zeros(n, np.uint8), label)
    return Rows(moments, values, np.full((n, len(PREDICT_INPUTS)), np.nan))


def splits_of(years: float):
    return walk_forward(0, int(years * YEAR), EMBARGO)


def test_a_population_that_changes_is_learned_from_its_recent_past():
    """
    The gain is well above its standard error.
    """
    memory = choose_memory(rows_over(8, drift=0.6), splits_of(8), seed=0)

    assert memory.days in (365, 730)
    assert memory.gain > 3 * memory.error > 0


def test_a_population_that_stays_the_same_is_learned_from_as_a_whole():
    """
    Forgetting would only cost: the longest memory within one standard error is everything.
    """
    memory = choose_memory(rows_over(8, drift=0.0), splits_of(8), seed=0)

    assert (None, 0.0) == (memory.days, memory.gain)


@pytest.mark.parametrize("years", [1, 2])
def test_a_short_log_has_no_choice(years):
    """
    A memory longer than the earliest period's past forgets nothing there.
    """
    assert EVERYTHING == choose_memory(rows_over(years, drift=3), splits_of(years), seed=0)


def test_rows_after_validation_do_not_matter():
    """
    What is learned from is judged on what follows; what follows that changes nothing.
    """
    rows, splits = rows_over(8, drift=0.6), splits_of(8)
    moments = rows.moments
    darker = np.where(moments.as_of > splits[1].validate_until, 1, moments.label).astype(np.uint8)
    early = splits[:2]
    other = Rows(
        Moments(moments.user, moments.as_of, moments.stratum, darker), rows.features, rows.inputs
    )

    assert choose_memory(rows, early, 0) == choose_memory(other, early, 0)
