"""What a model sees of a user: facts read as of a moment, in units a person understands.

Every feature is one of three kinds, so that what silence does to it is known beforehand:

* frozen: as it was at the user's last event; silence leaves it alone.
* fading: never rises in silence. Decayed counts fall smoothly from last-seen on, calendar windows
  (today so far and n - 1 whole UTC days) at midnight.
* recency: never falls in silence.

There is no ratio of windows and no clock of the score: both would move in silence for no reason
a person could name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from contracts.decay import ONE
from contracts.events import NAMED_TYPES
from contracts.record import CANCELLED, HALF_LIVES, LOGGED_IN, RING_DAYS, UNKNOWN
from contracts.times import DAY_MS, HOUR_MS, NEVER
from model.gaps import OCTAVE

Kind = Literal["frozen", "fading", "recency"]


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of the feature view. Values lie in [low, high], or are NaN when unknown."""

    name: str
    unit: str
    low: float
    high: float
    kind: Kind
    direction: int
    """+1: more means more risk; -1: less; 0: not known beforehand."""
    definition: str
    why: str


WEEK_DAYS: Final = 7

_COUNT: Final = float(2**32 - 1)
_TOTAL: Final = 2 * _COUNT  # base + counted
_MINUTES: Final = _TOTAL / 60
_LIFETIME: Final = 84_100.0  # days: from the earliest sign-up claimed (1870) to 2100
_ERA: Final = 47_500.0  # days: 1970 to 2100
_MONEY: Final = 2.0**63 / 100
_DAY_EVENTS: Final = (2**16 - 1) * 28.0


def _frozen(
    name: str, unit: str, within: tuple[float, float], definition: str, why: str
) -> Feature:
    return Feature(name, unit, *within, "frozen", 0, definition, why)


def _fading(name: str, unit: str, high: float, definition: str, why: str) -> Feature:
    return Feature(name, unit, 0.0, high, "fading", -1, definition, why)


def _recency(name: str, unit: str, high: float, definition: str, why: str) -> Feature:
    return Feature(name, unit, 0.0, high, "recency", +1, definition, why)


_PAGES = _frozen(
    "pages_visited", "pages", (0, _TOTAL),
    "Pages since sign-up, counted or stated by a snapshot.",
    "Who has seen much of the product knows what they leave.",
)  # fmt: skip
_TIME_SPENT = _frozen(
    "time_spent", "minutes", (0, _MINUTES),
    "Minutes since sign-up, counted or stated by a snapshot.",
    "Time given to the product is the plainest commitment.",
)  # fmt: skip
_LOGGED_IN = _frozen(
    "is_logged_in", "yes or no", (0, 1),
    "The last statement about the login, by an event of any type.",
    "An open login is a door left open.",
)  # fmt: skip

