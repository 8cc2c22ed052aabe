"""Tenure is learned from only where the log can teach it."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.times import DAY_MS
from model.dataset import Moments, Rows
from model.features import FEATURES, PREDICT_INPUTS
from model.split import Split
from model.tenure_choice import LEAST_GAIN, choose_tenure, without_tenure
from tests.unit.model.people import NOON

TENURE = [feature.name for feature in FEATURES].index("tenure_days")
SILENT = [feature.name for feature in FEATURES].index("silent_days")
ROWS = 6_000


def rows_where(effect_before: float, effect_after: float) -> tuple[Rows, list[Split]]:
    """Churn by silence, and by tenure with one effect in the first half and one in the second."""
    random = np.random.default_rng(3)
    day = np.sort(random.integers(0, 200, ROWS))
    features = np.full((ROWS, len(FEATURES)), np.nan)
    features[:, TENURE] = random.uniform(0, 100, ROWS)
    features[:, SILENT] = random.uniform(0, 20, ROWS)
    effect = np.where(day < 100, effect_before, effect_after)
    odds = np.log1p(features[:, SILENT]) - 2 + effect * (np.log1p(features[:, TENURE]) - 3.5)
    label = (random.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(np.uint8)
    moments = Moments(
        user=np.arange(ROWS) % 500,
        as_of=NOON + day * DAY_MS,
        stratum=np.zeros(ROWS, np.uint8),
        label=label,
    )
    rows = Rows(moments, features, np.full((ROWS, len(PREDICT_INPUTS)), 2.0))
    split = Split(
        train_until=int(NOON + 95 * DAY_MS),
        validate_from=int(NOON + 100 * DAY_MS),
        validate_until=int(NOON + 201 * DAY_MS),
    )
    return rows, [split]


@pytest.mark.parametrize(
    ("effect_before", "effect_after", "left_out"), [(1.0, 1.0, False), (1.0, -1.0, True)]
)
def test_tenure_is_left_out_where_it_misleads_later(effect_before, effect_after, left_out):
    """
    What held in the months learned from must hold in the months after.
    """
    rows, splits = rows_where(effect_before, effect_after)
    choice = choose_tenure(rows, splits, seed=0)

    assert left_out == choice.is_left_out
    assert left_out == (choice.gain > LEAST_GAIN)


def test_tenure_that_says_nothing_stays():
    """
    Only what is better by more than chance is a reason to leave something out.
    """
    rows, splits = rows_where(0.0, 0.0)
    choice = choose_tenure(rows, splits, seed=0)

    assert abs(choice.gain) < LEAST_GAIN
    assert not choice.is_left_out


def test_leaving_tenure_out_touches_nothing_else():
    """
    Neither the other features nor what callers of /predict state.
    """
    rows, _ = rows_where(1.0, 1.0)
    without = without_tenure(rows)

    assert np.isnan(without.features[:, TENURE]).all()
    others = np.delete(np.arange(len(FEATURES)), TENURE)
    np.testing.assert_array_equal(rows.features[:, others], without.features[:, others])
    np.testing.assert_array_equal(rows.inputs, without.inputs)
