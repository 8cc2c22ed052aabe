"""Figures of merit, and the rule that picks a candidate."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation import (
    by_stratum,
    calibration_error,
    calibration_floor,
    check,
    difference,
    figures,
    row_losses,
    simplest_good_enough,
    top_decile_lift,
)


def test_figures_of_a_hand_made_case():
    """
    Four rows whose figures can be worked out on paper.
    """
    found = figures(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9]))

    assert found.base_rate == 0.5
    assert found.auc == 0.75
    assert found.brier == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert found.log_loss == pytest.approx(-np.log(0.9 * 0.4 * 0.4 * 0.9) / 4, abs=1e-6)
    assert found.top_decile_lift == 2.0


def test_one_class_has_no_ranking():
    """
    With one outcome only, ranking figures are absent and the others stand.
    """
    found = figures(np.zeros(3, int), np.array([0.1, 0.2, 0.3]))

    assert (found.auc, found.average_precision, found.top_decile_lift) == (None, None, None)
    assert found.ece == pytest.approx(0.2)


def test_honest_probabilities_are_calibrated():
    """
    Outcomes drawn from the stated probabilities leave an error near the noise; doubled odds do
    not.
    """
    rng = np.random.default_rng(0)
    stated = rng.random(50_000)
    label = (rng.random(50_000) < stated).astype(int)

    assert calibration_error(label, stated) < 0.012
    assert calibration_error(label, stated**2) > 0.1


def test_lift_looks_at_the_top_tenth():
    """
    All churners on top of ten times as many others lift tenfold.
    """
    label = np.zeros(100, int)
    label[:10] = 1

    assert top_decile_lift(label, np.linspace(1, 0, 100)) == pytest.approx(10.0)


def test_a_certain_error_costs_a_finite_loss():
    """
    A score rounded to 0 for somebody who churned does not make the log loss infinite.
    """
    assert np.isfinite(row_losses(np.array([1, 0]), np.array([0.0, 1.0]))).all()


def test_strata_are_judged_apart():
    """
    Each stratum that has rows gets its own figures; an empty one gets none.
    """
    found = by_stratum(
        np.array([0, 1, 1]), np.array([0.2, 0.7, 0.6]), np.array([0, 0, 2]), ("a", "b", "c")
    )

    assert ["a", "c"] == list(found)
    assert (2, 1) == (found["a"].rows, found["c"].rows)


def test_rows_of_one_user_count_as_one_witness():
    """
    Repeating every row ten times under the same user makes the difference no more certain.
    """
    rng = np.random.default_rng(1)
    loss, best, user = rng.random(200), rng.random(200), np.arange(200)
    period = np.repeat([0, 1], 100)
    once = difference(loss, best, user, period)
    repeated = difference(*(np.repeat(column, 10) for column in (loss, best, user, period)))

    assert once == pytest.approx(repeated)


def test_the_error_is_that_of_a_mean_over_users():
    """
    With a row per user the bootstrap finds the textbook's standard error.
    """
    gap = np.random.default_rng(3).normal(0.1, 2.0, 4_000)
    user, period = np.arange(4_000), np.repeat([0, 1], 2_000)

    mean, error = difference(gap, np.zeros(4_000), user, period)

    assert gap.mean() == pytest.approx(mean)
    assert 2.0 / 4_000**0.5 == pytest.approx(error, rel=0.15)


def test_periods_are_not_drawn():
    """
    Users are resampled within their period: what differs between periods alone is no error.
    """
    period = np.repeat([0, 1], 50)
    loss = np.where(period == 0, 1.0, -1.0)

    assert (0.0, 0.0) == difference(loss, np.zeros(100), np.arange(100) % 50, period)


def test_the_simplest_within_one_error_is_picked():
    """
    A simple candidate that is behind by less than the error wins; one clearly behind does not.
    """
    rng = np.random.default_rng(2)
    user, period = np.arange(500), np.zeros(500)
    best = rng.random(500)
    near, far = best + rng.normal(0.001, 0.5, 500), best + 0.1
    if near.mean() - best.mean() > difference(near, best, user, period)[1]:
        pytest.fail("the case is not the one described")

    assert simplest_good_enough({"lr": near, "hgb": best, "rf": far}, user, period)[0] == "lr"
    assert simplest_good_enough({"lr": far, "hgb": near, "rf": best}, user, period)[0] == "hgb"
    assert simplest_good_enough({"lr": far, "hgb": far, "rf": best}, user, period)[0] == "rf"


def test_the_calibration_floor_is_what_a_perfect_model_shows():
    """
    Labels drawn from the predictions themselves have about that error; it falls with more rows.
    """
    rng = np.random.default_rng(3)
    few, many = rng.random(600), rng.random(60_000)
    drawn = [calibration_error((rng.random(600) < few).astype(int), few) for _ in range(200)]

    assert calibration_floor(few, 0) == pytest.approx(np.mean(drawn), rel=0.1)
    assert calibration_floor(many, 0) < calibration_floor(few, 0) / 5


def test_a_check_sets_predicted_beside_happened():
    """
    Both means, and the error between them where it exceeds chance.
    """
    label = np.repeat([0, 1], 500)
    found = check(label, np.full(1_000, 0.3))

    assert (0.5, 0.3) == (found.base_rate, found.predicted)
    assert found.ece > 0.19
    assert found.floor < 0.1
