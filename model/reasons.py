"""Why a score is what it is, in words a person understands.

A feature is rarely a reason by itself: five half-lives of the same visits say one thing. So
contributions (`model.contributions`) are summed within concepts, and a concept has one sentence,
which sets the user against their own past: the decays of 60 and 240 days remember it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, get_args

import numpy as np

from contracts.scores import DECIMALS, Concept, Explanation, Reason
from contracts.times import DAY_MS, NEVER
from model.candidates import Classifier
from model.contributions import Additive, additive
from model.features import FEATURES, PREDICT_INPUTS, Feature, features
from model.silence import within_grid
from model.wording import count, every, rates, span

TOP: Final = 3
"""Reasons a score or an alert carries."""

CONCEPTS: Final[tuple[Concept, ...]] = get_args(Concept)

MEMBERS: Final[Mapping[Concept, tuple[str, ...]]] = {
    "recency": ("silent_days", "silence_vs_usual", "usual_gap_days", "gap_spread"),
    "frequency": (
        "active_days_28d", "sessions_28d", "pages_28d", "minutes_28d",
        "recent_days_60d", "recent_days_240d", "recent_events_240d",
        "pages_visited", "time_spent", "sessions", "active_days", "active_day_share",
        "events_per_active_day", "pages_per_session", "minutes_per_session",
    ),
    "trend": (
        "active_days_7d", "recent_days_3d", "recent_days_14d", "recent_events_14d",
        "last_gap_vs_usual",
    ),
    "tenure": ("tenure_days", "days_since_signup"),
    "money": ("value", "purchases"),
    "context": ("is_cancelled", "is_logged_in", "last_hour", "last_weekday"),
}  # fmt: skip
"""Which features speak of the same thing; the first is the one a typical value is told of."""


class ExplainedModel(Protocol):
    """What of a model an explanation needs."""

    @property
    def full(self) -> Classifier: ...
    @property
    def inputs(self) -> Classifier: ...
    @property
    def grid_hours(self) -> np.ndarray: ...


class Explainer:
    """A loaded model's reasons. Taking it apart costs some milliseconds, so do it once."""

    def __init__(self, model: ExplainedModel) -> None:
        self._grid_end = int(model.grid_hours[-1])
        self._full = _Explained.of(model.full, FEATURES)
        self._inputs = _Explained.of(model.inputs, PREDICT_INPUTS)

    def explanations(self, facts: np.ndarray, as_of: np.ndarray) -> list[Explanation] | None:
        """Of the scores `Model.score` gives for (n,) FACTS as of (n,) epoch ms.

        None when the model's log-odds are no sum; so do `reasons` and `of_inputs`.
        """
        return None if self._full is None else self._full.all(*self._read(facts, as_of))

    def reasons(self, facts: np.ndarray, as_of: np.ndarray) -> list[tuple[Reason, ...]] | None:
        """What raises the risk most, at most TOP per user, the strongest first."""
        return None if self._full is None else self._full.raising(*self._read(facts, as_of))

    def of_inputs(self, rows: np.ndarray) -> list[Explanation] | None:
        """Of the scores of (n, 4) PREDICT_INPUTS."""
        known = np.full(len(rows), np.nan)
        return None if self._inputs is None else self._inputs.all(rows, known)

    def _read(self, facts: np.ndarray, as_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) features, and (n,) days since the first visit, NaN where there was none."""
        moment = within_grid(facts["last_seen"], as_of, self._grid_end)
        first = facts["first_seen"]
        age = np.where(first == NEVER, np.nan, (moment - first) / DAY_MS)
        return features(facts, moment), age


class _Explained:
    """One estimator's sums over concepts, and the sentences for them."""

    def __init__(self, parts: Additive, columns: tuple[Feature, ...]) -> None:
        self._parts = parts
        self._names = [feature.name for feature in columns]
        self._concept = np.array([_concept_of(name) for name in self._names])
        self._columns = [np.flatnonzero(self._concept == i) for i in range(len(CONCEPTS))]
        self._typical = [self._typical_of(concept) for concept in CONCEPTS]

    @classmethod
    def of(cls, estimator: Classifier, columns: tuple[Feature, ...]) -> _Explained | None:
        parts = additive(estimator)
        return None if parts is None else cls(parts, columns)

    def all(self, rows: np.ndarray, age: np.ndarray) -> list[Explanation]:
        told = self._parts.contributions(rows)
        sums = self._sums(told)
        order = np.argsort(-np.abs(sums), axis=1, kind="stable")
        base = round(self._parts.base, DECIMALS)
        return [
            Explanation(
                base,
                tuple(
                    self._reason(person, int(concept), float(sums[i, concept]))
                    for concept in order[i]
                    if len(self._columns[concept])
                ),
            )
            for i, person in enumerate(self._people(rows, told, age))
        ]

    def raising(self, rows: np.ndarray, age: np.ndarray) -> list[tuple[Reason, ...]]:
        told = self._parts.contributions(rows)
        sums = self._sums(told)
        order = np.argsort(-sums, axis=1, kind="stable")[:, :TOP]
        return [
            tuple(
                self._reason(person, int(concept), float(sums[i, concept]))
                for concept in order[i]
                if sums[i, concept] > 0
            )
            for i, person in enumerate(self._people(rows, told, age))
        ]

    def _sums(self, told: np.ndarray) -> np.ndarray:
        """(n, len(CONCEPTS)) of (n, d) contributions."""
        return np.stack([told[:, columns].sum(axis=1) for columns in self._columns], axis=1)

    def _people(self, rows: np.ndarray, told: np.ndarray, age: np.ndarray) -> list[_Person]:
        context = self._columns[CONCEPTS.index("context")]
        leading = context[np.abs(told[:, context]).argmax(axis=1)]
        return [
            _Person(dict(zip(self._names, row, strict=True)), days, self._names[lead])
            for row, days, lead in zip(rows.tolist(), age.tolist(), leading, strict=True)
        ]

    def _reason(self, person: _Person, concept: int, contribution: float) -> Reason:
        name = CONCEPTS[concept]
        said = _SENTENCES[name](person)
        return Reason(
            concept=name,
            contribution=round(contribution, DECIMALS),
            text=said.text,
            value=_number(said.value),
            usual=_number(said.usual),
            typical=self._typical[concept],
        )

    def _typical_of(self, concept: Concept) -> float | None:
        told = next((name for name in MEMBERS[concept] if name in self._names), None)
        if told is None or concept in ("trend", "context"):
            return None
        return _number(float(self._parts.typical[self._names.index(told)]))


