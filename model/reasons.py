"""Why a score is what it is, in words a person understands.

A feature is rarely a reason by itself: five half-lives of the same visits say one thing. So
contributions (`model.contributions`) are summed within concepts, and a concept has one sentence.

A sentence has to agree with the sign of what it explains. Contributions are counted from the
population the model learned from, so a user may come more often than they used to and still too
seldom: a sentence sets the user against their own past (the decays of 60 and 240 days remember it,
and are read as of the last visit, lest the silence count as habit) where that points the same way,
else against the population's median (`Manifest.typical`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol, get_args

import numpy as np

from contracts.scores import DECIMALS, Concept, Explanation, Reason
from contracts.times import DAY_MS, NEVER
from model.classifier import Classifier, learned_by
from model.contributions import Additive, additive
from model.features import FEATURES, PREDICT_INPUTS, Feature, features
from model.silence import within_grid
from model.tenure import with_known_tenure
from model.wording import around, count, every, rate, rates, span

TOP: Final = 3
"""Reasons a score or an alert carries, at most."""

LEAST_SHARE: Final = 0.2
"""Of the strongest reason: what weighs less is no reason to act on."""

CONCEPTS: Final[tuple[Concept, ...]] = get_args(Concept)

MEMBERS: Final[Mapping[Concept, tuple[str, ...]]] = {
    "recency": ("silent_days", "silence_vs_usual", "usual_gap_days", "gap_spread"),
    "frequency": (
        "active_days_28d", "sessions_28d", "pages_28d", "minutes_28d",
        "recent_days_60d", "recent_days_240d", "recent_events_240d",
        "pages_visited", "time_spent", "sessions", "active_days", "active_day_share",
        "events_per_active_day", "pages_per_session", "minutes_per_session",
        "active_days_per_week",
    ),
    "trend": (
        "active_days_7d", "recent_days_3d", "recent_days_14d", "recent_events_14d",
        "last_gap_vs_usual",
    ),
    "tenure": ("tenure_days", "days_since_signup"),
    "money": ("value", "purchases", "money_per_active_day"),
    "context": ("is_cancelled", "is_logged_in", "last_hour", "last_weekday"),
}  # fmt: skip
"""Which features speak of the same thing."""

_TOLD: Final[Mapping[Concept, tuple[str, ...]]] = {
    "recency": ("silent_days",),
    "frequency": ("active_days_28d", "pages_visited"),
    "trend": ("recent_days_14d",),
    "tenure": ("tenure_days", "days_since_signup"),
    "money": ("value",),
    "context": (),
}
"""The feature, of the record or of the inputs, whose population median stands beside a reason."""


class ExplainedModel(Protocol):
    """What of a model an explanation needs."""

    @property
    def full(self) -> Classifier: ...
    @property
    def inputs(self) -> Classifier: ...
    @property
    def grid_hours(self) -> np.ndarray: ...
    @property
    def tenure_since(self) -> int | None: ...
    @property
    def typical(self) -> Mapping[str, float]:
        """Population median by feature."""
        ...


def typical_values(rows: np.ndarray, inputs: np.ndarray) -> dict[str, float]:
    """Median of each feature that has one, rounded, over (n, d) FEATURES and (n, 4) PREDICT_INPUTS
    of the population; a feature of both is told of the record."""
    found = {}
    for values, columns in ((inputs, PREDICT_INPUTS), (rows, FEATURES)):
        for feature, column in zip(columns, values.T, strict=True):
            known = column[~np.isnan(column)]
            if len(known):
                found[feature.name] = round(float(np.median(known)), DECIMALS)
    return found


class Explainer:
    """A loaded model's reasons."""

    def __init__(self, model: ExplainedModel) -> None:
        self._grid_end = int(model.grid_hours[-1])
        self._tenure_since = model.tenure_since
        self._model = model

    @cached_property
    def _full(self) -> _Explained | None:
        return _Explained.of(learned_by(self._model.full), FEATURES, self._model.typical)

    @cached_property
    def _inputs(self) -> _Explained | None:
        return _Explained.of(learned_by(self._model.inputs), PREDICT_INPUTS, self._model.typical)

    def prepare(self) -> None:
        """Take the model apart now, which takes a while: otherwise the first question does."""
        _ = self._full, self._inputs

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
        unknown = np.full(len(rows), np.nan)
        return None if self._inputs is None else self._inputs.all(rows, unknown)

    def _read(self, facts: np.ndarray, as_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) features, and (n,) days since the first visit, NaN where there was none."""
        moment = within_grid(facts["last_seen"], as_of, self._grid_end)
        first = facts["first_seen"]
        age = np.where(first == NEVER, np.nan, (moment - first) / DAY_MS)
        values = with_known_tenure(features(facts, moment), facts, self._tenure_since, FEATURES)
        return values, age


class _Explained:
    """One estimator's sums over concepts, and the sentences for them."""

    def __init__(
        self, parts: Additive, columns: tuple[Feature, ...], typical: Mapping[str, float]
    ) -> None:
        self._parts = parts
        self._typical = typical
        self._names = [feature.name for feature in columns]
        self._concept = np.array([_concept_of(name) for name in self._names])
        self._columns = [np.flatnonzero(self._concept == i) for i in range(len(CONCEPTS))]

    @classmethod
    def of(
        cls, estimator: Classifier, columns: tuple[Feature, ...], typical: Mapping[str, float]
    ) -> _Explained | None:
        parts = additive(estimator)
        return None if parts is None else cls(parts, columns, typical)

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
        least = LEAST_SHARE * sums.max(axis=1)
        return [
            tuple(
                self._reason(person, int(concept), float(sums[i, concept]))
                for concept in order[i]
                if sums[i, concept] > 0 and sums[i, concept] >= least[i]
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
        told = next((name for name in _TOLD[name] if name in self._names), "")
        typical = self._typical.get(told, np.nan)
        if name == "trend":
            typical = _WEEK * _steady(typical, 14, np.inf)
        said = _SENTENCES[name](person, typical, contribution > 0)
        return Reason(
            concept=name,
            contribution=round(contribution, DECIMALS),
            text=said.text,
            value=_number(said.value),
            usual=_number(said.usual),
            typical=_number(typical),
        )


def _concept_of(feature: str) -> int:
    return next(i for i, concept in enumerate(CONCEPTS) if feature in MEMBERS[concept])


def _steady(decayed: float, half_life: int, days: float) -> float:
    """Active days per day that a decayed count stands for.

    Steady visits at a rate r for a days add up to r (1 - 2**(-(a + 1)/h)) / (1 - 2**(-1/h)).
    """
    daily = 2.0 ** (-1 / half_life)
    whole: float = (1 - daily ** (days + 1)) / (1 - daily)
    return min(decayed / whole, 1.0)


@dataclass(frozen=True, slots=True)
class _Person:
    """A row by name, NaN where unknown."""

    row: dict[str, float]
    age: float
    """Days since the first visit."""
    leading_context: str

    def __getitem__(self, feature: str) -> float:
        return self.row[feature]

    @property
    def history(self) -> float:
        """Days from the first visit to the last."""
        return self.age - self.row["silent_days"]

    def late(self) -> float:
        """Active days per day as 14 days remember them, the silence included."""
        return _steady(self.row["recent_days_14d"], 14, self.age)

    def before(self, half_life: int) -> float:
        """Active days per day up to the last visit, as this half-life remembers them."""
        then = self.row[f"recent_days_{half_life}d"] * 2.0 ** (self.row["silent_days"] / half_life)
        return _steady(then, half_life, self.history)


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    value: float = np.nan
    usual: float = np.nan


def _recency(person: _Person, typical: float, raises: bool) -> _Said:
    silent, gap = person["silent_days"], person["usual_gap_days"]
    if np.isnan(silent):
        return _Said("never seen")
    text = f"no visit for {span(silent)}" if silent >= 1 else f"last visit {span(silent)} ago"
    if np.isnan(gap):
        if raises and silent > typical:
            text += f"; the typical user was here {span(typical)} ago"
        return _Said(text, silent)
    # Visits in bursts: the pauses within them are short, and yet the user does not come so often.
    is_steady = gap * person.before(240) >= _STEADY
    text += f"; usually {every(gap)}" if is_steady else f"; a usual pause is {around(gap)}"
    return _Said(text, silent, gap)


def _frequency(person: _Person, typical: float, raises: bool) -> _Said:
    if "active_days_28d" not in person.row:
        pages, minutes = person["pages_visited"], person["time_spent"]
        return _Said(f"{count(pages, 'page')} and {count(minutes, 'minute')} in all", np.nan)
    days, ever = person["active_days_28d"], person["active_days"]
    if np.isnan(person.age):
        return _Said("no visit so far", days)
    if person.history < _FOUR_WEEKS:
        if days == ever:
            return _Said(f"active on {count(days, 'day')} so far", days)
        return _Said(f"active on {days:.0f} of the last 28 days; on {ever:.0f} in all", days)
    usual = _FOUR_WEEKS * person.before(240)
    text = f"active on {days:.0f} of the last 28 days"
    # As told, in whole days.
    if _agrees(days, round(usual) if usual >= 1 else usual, raises):
        text += f"; usually {_days(usual)}"
    elif _agrees(days, typical, raises):
        text += f"; the typical user {_days(typical)}"
    return _Said(text, days, usual)


def _trend(person: _Person, typical: float, raises: bool) -> _Said:
    if np.isnan(person.age):
        return _Said("no visit so far")
    late, week = person.late(), _WEEK * person.late()
    is_gone = person["silent_days"] >= 2 * _WEEK
    if is_gone and person.history < _WEEK:
        return _Said("nothing in the last two weeks", week)
    if not is_gone and person.history < 2 * _WEEK:
        text = "too new for a trend"
        if _agrees(week, typical, raises):
            text += f"; the typical user comes on {rate(typical / _WEEK)}"
        return _Said(text, week)
    before = person.before(60)
    if is_gone:
        text = f"nothing in the last two weeks; {rate(before)} before"
    elif _agrees(late, before, raises):
        text = f"active on {rates(late, before)} before"
    elif _agrees(week, typical, raises):
        text = f"active on {rates(late, typical / _WEEK)} for the typical user"
    else:
        text = f"active on {rate(late)} of late"
    return _Said(text, week, _WEEK * before)


def _tenure(person: _Person, typical: float, _raises: bool) -> _Said:
    if "days_since_signup" in person.row:
        days = person["days_since_signup"]
        return _Said(f"signed up {span(days)} ago", days)
    days = person["tenure_days"]
    if np.isnan(days):
        unstated = "no sign-up known" if np.isnan(person.age) else "here since the records began"
        return _Said(unstated)
    if days < 1:
        is_new = not person.age >= 1
        return _Said(
            "with you for less than a day" if is_new else "only ever came on one day", days
        )
    text = f"with you for {span(days)}"
    if not np.isnan(typical):
        text += f"; the typical user for {span(typical)}"
    return _Said(text, days)


def _money(person: _Person, typical: float, raises: bool) -> _Said:
    value, purchases = person["value"], person["purchases"]
    if not value and not purchases:
        return _Said("no purchases known", value)
    bought = f"{count(purchases, 'purchase')}, " if purchases else ""
    text = f"{bought}{value:,.2f} in all"
    if _agrees(value, typical, raises):
        text += f"; the typical user {typical:,.2f}"
    return _Said(text, value)


def _context(person: _Person, _typical: float, _raises: bool) -> _Said:
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


def _agrees(value: float, other: float, raises: bool) -> bool:
    """Whether the comparison points where the contribution does: less than the other raises the
    risk, more lowers it, by a tenth of the other at least. Never with an unknown other."""
    least = max(0.1 * abs(other), 1e-9)
    return value <= other - least if raises else value >= other + least


def _days(of_four_weeks: float) -> str:
    return f"on {of_four_weeks:.0f}" if of_four_weeks >= 1 else rate(of_four_weeks / _FOUR_WEEKS)


_FOUR_WEEKS: Final = 28
_WEEK: Final = 7
_STEADY: Final = 0.5
"""Usual pause over mean time between active days, from which visits come about so often."""
_WEEKDAYS: Final = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip

_SENTENCES: Final[Mapping[Concept, Callable[[_Person, float, bool], _Said]]] = {
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
