"""BG/NBD: repeat buying while alive, a coin toss after every purchase whether to go for good.

Fader, Hardie and Lee (2005), "Counting Your Customers" the Easy Way: An Alternative to the
Pareto/NBD Model, Marketing Science 24(2). A second opinion that knows three numbers per customer.
While alive a customer buys at rate lambda ~ Gamma(r, alpha); after each purchase they are gone
with probability p ~ Beta(a, b).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

from contracts.errors import Misconfigured
from contracts.times import DAY_MS

WEEK_DAYS: Final = 7.0


@dataclass(frozen=True)
class Buying:
    """(n,) float64 each: repeat purchases, and in weeks since the first purchase the last purchase
    and now."""

    repeats: np.ndarray
    last: np.ndarray
    now: np.ndarray


@dataclass(frozen=True)
class BgNbd:
    """Parameters in the notation of the paper, rates per week."""

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, buying: Buying) -> np.ndarray:
        """(n,) log-likelihood of each customer; equation (6) of the paper."""
        x, last, now = buying.repeats, buying.last, buying.now
        common = gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.alpha)
        alive = (
            betaln(self.a, self.b + x)
            - betaln(self.a, self.b)
            - (self.r + x) * np.log(self.alpha + now)
        )
        gone = (
            betaln(self.a + 1, self.b + np.maximum(x, 1) - 1)
            - betaln(self.a, self.b)
            - (self.r + x) * np.log(self.alpha + last)
        )
        # Nobody can go before the first repeat purchase: the coin is tossed after it.
        return np.asarray(common + np.logaddexp(alive, np.where(x > 0, gone, -np.inf)))

    def alive(self, buying: Buying) -> np.ndarray:
        """(n,) probability of still being a customer now."""
        x = buying.repeats
        odds_gone = (
            self.a
            / (self.b + np.maximum(x, 1) - 1)
            * ((self.alpha + buying.now) / (self.alpha + buying.last)) ** (self.r + x)
        )
        return np.asarray(np.where(x > 0, 1 / (1 + odds_gone), 1.0))

    def silent(self, buying: Buying, weeks: float) -> np.ndarray:
        """(n,) probability of no purchase in the next `weeks`: gone, or alive and pausing."""
        soon = self.alpha + buying.now
        pause = (soon / (soon + weeks)) ** (self.r + buying.repeats)
        alive = self.alive(buying)
        return np.asarray(1 - alive + alive * pause)

    def expected(self, buying: Buying, weeks: float) -> np.ndarray:
        """(n,) expected purchases in the next `weeks`; equation (10)."""
        x, soon = buying.repeats, self.alpha + buying.now
        a, b, r = self.a, self.b, self.r
        series = hyp2f1(r + x, b + x, a + b + x - 1, weeks / (soon + weeks))
        while_alive = (a + b + x - 1) / (a - 1) * (1 - (soon / (soon + weeks)) ** (r + x) * series)
        return np.asarray(while_alive * self.alive(buying))


def fit_bgnbd(buying: Buying) -> BgNbd:
    """Maximum likelihood over customers (n > 0); raises Misconfigured when nobody came back."""
    if not (buying.repeats > 0).any():
        raise Misconfigured("BG/NBD needs customers with a repeat purchase: there is none")

    def loss(logs: np.ndarray) -> float:
        return -float(BgNbd(*np.exp(logs).tolist()).log_likelihood(buying).mean())

    bounds = [(-7.0, 9.0)] * 4
    starts = (np.zeros(4), np.log([0.5, 10.0, 0.5, 3.0]))
    found = [minimize(loss, start, method="L-BFGS-B", bounds=bounds) for start in starts]
    best = min(found, key=lambda result: float(result.fun))
    return BgNbd(*np.exp(best.x).tolist())


def buying_of(facts: np.ndarray, as_of: np.ndarray | int) -> Buying:
    """What BG/NBD reads of (n,) FACTS of users seen before `as_of` (epoch ms).

    A day with activity is a purchase, as in the paper, where several on one day count once.
    """
    first = facts["first_seen"] // DAY_MS
    last = (facts["last_seen"] // DAY_MS - first) / WEEK_DAYS
    now = np.maximum((np.asarray(as_of) / DAY_MS - first) / WEEK_DAYS, last)
    return Buying(np.maximum(facts["active_days"].astype(np.float64), 1) - 1, last, now)