def _concept_of(feature: str) -> int:
    return next(i for i, concept in enumerate(CONCEPTS) if feature in MEMBERS[concept])


@dataclass(frozen=True, slots=True)
class _Person:
    """A row by name, NaN where unknown."""

    row: dict[str, float]
    age: float
    """Days since the first visit."""
    leading_context: str

    def __getitem__(self, feature: str) -> float:
        return self.row[feature]

    def daily(self, half_life: int) -> float:
        """Active days per day, as the decay of this half-life remembers them.

        Steady visits at a rate r for a days add up to r (1 - 2**(-(a + 1)/h)) / (1 - 2**(-1/h)).
        """
        daily = 2.0 ** (-1 / half_life)
        whole: float = (1 - daily ** (self.age + 1)) / (1 - daily)
        return min(self.row[f"recent_days_{half_life}d"] / whole, 1.0)


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    value: float = np.nan
    usual: float = np.nan


def _recency(person: _Person) -> _Said:
    silent, gap = person["silent_days"], person["usual_gap_days"]
    if np.isnan(silent):
        return _Said("never seen")
    text = f"no visit for {span(silent)}" if silent >= 1 else f"last visit {span(silent)} ago"
    if not np.isnan(gap):
        text += f"; usually {every(gap)}"
    return _Said(text, silent, gap)


def _frequency(person: _Person) -> _Said:
    if "active_days_28d" not in person.row:
        pages, minutes = person["pages_visited"], person["time_spent"]
        return _Said(f"{count(pages, 'page')} and {count(minutes, 'minute')} in all", np.nan)
    days = person["active_days_28d"]
    if np.isnan(person.age):
        return _Said("no visit so far", days)
    if person.age < _FOUR_WEEKS:
        return _Said(f"active on {count(days, 'day')} so far", days)
    usual = _FOUR_WEEKS * person.daily(240)
    return _Said(f"active on {days:.0f} of the last 28 days; usually on {usual:.1f}", days, usual)


def _trend(person: _Person) -> _Said:
    if np.isnan(person.age):
        return _Said("no visit so far")
    late, before = person.daily(14), person.daily(60)
    if person.age < 2 * _WEEK:
        return _Said(f"active on {rates(late)} of late", _WEEK * late)
    text = f"active on {rates(late, before)} over the last months"
    return _Said(text, _WEEK * late, _WEEK * before)


def _tenure(person: _Person) -> _Said:
    if "days_since_signup" in person.row:
        days = person["days_since_signup"]
        return _Said(f"signed up {span(days)} ago", days)
    days = person["tenure_days"]
    if np.isnan(days):
        return _Said("no sign-up known")
    return _Said(f"with you for {span(days) if days >= 1 else 'less than a day'}", days)


def _money(person: _Person) -> _Said:
    value, purchases = person["value"], person["purchases"]
    if not value and not purchases:
        return _Said("nothing bought so far", value)
    bought = f"{count(purchases, 'purchase')}, " if purchases else ""
    return _Said(f"{bought}{value:.2f} in all", value)


def _context(person: _Person) -> _Said:
    leading = person.leading_context
    value = person[leading]
    if np.isnan(value):
        return _Said("no login known" if leading == "is_logged_in" else "no visit so far")
    if leading == "is_cancelled":
        return _Said("has cancelled" if value else "has not cancelled")
    if leading == "is_logged_in":
        return _Said("logged in" if value else "logged out")
    when = []
    if not np.isnan(person["last_weekday"]):
        when = [f"on a {_WEEKDAYS[int(person['last_weekday'])]}", f"at {_clock(person)} UTC"]
    return _Said(f"last came {' '.join(when)}")


_FOUR_WEEKS: Final = 28
_WEEK: Final = 7
_WEEKDAYS: Final = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip

_SENTENCES: Final[Mapping[Concept, Callable[[_Person], _Said]]] = {
    "recency": _recency,
    "frequency": _frequency,
    "trend": _trend,
    "tenure": _tenure,
    "money": _money,
    "context": _context,
}


def _clock(person: _Person) -> str:
    return f"{int(person['last_hour']):02}:{int(person['last_hour'] % 1 * 60):02}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 2)