FEATURES: Final[tuple[Feature, ...]] = (
    _recency(
        "silent_days", "days", _ERA,
        "Time since the user was last seen.",
        "The longer nothing is heard, the likelier they are gone.",
    ),
    _recency(
        "silence_vs_usual", "usual gaps", 3e6,
        "Time since the user was last seen, divided by their usual gap.",
        "A week of silence means little from a monthly visitor and much from a daily one.",
    ),
    *(
        _fading(
            f"recent_days_{half_life}d", "active days", 65_536.0,
            f"Active days, each counting half as much every {half_life} days.",
            f"The habit as {half_life} days remember it.",
        )
        for half_life in HALF_LIVES
    ),
    *(
        _fading(
            f"recent_events_{half_life}d", "events", 65_536.0,
            f"Activity events, each counting half as much every {half_life} days.",
            f"How much goes on, as {half_life} days remember it.",
        )
        for half_life in HALF_LIVES[1::2]
    ),
    _fading(
        "active_days_7d", "days", 7,
        "UTC days with activity among today and the 6 before.",
        "Whether there was a visit this week is what people look at first.",
    ),
    _fading(
        "active_days_28d", "days", 28,
        "UTC days with activity among today and the 27 before.",
        "Four whole weeks: weekdays weigh the same in any of them.",
    ),
    _fading(
        "sessions_28d", "sessions", 255 * 28,
        "Sessions begun today and on the 27 days before; half an hour without activity ends one.",
        "Several visits a day are a stronger habit than one.",
    ),
    _fading(
        "pages_28d", "pages", _DAY_EVENTS,
        "Pages of today and the 27 days before.",
        "How much was looked at lately.",
    ),
    _fading(
        "minutes_28d", "minutes", _DAY_EVENTS / 60,
        "Minutes of today and the 27 days before.",
        "How much time was given lately.",
    ),
    _fading(
        "active_days_per_week", "days a week", 7,
        "Active days a week since the first visit; a week is added to the time, so that a "
        "newcomer's first days do not count as a habit.",
        "The pace of a whole history: what is left of it when somebody stays away.",
    ),
    _PAGES,
    _TIME_SPENT,
    _frozen(
        "sessions", "sessions", (0, _COUNT),
        "Sessions in all.",
        "Habit needs repeats.",
    ),
    _frozen(
        "active_days", "days", (0, _COUNT),
        "UTC days with activity in all.",
        "A habit is made of days; a busy day is not a habit.",
    ),
    _LOGGED_IN,
    _frozen(
        "purchases", "purchases", (0, 2**16 - 1),
        "Events of type `purchase`.",
        "Who buys has decided for the product before.",
    ),
    _frozen(
        "value", "money", (-_MONEY, _MONEY),
        "Sum of `value` over all events, returns taken off.",
        "Money spent is a commitment, money returned is not.",
    ),
    _frozen(
        "money_per_active_day", "money", (0, _MONEY),
        "Money of purchases, returns not taken off, per active day.",
        "A large order is not placed on a whim, and a small one may be a trial.",
    ),
    _frozen(
        "is_cancelled", "yes or no", (0, 1),
        "`subscription_cancelled`, with no activity since.",
        "A cancellation without a visit since is a farewell.",
    ),
    _frozen(
        "tenure_days", "days", (0, _LIFETIME),
        "From sign-up (or the first visit, if that was earlier or is all there is) to the last.",
        "Most users who go, go early.",
    ),
    _frozen(
        "active_day_share", "share", (0, 1),
        "Active days per day from the first visit to the last, both included.",
        "How regular the visits were.",
    ),
    _frozen(
        "events_per_active_day", "events", (0, _COUNT),
        "Activity events per active day.",
        "How much they do on a day when they come.",
    ),
    _frozen(
        "pages_per_session", "pages", (0, _COUNT),
        "Pages counted, per session.",
        "How far a visit goes.",
    ),
    _frozen(
        "minutes_per_session", "minutes", (0, _COUNT / 60),
        "Minutes counted, per session.",
        "How long a visit lasts.",
    ),
    _frozen(
        "usual_gap_days", "days", (0, _ERA),
        "Geometric mean of the pauses between sessions; unknown with fewer than two.",
        "The measure of silence: one long holiday does not move it.",
    ),
    _frozen(
        "gap_spread", "octaves", (0, 32),
        "Standard deviation of the logarithm (base 2) of the pauses between sessions.",
        "Who is irregular and skips, comes back late.",
    ),
    _frozen(
        "last_gap_vs_usual", "octaves", (-32, 32),
        "The last pause between sessions against the usual one, in doublings.",
        "Visits drift apart before they end.",
    ),
    _frozen(
        "last_hour", "hour of day, UTC", (0, 24),
        "Time of day of the last visit.",
        "Working hours or leisure: when they come.",
    ),
    _frozen(
        "last_weekday", "days since Monday", (0, 6),
        "UTC weekday of the last visit.",
        "Weekday visitors pause at weekends.",
    ),
)  # fmt: skip
"""The full feature view, in the order of its columns."""

PREDICT_INPUTS: Final[tuple[Feature, ...]] = (
    _PAGES,
    _TIME_SPENT,
    _recency(
        "days_since_signup", "days", _LIFETIME,
        "Time since sign-up, or since the first visit if that was earlier or is all there is.",
        "Most users who go, go early; the rest have stayed.",
    ),
    _LOGGED_IN,
)  # fmt: skip
"""What `POST /predict` takes."""


