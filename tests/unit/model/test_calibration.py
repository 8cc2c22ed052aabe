"""A calibration is adopted only if it helped again and again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from model.calibration import (
    NAMES,
    YEAR_MS,
    Calibration,
    Predictions,
    apply,
    fit_calibration,
    try_calibrations,
)
from model.candidates import CANDIDATES, fitted

PERIODS = 5
EACH = 2_000
KNOWN_UNTIL = [period * EACH - EACH // 2 for period in range(PERIODS)]


def walked(shifts: list[float], slope: float = 1.0) -> Predictions:
    """Predictions whose truth lies `shifts[p]` above slope times their log-odds in period p."""
    rng = np.random.default_rng(5)
    odds = rng.normal(0, 1.5, PERIODS * EACH)
    period = np.repeat(np.arange(PERIODS), EACH)
    truth = expit(slope * odds + np.array(shifts)[period])
    label = (rng.random(len(truth)) < truth).astype(np.uint8)
    user = rng.integers(0, 3_000, len(truth))
    return Predictions(label, expit(odds), user, np.arange(len(truth)), period)


def test_a_model_that_is_right_is_left_alone():
    """
    Without an error to mend no calibration convinces.
    """
    assert "none" == try_calibrations(walked([0.0] * PERIODS), KNOWN_UNTIL)[0]


def test_a_steady_error_is_mended():
    """
    The same shift in every period is learned, and comes out as it went in.
    """
    found = walked([0.6] * PERIODS)
    name, trials = try_calibrations(found, KNOWN_UNTIL)

    assert name in NAMES[1:]
    assert trials[name].gain > 5 * trials[name].error
    assert fit_calibration(name, found).shift == pytest.approx(0.6, abs=0.06)


def test_overconfidence_takes_a_sigmoid():
    """
    When the slope is wrong an intercept does not help.
    """
    found = walked([0.0] * PERIODS, slope=0.5)

    assert "sigmoid" == try_calibrations(found, KNOWN_UNTIL)[0]
    assert fit_calibration("sigmoid", found).slope == pytest.approx(0.5, abs=0.05)


def test_a_season_is_not_mistaken_for_an_error():
    """
    Shifts that go up and down from period to period are shrunk away, and nothing is adopted.
    """
    found = walked([0.5, -0.5, 0.5, -0.5, 0.5])

    assert "none" == try_calibrations(found, KNOWN_UNTIL)[0]
    assert abs(fit_calibration("shrunk intercept", found).shift) < 0.05


def test_what_would_have_done_harm_in_the_coming_season_is_not_adopted():
    """
    A calibration that helps in most periods is left alone if it hurt in the season that comes next.
    """
    shifts = [0.8, 0.8, 0.8, 0.0, 0.8]
    # A year is two periods: before the end of the fifth, that is when the fourth begins.
    found = walked(shifts)
    spread = replace(found, as_of=found.as_of * (YEAR_MS // (2 * EACH)))
    known_until = [until * (YEAR_MS // (2 * EACH)) for until in KNOWN_UNTIL]

    name, trials = try_calibrations(spread, known_until)

    assert "none" == name
    assert all(trial.gain > trial.error for trial in trials.values())
    assert all(trial.season_gain < 0 for trial in trials.values())
    assert "none" != try_calibrations(found, KNOWN_UNTIL)[0]


def test_nothing_is_adopted_on_one_period():
    """
    One period in which it helped says nothing about the next.
    """
    found = walked([0.6] * PERIODS)
    short = found.part(found.period < 2)

    assert "none" == try_calibrations(short, KNOWN_UNTIL[:2])[0]


def test_a_label_not_yet_known_is_not_used():
    """
    Before a horizon has passed no period has anything to calibrate on.
    """
    name, trials = try_calibrations(walked([0.6] * PERIODS), [-1] * PERIODS)

    assert ("none", {}) == (name, dict(trials))


@pytest.mark.parametrize("index", [0, 1])
def test_a_calibrated_estimator_stays_a_sum(index):
    """
    Moved into coefficients or leaves, the log-odds are exactly slope times themselves plus shift.
    """
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(600, 3))
    label = (rng.random(600) < expit(inputs[:, 0])).astype(np.uint8)
    estimator = fitted(CANDIDATES[index], (0, 0, 0), 0, inputs, label)
    before = logit(estimator.predict_proba(inputs)[:, 1])
    after = logit(apply(estimator, Calibration("sigmoid", 0.7, -0.3)).predict_proba(inputs)[:, 1])

    np.testing.assert_allclose(after, 0.7 * before - 0.3, atol=1e-5)


def test_a_forest_cannot_be_calibrated_so():
    """
    Its log-odds are no sum.
    """
    with pytest.raises(TypeError, match="calibrate"):
        apply(object(), Calibration("sigmoid", 0.7, -0.3))
