"""What would bring a user back: the least that they usually do which lowers their risk enough.

A counterfactual of behaviour, not of numbers: ordinary sessions of this user are folded into their
facts, as if they had happened, and the model is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from contracts.activity import FoldRules
from contracts.events import ACTIVE, EVENT_ROW, NAMED_TYPES, NO_VALUE, id_hash
from contracts.times import DAY_MS, MINUTE_MS, NEVER, SESSION_GAP_MS
from model.features import usual_gap_ms
from model.fold import fold
from model.wording import count, every

MOST_SESSIONS: Final = 7
MOST_EVENTS: Final = 100
"""Of one session: more cost time and change nothing."""
WITHIN_MS: Final = 7 * DAY_MS
"""What takes longer than a week is no answer to somebody who has to act now."""


_PURCHASE: Final = NAMED_TYPES.index("purchase")


class ScoringModel(Protocol):
    """What of a model a counterfactual needs."""

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Comeback:
    """How many ordinary sessions bring the risk below a threshold."""

    sessions: int | None
    """0: it is below already. None: no plausible activity within a week suffices."""
    probability: float | None
    """The risk when the last of them has ended (of 0: as of now)."""
    pages: int
    """Of an ordinary session, as are the minutes and the purchases."""
    minutes: float
    every_days: float
    """Usual gap from the end of a session to the next; a day where none is known."""
    has_rhythm: bool = True
    """Whether a usual gap is known."""
    purchases: int = 0
    value: float = 0.0
    """Of one purchase."""

    @property
    def text(self) -> str:
        """The answer as a sentence."""
        if self.sessions is None:
            return "no plausible activity within a week suffices"
        if not self.sessions:
            return "the risk is low enough already"
        parts = []
        if self.pages or self.minutes:
            parts.append(f"{count(self.pages, 'page')} and {count(self.minutes, 'minute')} each")
        if self.purchases:
            worth = f" of {self.value:,.2f}" if self.value else ""
            parts.append(f"{count(self.purchases, 'purchase')}{worth} each")
        if self.sessions > 1:
            parts.append(every(self.every_days) if self.has_rhythm else "a day apart")
        usual = f" ({', '.join(parts)})" if parts else ""
        return (
            f"{count(self.sessions, 'visit')} as usual{usual} "
            f"would bring the risk to {self.probability:.2f}"
        )


def comeback(
    model: ScoringModel, facts: np.ndarray, as_of: int, below: float, rules: FoldRules
) -> Comeback:
    """The least number of ordinary sessions after `as_of` that brings one user below a risk.

    facts: (1,) FACTS; as_of: epoch ms. The first session begins at `as_of`, the others follow at
    the user's usual gap, all within a week; each is as long, goes as far and buys as much as
    theirs do on average. The risk is asked for when the last session has ended.
    """
    sessions = int(facts["sessions"][0])
    pages = round(int(facts["pages"][0]) / max(sessions, 1))
    seconds = round(int(facts["seconds"][0]) / max(sessions, 1))
    last_seen = int(facts["last_seen"][0])
    start = as_of if last_seen == NEVER else max(as_of, last_seen + SESSION_GAP_MS + MINUTE_MS)
    gap = _gap_ms(facts)
    events = min(max(1, round(int(facts["events"][0]) / max(sessions, 1))), MOST_EVENTS)
    bought = int(facts["types"][0, _PURCHASE])
    purchases = min(round(bought / max(sessions, 1)), events)
    cents = round(int(facts["purchase_cents"][0]) / max(bought, 1))
    moments = min(MINUTE_MS, SESSION_GAP_MS // events) * np.arange(events)
    rhythm = bool(facts["gaps"][0] >= 2)
    every_days = round(gap / DAY_MS, 2)
    about = (pages, round(seconds / 60, 2), every_days, rhythm, purchases, cents / 100)
    now = float(model.score(facts, np.array([as_of]))[0])
    if now < below:
        return Comeback(0, now, *about)
    period = gap + int(moments[-1])
    starts = start + period * np.arange(min(MOST_SESSIONS, 1 + WITHIN_MS // period))
    visits = _visits(facts, starts[:, None] + moments, pages, seconds)
    visits["type_slot"][:, :purchases] = _PURCHASE
    visits["cents"][:, :purchases] = cents
    futures = fold(np.repeat(facts, len(starts)), *_first_of(visits), rules)
    risk = model.score(futures, futures["last_seen"] + SESSION_GAP_MS)
    enough = np.flatnonzero(risk < below)
    if not len(enough):
        return Comeback(None, None, *about)
    return Comeback(int(enough[0]) + 1, float(risk[enough[0]]), *about)


def _gap_ms(facts: np.ndarray) -> int:
    """The usual gap, a day where none is known; never so short that two sessions become one."""
    usual = usual_gap_ms(facts)[0]
    return max(DAY_MS if np.isnan(usual) else round(usual), SESSION_GAP_MS + MINUTE_MS)


def _visits(facts: np.ndarray, moments: np.ndarray, pages: int, seconds: int) -> np.ndarray:
    """EVENT_ROW of page views at (sessions, events of one) epoch ms, in that shape."""
    each = np.zeros(moments.shape, EVENT_ROW)
    each["occurred_at"] = each["log_time"] = moments
    each["log_number"] = facts["log_number"][0]
    each["offset"] = facts["offset"][0] + 1 + np.arange(moments.size).reshape(moments.shape)
    each["id"] = np.array([id_hash(f"comeback {i}") for i in range(moments.size)], "u8").reshape(
        moments.shape
    )
    each["signup_at"], each["cents"] = NEVER, NO_VALUE
    each["kind"], each["type_slot"] = ACTIVE, NAMED_TYPES.index("page_view")
    for name, total in (("pages", pages), ("seconds", seconds)):
        # Cumulated and rounded, so that the parts add up to the whole.
        each[name] = np.diff(np.rint(np.linspace(0, total, moments.shape[1] + 1)))
    return each


def _first_of(sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """EVENT_ROW of the first k sessions for each k, and which future (k - 1) they belong to."""
    futures = [sessions[: k + 1].ravel() for k in range(len(sessions))]
    user = np.repeat(np.arange(len(futures)), [len(rows) for rows in futures])
    return np.concatenate(futures), user
