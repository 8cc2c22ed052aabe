"""A made-up population with known truth: who visits when, and at which moment they left for good.

The model behind it, per user and day:

* *Engagement* starts at 1 and wanders (a mean-reverting random walk of its logarithm). Now and
  then a user begins to *fade*: engagement shrinks by a few percent a day until they recover, or go.
* A hidden *hazard* of leaving falls with engagement and with tenure and depends a little on plan
  and referral source. It is drawn once a day; the moment it strikes is the true churn date.
* Visits are Poisson: a personal rate (lognormal), a weekly rhythm and engagement set the mean.
  Engagement also sets how deep a session goes, so behaviour tells of the hazard without naming it.

Pure and seeded: the same population gives the same events, byte for byte. Memory holds one
day of events.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.events import ActivityEvent
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, from_ms

DEFAULT_START_MS: Final = 1_735_689_600_000
"""2025-01-01, for populations whose dates do not matter."""

PLACES: Final = ("Berlin", "London", "New York", "Tokyo", "Sao Paulo", "Lagos", "Mumbai")
REFERRERS: Final = ("search", "friend", "newsletter", "ads", "partner")
DEVICES: Final = ("desktop", "mobile", "tablet")
PLANS: Final = ("free", "monthly", "yearly")

_PLACE_SHARE = (0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1)
_REFERRER_SHARE = (0.4, 0.2, 0.1, 0.2, 0.1)
_DEVICE_SHARE = (0.45, 0.45, 0.1)
_PLAN_SHARE = (0.55, 0.35, 0.1)

_PLAN_HAZARD = np.array([1.2, 1.0, 0.5])
_REFERRER_HAZARD = np.array([1.0, 0.7, 0.9, 1.5, 1.0])
_BASE_HAZARD = 0.0004  # a day, for an engaged user of long standing
_ENGAGEMENT_HAZARD = 5.5  # a user at engagement 0 leaves e**5.5 times sooner than one at 1
_NEW_USER_HAZARD = 2.0  # on top of 1 on the first day
_NEW_USER_DAYS = 21.0

_FADE_ONSET = 0.01  # a day
_FADE_END = 0.015
_FADE_PACE = 0.04  # of log engagement, a day
_WANDER = 0.08  # standard deviation a day
_PULL = 0.05  # of the way back to 1, a day

_EXISTING_SHARE = 0.6
_MEAN_TENURE_DAYS = 240.0
_CANCELS = 0.3  # of leavers

_WORKDAY_RHYTHM = np.array([1.15, 1.2, 1.15, 1.1, 1.0, 0.7, 0.7])  # Monday first
_LEISURE_RHYTHM = np.array([0.8, 0.8, 0.85, 0.9, 1.05, 1.3, 1.3])


@dataclass(frozen=True)
class Population:
    """How many users to make up, for how long, from when, and with which seed."""

    users: int = 2_000
    days: int = 180
    seed: int = 7
    start_ms: int = DEFAULT_START_MS

    @property
    def end_ms(self) -> int:
        """The moment the simulation ends; no event is as late."""
        return self.start_ms + self.days * DAY_MS


def simulate(population: Population) -> Iterator[ActivityEvent]:
    """Yield the population's events in time order, all within [start_ms, end_ms).

    Every event has an id made of seed, user and running number.
    """
    users = _Users.made_of(population)
    behaviour = np.random.default_rng([population.seed, 2])
    pending: list[_Planned] = []
    for day in _lives(population, users):
        for planned in _visits(behaviour, users, day):
            heapq.heappush(pending, planned)
        while pending and pending[0][0] < day.end_ms:
            planned = heapq.heappop(pending)
            if population.start_ms <= planned[0] < population.end_ms:
                yield users.event(planned)


def churn_dates(population: Population) -> dict[str, int | None]:
    """Tell, for every user, the moment (ms) they left for good; None while they are still there.

    Users whose sign-up lies beyond the end are absent: nobody has heard of them.
    """
    users = _Users.made_of(population)
    for _ in _lives(population, users):
        pass
    return {
        user_id(user): int(users.left_at[user]) if users.left_at[user] < population.end_ms else None
        for user in np.flatnonzero(users.signed_up_at < population.end_ms).tolist()
    }


def user_id(user: int) -> str:
    """Name of the user with this index."""
    return f"user-{user:05d}"


_NOT_YET = np.iinfo(np.int64).max

_Planned = tuple[int, int, int, str, int, float, float]
"""(ms, running number, user, type, pages, minutes, money): the first two decide the order."""


@dataclass
class _Users:
    """Traits of each user, drawn once, and what happens to them, day by day."""

    seed: int
    signed_up_at: np.ndarray
    existing: np.ndarray
    rate: np.ndarray  # sessions a day at engagement 1
    leisure: np.ndarray  # 0 works on workdays, 1 comes at weekends
    hour: np.ndarray  # favourite hour of the day, UTC
    depth: np.ndarray  # pages a page_view event, on average
    pace: np.ndarray  # minutes a page
    logs_in: np.ndarray  # probability a session starts with a login
    logs_out: np.ndarray
    buys: np.ndarray  # probability a session ends with a purchase
    price: np.ndarray
    cancels: np.ndarray
    place: np.ndarray
    referrer: np.ndarray
    device: np.ndarray
    plan: np.ndarray
    engagement: np.ndarray  # logarithm
    fading: np.ndarray
    left_at: np.ndarray
    told: np.ndarray  # events so far

    @classmethod
    def made_of(cls, population: Population) -> _Users:
        rng = np.random.default_rng([population.seed, 0])
        n = population.users
        existing = rng.random(n) < _EXISTING_SHARE
        before = rng.exponential(_MEAN_TENURE_DAYS, n)
        within = rng.random(n) * population.days
        days = np.where(existing, -before, within)
        return cls(
            seed=population.seed,
            signed_up_at=population.start_ms + np.floor(days * DAY_MS).astype(np.int64),
            existing=existing,
            rate=np.clip(rng.lognormal(math.log(0.25), 0.9, n), 0.03, 4.0),
            leisure=rng.beta(0.8, 1.2, n),
            hour=rng.normal(15.0, 4.0, n) % 24,
            depth=rng.gamma(3.0, 1.5, n) + 1,
            pace=rng.gamma(3.0, 0.5, n) + 0.2,
            logs_in=np.where(rng.random(n) < 0.6, rng.beta(4, 2, n), 0.0),
            logs_out=rng.beta(1, 3, n),
            buys=np.where(rng.random(n) < 0.3, rng.beta(1, 8, n), 0.0),
            price=rng.lognormal(3.2, 0.7, n),
            cancels=rng.random(n) < _CANCELS,
            place=rng.choice(len(PLACES), n, p=_PLACE_SHARE),
            referrer=rng.choice(len(REFERRERS), n, p=_REFERRER_SHARE),
            device=rng.choice(len(DEVICES), n, p=_DEVICE_SHARE),
            plan=rng.choice(len(PLANS), n, p=_PLAN_SHARE),
            engagement=np.zeros(n),
            fading=np.zeros(n, bool),
            left_at=np.full(n, _NOT_YET),
            told=np.zeros(n, np.int64),
        )

    def event(self, planned: _Planned) -> ActivityEvent:
        """The planned happening as an event, numbered in the order users tell them."""
        ms, _, user, kind, pages, minutes, money = planned
        number = int(self.told[user])
        self.told[user] += 1
        entering = kind in ("login", "signup") or number == 0
        return ActivityEvent(
            user_id=user_id(user),
            type=kind,
            event_id=f"sim{self.seed}-{user}-{number}",
            occurred_at=from_ms(ms),
            pages_visited=pages or None,
            time_spent=minutes or None,
            value=money or None,
            is_logged_in={"login": True, "signup": True, "logout": False}.get(kind),
            signed_up_at=from_ms(int(self.signed_up_at[user])) if entering else None,
            location=PLACES[self.place[user]] if entering else None,
            referral_source=REFERRERS[self.referrer[user]] if entering else None,
            plan=PLANS[self.plan[user]] if entering else None,
            device_type=DEVICES[self.device[user]] if kind in ("login", "page_view") else None,
        )


@dataclass(frozen=True)
class _Day:
    """One UTC day: who may visit, in which mood, and who leaves during it."""

    start_ms: int
    engagement: np.ndarray  # of every user, 1 is normal
    present: np.ndarray  # indices of users signed up and not yet gone when the day starts
    joining: np.ndarray  # indices of users who sign up on this day
    leaving: np.ndarray

    @property
    def end_ms(self) -> int:
        return self.start_ms + DAY_MS

    @property
    def weekday(self) -> int:
        return (self.start_ms // DAY_MS + 3) % 7  # 1970-01-01 was a Thursday


def _lives(population: Population, users: _Users) -> Iterator[_Day]:
    """Yield day after day of the population; writes engagement and `left_at` as it goes."""
    rng = np.random.default_rng([population.seed, 1])
    n = population.users
    first = population.start_ms // DAY_MS * DAY_MS
    for start_ms in range(first, population.end_ms, DAY_MS):
        wander, onset, end, fate, moment = (
            rng.normal(0.0, _WANDER, n), rng.random(n), rng.random(n), rng.random(n), rng.random(n),
        )  # fmt: skip
        joined = users.signed_up_at < start_ms + DAY_MS
        here = joined & (users.left_at >= start_ms)
        users.fading = np.where(users.fading, end >= _FADE_END, onset < _FADE_ONSET) & here
        step = wander - np.where(users.fading, _FADE_PACE, _PULL * users.engagement)
        users.engagement = np.where(here, np.minimum(users.engagement + step, 0.7), 0.0)
        level = np.exp(users.engagement)

        joining = here & (users.signed_up_at >= max(start_ms, population.start_ms))
        tenure = (start_ms - users.signed_up_at) / DAY_MS
        # Nobody leaves on the day they join, nor before the simulation begins.
        at_stake = here & (users.signed_up_at < start_ms) & (start_ms >= population.start_ms)
        leaving = at_stake & (fate < -np.expm1(-_hazard(users, level, tenure)))
        moments = start_ms + np.floor(moment * DAY_MS).astype(np.int64)
        users.left_at = np.where(leaving, moments, users.left_at)
        yield _Day(
            start_ms, level, np.flatnonzero(here), np.flatnonzero(joining), np.flatnonzero(leaving)
        )


def _hazard(users: _Users, level: np.ndarray, tenure_days: np.ndarray) -> np.ndarray:
    """(n,) hidden hazard of leaving for good, per day."""
    novelty = 1 + _NEW_USER_HAZARD * np.exp(-np.maximum(tenure_days, 0) / _NEW_USER_DAYS)
    mood = np.exp(_ENGAGEMENT_HAZARD * np.maximum(1 - level, -0.5))
    taste = _PLAN_HAZARD[users.plan] * _REFERRER_HAZARD[users.referrer]
    hazard: np.ndarray = np.minimum(_BASE_HAZARD * novelty * mood * taste, 0.25)
    return hazard


def _visits(rng: np.random.Generator, users: _Users, day: _Day) -> Iterator[_Planned]:
    """What begins on this day; a session may run past midnight. In no particular order."""
    for user in day.joining.tolist():
        yield _plan(rng, int(users.signed_up_at[user]), user, "signup")
    present = day.present
    leisure = users.leisure[present]
    rhythm = (1 - leisure) * _WORKDAY_RHYTHM[day.weekday] + leisure * _LEISURE_RHYTHM[day.weekday]
    sessions = rng.poisson(users.rate[present] * rhythm * day.engagement[present])
    starts = np.repeat(present, sessions)
    hours = rng.normal(users.hour[starts], 2.5) % 24
    for user, hour in zip(starts.tolist(), hours.tolist(), strict=True):
        start_ms = day.start_ms + int(hour * HOUR_MS)
        if start_ms > users.signed_up_at[user]:
            for planned in _session(rng, users, user, start_ms, float(day.engagement[user])):
                if planned[0] < users.left_at[user]:
                    yield planned
    for user in day.leaving.tolist():
        if users.cancels[user]:
            yield _plan(rng, int(users.left_at[user]), user, "subscription_cancelled")


def _session(
    rng: np.random.Generator, users: _Users, user: int, start_ms: int, engagement: float
) -> Iterator[_Planned]:
    """One visit: perhaps a login, some page views, perhaps a purchase and a logout."""
    login, logout, purchase = rng.random(3).tolist()
    now = start_ms
    logged_in = login < users.logs_in[user]
    if logged_in:
        yield _plan(rng, now, user, "login")
        now += int(rng.integers(1_000, MINUTE_MS))
    for _ in range(1 + int(rng.poisson(0.6 * engagement))):
        pages = 1 + int(rng.poisson(users.depth[user] * engagement))
        spent = pages * float(users.pace[user]) * float(rng.gamma(4.0, 0.25))
        minutes = round(min(spent, 25.0), 1)
        yield _plan(rng, now, user, "page_view", pages=pages, minutes=minutes)
        now += int(minutes * MINUTE_MS) + int(rng.integers(1_000, 3 * MINUTE_MS))
    if purchase < users.buys[user]:
        money = round(float(users.price[user] * rng.lognormal(0.0, 0.4)), 2)
        yield _plan(rng, now, user, "purchase", money=money)
        now += int(rng.integers(1_000, MINUTE_MS))
    if logged_in and logout < users.logs_out[user]:
        yield _plan(rng, now, user, "logout")


def _plan(
    rng: np.random.Generator,
    ms: int,
    user: int,
    kind: str,
    *,
    pages: int = 0,
    minutes: float = 0.0,
    money: float = 0.0,
) -> _Planned:
    # Ties are broken by a draw, so that no user is always first.
    return ms, int(rng.integers(1 << 62)), user, kind, pages, minutes, money
