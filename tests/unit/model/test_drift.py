"""How far live values are from those of training, and what chance alone does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from model.drift import by_chance, counted, spread, stability_index, verdict

VALUES = st.lists(
    st.one_of(st.just(0.0), st.just(float("nan")), st.floats(-1e6, 1e6)), min_size=1, max_size=200
)


@given(values=VALUES)
def test_every_row_is_in_one_bin(values):
    """
    Whatever the values: ties, holes, all the same.
    """
    found = spread(np.array(values))

    assert len(values) == found.total
    assert len(found.cuts) + 1 == len(found.rows)
    assert sorted(set(found.cuts)) == list(found.cuts)
    assert found == counted(np.array(values), found.cuts)


@given(values=VALUES, others=VALUES)
def test_the_same_is_no_drift_and_nothing_is_less(values, others):
    """
    The index of a spread with itself is 0, and never negative with another.
    """
    before = spread(np.array(values))
    now = counted(np.array(others), before.cuts)

    assert 0 == pytest.approx(stability_index(before, before), abs=1e-12)
    assert stability_index(before, now) >= 0


def test_a_lowest_value_of_many_is_a_bin_of_its_own():
    """
    Who never bought is told apart from who did, although quantiles would not.
    """
    money = np.array([0.0] * 950 + [5.0] * 20 + [7.0] * 30)

    found = spread(money)

    assert ((5.0,), (950, 50)) == (found.cuts, found.rows)
    assert stability_index(found, counted(np.full(100, 7.0), found.cuts)) > 1


def test_ten_bins_of_a_continuous_column_are_alike():
    """
    As quantiles part it.
    """
    found = spread(np.arange(1000.0))

    assert (100,) * 10 == found.rows


def test_a_value_that_becomes_unknown_is_a_drift():
    """
    Missing is a bin, too.
    """
    before = spread(np.arange(100.0))
    now = counted(np.concatenate([np.arange(50.0) * 2, np.full(50, np.nan)]), before.cuts)

    assert "shifted" == verdict(stability_index(before, now))


def test_chance_stays_below_its_bound_19_times_of_20():
    """
    Two samples of one population, many times over.
    """
    rng = np.random.default_rng(5)
    before = spread(rng.gamma(2.0, 3.0, 2_000))
    beyond = []
    for _ in range(400):
        before = spread(rng.gamma(2.0, 3.0, 2_000))
        now = counted(rng.gamma(2.0, 3.0, 500), before.cuts)
        beyond.append(stability_index(before, now) > by_chance(before, now))

    assert 0.02 < np.mean(beyond) < 0.09


def test_the_bound_is_the_quantile_of_chi_square():
    """
    Within a hundredth, for as many bins as there can be.
    """
    for bins in range(2, 13):
        cuts = tuple(range(1, bins))
        here = counted(np.repeat(np.arange(bins) + 0.5, 100), cuts)
        stated = by_chance(here, here) / (2 / (100 * bins))
        assert chi2.ppf(0.95, bins - 1) == pytest.approx(stated, rel=0.01)


@pytest.mark.parametrize(
    ("index", "called"), [(0.0999, "stable"), (0.1, "some"), (0.25, "shifted")]
)
def test_the_rule_of_thumb(index, called):
    """
    Its bounds belong to what is above them.
    """
    assert called == verdict(index)
