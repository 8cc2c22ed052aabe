"""What is kept beside a model: reliability, lift, effects, and how its users were spread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.assessment import ALL, assess
from model.calibration import Predictions
from model.candidates import CANDIDATES, fitted
from model.contributions import additive
from model.dataset import INSTANT, SESSION_END, Moments, Rows
from model.evaluation import calibration_error
from model.evidence import Evidence
from model.features import FEATURES
from model.quality import Quality

ROWS = 900
RNG = np.random.default_rng(8)
LABEL = (RNG.random(ROWS) < 0.4).astype(np.uint8)
VALUES = RNG.gamma(2.0, 5.0, (ROWS, len(FEATURES))) + LABEL[:, None]
VALUES[::7, 4] = np.nan
FULL = fitted(CANDIDATES[0], [feature.direction for feature in FEATURES], 0, VALUES, LABEL)
STRATUM = np.where(np.arange(ROWS) % 3 == 0, INSTANT, SESSION_END)
USER = np.arange(ROWS) % 50
LEARNED = Rows(Moments(USER, np.arange(ROWS), STRATUM, LABEL), VALUES, VALUES[:, :4])
FOUND = Predictions(
    LABEL, FULL.predict_proba(VALUES)[:, 1], USER, np.arange(ROWS), np.zeros(ROWS, np.intp)
)
SUMS = additive(FULL)
assert SUMS is not None
EVIDENCE = Evidence(
    (), {"recency": 0.4, "money": 0.9}, {"recency": 0.01}, VALUES, SUMS.contributions(VALUES)
)


@pytest.fixture(scope="module")
def quality() -> Quality:
    return assess(FOUND, STRATUM, LEARNED, FULL, EVIDENCE, seed=0)


def test_reliability_is_told_for_all_and_for_each_kind_of_moment(quality):
    """
    The bins hold every row once, and the error is the one the figures state.
    """
    assert [ALL, "instant", "session_end"] == list(quality.reliability)
    found = quality.reliability["session_end"]
    there = STRATUM == SESSION_END
    assert int(there.sum()) == found.rows == sum(each.rows for each in found.bins)
    error = calibration_error(LABEL[there], FOUND.probability[there])
    assert error == pytest.approx(found.ece, abs=1e-6)
    assert all(each.low <= each.churned <= each.high for each in found.bins)
    assert sorted(each.predicted for each in found.bins) == [e.predicted for e in found.bins]


def test_contacting_everybody_reaches_everybody(quality):
    """
    And the lift of all is 1, that of the riskiest is above.
    """
    last, first = quality.lift[-1], quality.lift[0]
    assert (1.0, 1.0, 1.0) == (last.contacted, last.reached, last.lift)
    assert first.lift > 1


def test_users_are_spread_as_they_were_at_any_instant(quality):
    """
    Not as at session ends, where live users are not found.
    """
    present = int((STRATUM == INSTANT).sum())
    assert (present, len(np.unique(USER[STRATUM == INSTANT]))) == (quality.moments, quality.users)
    assert {present} == {each.spread.total for each in quality.features}
    assert present == quality.scores.total


def test_effects_are_those_of_the_features_and_their_bins(quality):
    """
    The strongest first; a bin's effect is the mean of the log-odds its values add.
    """
    moves = [each.moves or 0 for each in quality.features]
    assert sorted(moves, reverse=True) == moves
    assert ["money", "recency"] == [each.concept for each in quality.concepts]
    name = FEATURES[4].name
    effect = next(each for each in quality.features if each.name == name)
    values, moved = VALUES[:, 4], EVIDENCE.moved[:, 4]
    first = values < effect.spread.cuts[0]
    assert moved[first].mean() == pytest.approx(effect.by_bin[0], abs=1e-6)
    assert moved[np.isnan(values)].mean() == pytest.approx(effect.when_missing, abs=1e-6)


def test_a_model_that_is_no_sum_has_no_effects():
    """
    But spreads all the same.
    """
    evidence = replace(EVIDENCE, effects={}, moved=None)
    quality = assess(FOUND, STRATUM, LEARNED, FULL, evidence, seed=0)
    assert ((), {None}) == (quality.concepts, {each.moves for each in quality.features})
    assert all(each.spread.total for each in quality.features)
