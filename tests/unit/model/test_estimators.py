"""Estimators keep to the directions they are given, and to scikit-learn's rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator

from model.candidates import CANDIDATES, fitted
from model.estimators import BlankUnstated, BoundedLogisticRegression, FillMissing

DIRECTIONS = (1, -1, 0)


@pytest.fixture(scope="module")
def churners() -> tuple[np.ndarray, np.ndarray]:
    """Rows where column 0 raises the outcome, column 1 raises it too, column 2 is noise."""
    rng = np.random.default_rng(3)
    inputs = rng.gamma(2.0, 3.0, (3_000, 3))
    odds = 1.2 * np.log1p(inputs[:, 0]) + 0.8 * np.log1p(inputs[:, 1]) - 3.5
    label = (rng.random(3_000) < 1 / (1 + np.exp(-odds))).astype(int)
    inputs[rng.random(3_000) < 0.1, 2] = np.nan
    return inputs, label


@pytest.mark.parametrize("estimator", [BoundedLogisticRegression(), FillMissing(), BlankUnstated()])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_accepts_our_estimators(estimator):
    """
    What works with scikit-learn's estimators works with ours: its own checks pass.
    """
    found = check_estimator(estimator, on_fail=None)

    assert [] == [check["check_name"] for check in found if check["status"] == "failed"]


def test_coefficients_keep_their_sign(churners):
    """
    A column that may only lower the risk gets no positive coefficient, whatever the data say.
    """
    inputs, label = churners
    estimator = BoundedLogisticRegression(DIRECTIONS).fit(inputs, label)

    assert estimator.coef_[0] > 0
    assert estimator.coef_[1] == 0


def test_without_bounds_it_is_logistic_regression(churners):
    """
    With all directions free, the fit is the one scikit-learn finds on the same columns.
    """
    inputs, label = churners
    inputs = inputs[:, :2]
    squeezed = np.log1p(inputs)
    scaled = (squeezed - squeezed.mean(axis=0)) / squeezed.std(axis=0)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1_000).fit(scaled, label)

    ours = BoundedLogisticRegression().fit(inputs, label)

    np.testing.assert_allclose(ours.coef_, theirs.coef_[0], atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_[0], atol=1e-4)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_risk_follows_the_directions(churners, candidate):
    """
    Everything else equal, no candidate's risk falls along +1, or rises along -1.
    """
    inputs, label = churners
    estimator = fitted(candidate, DIRECTIONS, 0, inputs, label)
    steps = np.linspace(0, 60, 200)
    for row in inputs[:20]:
        longer = np.tile(row, (len(steps), 1))
        longer[:, 0] = steps
        assert (np.diff(estimator.predict_proba(longer)[:, 1]) >= 0).all()
        longer[:, 0], longer[:, 1] = row[0], steps
        assert (np.diff(estimator.predict_proba(longer)[:, 1]) <= 0).all()


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_same_data_gives_the_same_probabilities(churners, candidate):
    """
    Fitting twice gives the same bits.
    """
    first, second = (fitted(candidate, DIRECTIONS, 5, *churners) for _ in range(2))

    np.testing.assert_array_equal(
        first.predict_proba(churners[0]), second.predict_proba(churners[0])
    )


@pytest.fixture(scope="module")
def wide() -> tuple[BoundedLogisticRegression, np.ndarray]:
    """An estimator with as many columns as the real one, and rows for it."""
    rng = np.random.default_rng(6)
    inputs = rng.gamma(1.0, 20.0, (1_000, 37))
    label = (inputs[:, :5].sum(axis=1) > 100).astype(int)
    return BoundedLogisticRegression().fit(inputs, label), inputs


@given(start=st.integers(0, 999), size=st.integers(1, 100))
def test_a_row_scores_the_same_in_any_batch(wide, start, size):
    """
    The batch a row is in never changes a bit of its log-odds.
    """
    estimator, inputs = wide
    whole = estimator.decision_function(inputs)
    part = estimator.decision_function(inputs[start : start + size])

    np.testing.assert_array_equal(whole[start : start + size], part)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_a_column_nobody_ever_stated_changes_nothing(churners, candidate):
    """
    A column that is all missing in training neither breaks the fit nor moves a score later.
    """
    inputs, label = churners
    unstated = inputs.copy()
    unstated[:, 2] = np.nan
    estimator = fitted(candidate, DIRECTIONS, 0, unstated, label)

    np.testing.assert_array_equal(
        estimator.predict_proba(unstated), estimator.predict_proba(inputs)
    )


def test_missing_values_are_told_apart_from_the_median(churners):
    """
    When who is missing says something, the estimator hears it.
    """
    inputs, label = churners
    telling = inputs.copy()
    telling[:, 2] = np.where(label == 1, np.nan, 5.0)
    estimator = BoundedLogisticRegression(DIRECTIONS).fit(telling, label)
    missing, stated = np.array([[5.0, 5.0, np.nan], [5.0, 5.0, 5.0]])

    assert estimator.decision_function([missing])[0] > estimator.decision_function([stated])[0] + 2


def test_filled_columns_carry_a_flag_each():
    """
    Medians replace what is missing, a flag per column says where, and an empty column becomes 0.
    """
    filled = FillMissing().fit_transform([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])

    np.testing.assert_array_equal(
        [[1.0, 0.0, 0.0, 1.0], [3.0, 0.0, 0.0, 1.0], [2.0, 0.0, 1.0, 1.0]], filled
    )


def test_directions_must_fit_the_columns(churners):
    """
    A direction too few is an error, not a guess.
    """
    with pytest.raises(ValueError, match="2 directions for 3 columns"):
        BoundedLogisticRegression((1, -1)).fit(*churners)
