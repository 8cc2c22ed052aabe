"""BG/NBD against published figures, its own simulation, and common sense."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, gamma

from contracts.errors import Misconfigured
from contracts.record import blank_facts
from contracts.times import DAY_MS
from model.bgnbd import BgNbd, Buying, buying_of, fit_bgnbd

CDNOW = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
"""The paper's estimates on the CDNOW data, weeks."""


def simulated(truth: BgNbd, customers: int, weeks: float, after: float, seed: int):
    """Customers as the model tells them: what was seen by `weeks`, and purchases in `after`."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(truth.r, 1 / truth.alpha, customers)
    quits = rng.beta(truth.a, truth.b, customers)
    seen = np.zeros((4, customers))
    for i in range(customers):
        now, x, last, later = 0.0, 0, 0.0, 0
        while (now := now + rng.exponential(1 / rate[i])) <= weeks + after:
            if now <= weeks:
                x, last = x + 1, now
            else:
                later += 1
            if rng.random() < quits[i]:
                break
        seen[:, i] = x, last, weeks, later
    return Buying(seen[0], seen[1], seen[2]), seen[3]


def test_the_worked_example_of_the_paper():
    """
    Customer 0001 of CDNOW (2 repeats, last in week 30.43 of 38.86) buys 1.226 times in 39 weeks.
    """
    customer = Buying(np.array([2.0]), np.array([30.43]), np.array([38.86]))

    assert CDNOW.expected(customer, 39)[0] == pytest.approx(1.226, abs=5e-4)


def test_a_new_customer_buys_as_the_paper_expects():
    """
    Expected purchases since the first one, as printed for CDNOW.
    """
    new = Buying(np.zeros(1), np.zeros(1), np.zeros(1))

    for weeks, expected in ((0.1429, 0.0078), (1.0, 0.0532)):
        assert CDNOW.expected(new, weeks)[0] == pytest.approx(expected, abs=1e-4)


def test_the_likelihood_is_a_density():
    """
    P(no repeat) plus the integral over the time of exactly one, two, ... repeats is 1: checked
    against the simulated share of customers without a repeat and with one.
    """
    weeks = 20.0
    none = Buying(np.zeros(1), np.zeros(1), np.array([weeks]))
    times = np.linspace(0, weeks, 4_001)
    one = Buying(np.ones(4_001), times, np.full(4_001, weeks))
    density = np.exp(CDNOW.log_likelihood(one))
    buying, _ = simulated(CDNOW, 20_000, weeks, 0.0, seed=4)

    assert np.exp(CDNOW.log_likelihood(none))[0] == pytest.approx(
        (buying.repeats == 0).mean(), abs=0.01
    )
    assert np.trapezoid(density, times) == pytest.approx((buying.repeats == 1).mean(), abs=0.01)


def test_the_likelihood_is_that_of_the_story():
    """
    Integrated over all rates and drop-out chances by quadrature, from the two ways a history can
    come about, it is what the closed form says.
    """
    x, last, now = 2, 30.43, 38.86
    rate = np.geomspace(1e-7, 60, 200_001)
    density = gamma.pdf(rate, CDNOW.r, scale=1 / CDNOW.alpha)
    alive = np.trapezoid(rate**x * np.exp(-rate * now) * density, rate)
    gone = np.trapezoid(rate**x * np.exp(-rate * last) * density, rate)
    quits = beta(CDNOW.a, CDNOW.b)
    expected = alive * quits.expect(lambda p: (1 - p) ** x) + gone * quits.expect(
        lambda p: p * (1 - p) ** (x - 1)
    )
    customer = Buying(np.array([2.0]), np.array([last]), np.array([now]))

    assert np.exp(CDNOW.log_likelihood(customer))[0] == pytest.approx(expected, rel=1e-4)


def test_the_published_parameters_tell_the_published_histogram():
    """
    Of 2,357 customers, first seen over the first 12 of 39 weeks, as many buy again once, twice,
    ... as CDNOW's did (1,411 never did): the paper's figure, whose own fit has chi-square 4.82.
    """
    observed = np.array([1411, 439, 214, 100, 62, 38, 29, 64])
    repeats = np.concatenate(
        [simulated(CDNOW, 2_000, weeks, 0.0, seed)[0].repeats
         for seed, weeks in enumerate(np.linspace(27, 38.86, 12))]
    )  # fmt: skip
    expected = np.bincount(np.minimum(repeats, 7).astype(int)) / len(repeats) * observed.sum()

    assert ((observed - expected) ** 2 / expected).sum() < 14  # 1 in 20, with 7 free cells


def test_parameters_are_recovered_from_simulated_customers():
    """
    Fitted to 8,000 customers the mean rate and the mean drop-out come back.
    """
    truth = BgNbd(r=0.8, alpha=5.0, a=0.8, b=2.5)
    buying, _ = simulated(truth, 8_000, 60.0, 0.0, seed=1)
    found = fit_bgnbd(buying)

    assert found.r / found.alpha == pytest.approx(truth.r / truth.alpha, rel=0.1)
    assert found.a / (found.a + found.b) == pytest.approx(0.8 / 3.3, rel=0.1)
    assert found.log_likelihood(buying).mean() >= truth.log_likelihood(buying).mean()


def test_silence_is_predicted_as_often_as_it_happens():
    """
    The mean probability of no purchase is the share of simulated customers with none.
    """
    truth = BgNbd(r=0.8, alpha=5.0, a=0.8, b=2.5)
    buying, later = simulated(truth, 20_000, 40.0, 10.0, seed=2)

    assert truth.silent(buying, 10.0).mean() == pytest.approx((later == 0).mean(), abs=0.01)


def test_longer_silence_makes_being_alive_less_likely():
    """
    For a customer with repeats P(alive) falls with time; without repeats it stays 1.
    """
    weeks = np.arange(10.0, 60.0)
    repeats = Buying(np.full(50, 3.0), np.full(50, 10.0), weeks)
    none = Buying(np.zeros(50), np.zeros(50), weeks)

    assert (np.diff(CDNOW.alive(repeats)) < 0).all()
    assert (CDNOW.alive(none) == 1).all()


def test_days_with_activity_are_purchases():
    """
    Three active days, the last two weeks after the first, seen a week later.
    """
    facts = blank_facts(1)
    facts["first_seen"], facts["last_seen"] = 100 * DAY_MS, 114 * DAY_MS + 5
    facts["active_days"] = 3
    buying = buying_of(facts, 121 * DAY_MS)

    assert (2.0, 2.0, 3.0) == (buying.repeats[0], buying.last[0], buying.now[0])


def test_nothing_is_fitted_when_nobody_came_back():
    """
    Without repeats the parameters mean nothing.
    """
    with pytest.raises(Misconfigured, match="repeat purchase"):
        fit_bgnbd(Buying(np.zeros(3), np.zeros(3), np.full(3, 9.0)))