def features(facts: np.ndarray, as_of: np.ndarray | int) -> np.ndarray:
    """(n, len(FEATURES)) float64 of (n,) FACTS as of (n,) or one epoch ms; NaN where unknown.

    A moment before last-seen reads like last-seen itself: clocks may differ, silence does not
    begin before the visit. For users never seen only the totals are known.
    """
    seen = facts["last_seen"] != NEVER
    last_seen = np.where(seen, facts["last_seen"], 0)
    as_of = np.maximum(as_of, last_seen)
    silent = (as_of - last_seen) / DAY_MS
    usual_gap = usual_gap_ms(facts) / DAY_MS
    columns = {
        "silent_days": _known(silent, seen),
        "silence_vs_usual": silent / usual_gap,
        **_decayed(facts, silent),
        **_windows(facts, last_seen // DAY_MS, as_of // DAY_MS),
        **_totals(facts),
        **_rates(facts, last_seen, seen),
        "active_days_per_week": _pace(facts, as_of, seen),
        **_gaps(facts, usual_gap),
        "last_hour": _known(last_seen % DAY_MS / HOUR_MS, seen),
        # 1970 began on a Thursday.
        "last_weekday": _known((last_seen // DAY_MS + 3) % 7, seen),
    }
    return np.stack([columns[feature.name] for feature in FEATURES], axis=1)


def predict_inputs(facts: np.ndarray, as_of: np.ndarray | int) -> np.ndarray:
    """(n, 4) float64 in the order of PREDICT_INPUTS; arguments as for `features`."""
    totals = _totals(facts)
    began = _began(facts)
    tenure = np.maximum(as_of - np.where(began == NEVER, 0, began), 0) / DAY_MS
    totals["days_since_signup"] = _known(tenure, began != NEVER)
    return np.stack([totals[feature.name] for feature in PREDICT_INPUTS], axis=1)


def usual_gap_ms(facts: np.ndarray) -> np.ndarray:
    """(n,) float64 geometric mean of the gaps between sessions, NaN with fewer than 2."""
    gaps = facts["gaps"]
    octaves = _ratio(facts["gap_log2"] / OCTAVE, gaps)
    return _known(np.exp2(octaves) * 1000, gaps >= 2)


def missing(facts: np.ndarray) -> list[tuple[str, ...]]:
    """For each user the names of PREDICT_INPUTS that nobody ever stated.

    The record keeps sums, so a total of 0 counts as never stated.
    """
    unstated = np.isnan(predict_inputs(facts, 0))
    # As many bits as inputs make few different answers.
    which = unstated @ (1 << np.arange(unstated.shape[1]))
    return [_UNSTATED[bits] for bits in which.tolist()]


def _named_by(bits: int) -> tuple[str, ...]:
    return tuple(f.name for i, f in enumerate(PREDICT_INPUTS) if bits >> i & 1)


_UNSTATED: Final = [_named_by(bits) for bits in range(1 << len(PREDICT_INPUTS))]
"""By the bits of the inputs that are unstated, the first lowest."""


def _decayed(facts: np.ndarray, silent: np.ndarray) -> dict[str, np.ndarray]:
    """Decay goes on from last-seen, smoothly: nothing jumps at midnight."""
    left = np.exp2(-silent[:, None] / np.array(HALF_LIVES)) / ONE
    columns = {}
    for counted in ("days", "events"):
        values = facts[f"decayed_{counted}"] * left
        for i, half_life in enumerate(HALF_LIVES):
            columns[f"recent_{counted}_{half_life}d"] = values[:, i]
    return columns


def _windows(facts: np.ndarray, last_day: np.ndarray, today: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over the last n days, today included, as far as the ring reaches back."""
    silent_days = np.minimum(today - last_day, RING_DAYS)
    bits = facts["day_bits"].astype(np.int64)

    def active_days(window: int) -> np.ndarray:
        reach = np.maximum(window - silent_days, 0)
        count: np.ndarray = np.bitwise_count(bits & ((np.int64(1) << reach) - 1))
        return count.astype(np.float64)

    age = (last_day[:, None] - np.arange(RING_DAYS)) % RING_DAYS
    inside = age < (RING_DAYS - silent_days)[:, None]

    def four_weeks(ring: str) -> np.ndarray:
        total: np.ndarray = np.where(inside, facts[ring], 0).sum(axis=1, dtype=np.float64)
        return total

    return {
        "active_days_7d": active_days(7),
        "active_days_28d": active_days(RING_DAYS),
        "sessions_28d": four_weeks("day_sessions"),
        "pages_28d": four_weeks("day_pages"),
        "minutes_28d": four_weeks("day_seconds") / 60,
    }


def _totals(facts: np.ndarray) -> dict[str, np.ndarray]:
    pages = facts["pages_base"].astype(np.float64) + facts["pages"]
    seconds = facts["seconds_base"].astype(np.float64) + facts["seconds"]
    login = facts["login"]
    return {
        "pages_visited": _known(pages, pages > 0),
        "time_spent": _known(seconds / 60, seconds > 0),
        "sessions": facts["sessions"].astype(np.float64),
        "active_days": facts["active_days"].astype(np.float64),
        "is_logged_in": _known(login == LOGGED_IN, login != UNKNOWN),
        "purchases": facts["types"][:, NAMED_TYPES.index("purchase")].astype(np.float64),
        "value": facts["value_cents"] / 100,
        "is_cancelled": (facts["flags"] & CANCELLED != 0).astype(np.float64),
    }


def _rates(facts: np.ndarray, last_seen: np.ndarray, seen: np.ndarray) -> dict[str, np.ndarray]:
    first_seen = np.where(seen, facts["first_seen"], 0)
    began = np.where(seen, _began(facts), 0)
    days = last_seen // DAY_MS - first_seen // DAY_MS + 1
    sessions = facts["sessions"]
    return {
        "tenure_days": _known((last_seen - began) / DAY_MS, seen),
        "active_day_share": _known(facts["active_days"] / days, seen),
        "events_per_active_day": _ratio(facts["events"], facts["active_days"]),
        "money_per_active_day": _ratio(facts["purchase_cents"] / 100, facts["active_days"]),
        "pages_per_session": _ratio(facts["pages"], sessions),
        "minutes_per_session": _ratio(facts["seconds"] / 60, sessions),
    }


def _pace(facts: np.ndarray, as_of: np.ndarray, seen: np.ndarray) -> np.ndarray:
    days = (as_of - np.where(seen, facts["first_seen"], as_of)) / DAY_MS
    return _known(facts["active_days"] * WEEK_DAYS / (days + WEEK_DAYS), seen)


def _gaps(facts: np.ndarray, usual_gap: np.ndarray) -> dict[str, np.ndarray]:
    gaps = facts["gaps"]
    mean = _ratio(facts["gap_log2"], gaps)
    # The sums are whole numbers, so a spread of 0 comes out as 0 or a hair below.
    variance = np.maximum(_ratio(facts["gap_log2_squares"], gaps) - mean * mean, 0)
    last_gap = np.maximum(facts["last_gap_seconds"], 1) * 1000 / DAY_MS
    several = gaps >= 2
    return {
        "usual_gap_days": usual_gap,
        "gap_spread": _known(np.sqrt(variance) / OCTAVE, several),
        "last_gap_vs_usual": np.log2(last_gap / usual_gap),
    }


def _began(facts: np.ndarray) -> np.ndarray:
    """(n,) i8 ms: the earlier of sign-up and first visit, NEVER if neither is known."""
    signup, first = facts["signup_at"], facts["first_seen"]
    unknown = (signup == NEVER) | (first == NEVER)
    began: np.ndarray = np.where(unknown, np.maximum(signup, first), np.minimum(signup, first))
    return began


def _known(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) float64: `values` where known, NaN elsewhere."""
    return np.where(known, values, np.nan)


def _ratio(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """(n,) float64: parts / wholes, NaN where there is no whole."""
    return _known(parts / np.maximum(wholes, 1), wholes > 0)
