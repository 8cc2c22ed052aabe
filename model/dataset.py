"""Training rows, drawn the way scoring happens and folded the way scoring folds.

A score is asked for at three kinds of moment, and rows come from each in equal parts: at any
instant (somebody looks a user up), at the end of a session (the silence curve is computed), and
some time into a silence (a timer fires). Sampling only monthly cut-offs instead leaves a model
miscalibrated right after an event, where most scores are.

Facts come from replaying the log through `model.fold`, so training sees what scoring sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.activity import FoldRules
from contracts.record import blank_facts
from contracts.times import DAY_MS, HOUR_MS, SESSION_GAP_MS
from model.event_log import EventLog
from model.features import FEATURES, PREDICT_INPUTS, features, predict_inputs
from model.fold import fold
from model.instants import FOREVER
from model.tenure import with_known_tenure

STRATA: Final = ("instant", "session_end", "silence")
INSTANT, SESSION_END, SILENCE = range(3)

Progress = Callable[[int, int], None]
"""Called with (done, all)."""

_ROUNDS: Final = 64
"""How often silences are drawn before a log counts as having too few long ones."""


Outcome = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(n,) users and (n,) as_of (epoch ms) to (n,) u8 labels, and (n,) bool whether they are known."""


@dataclass(frozen=True)
class Window:
    """Which moments rows may be drawn from; all in ms.

    first, last: earliest and latest `as_of`, both allowed. `last` is a horizon before the log
    ends, or the label would not be known.
    active: a user counts as active for this long after their last activity.
    silence: end of the silence grid; no row lies beyond.
    horizon: a user who does nothing for this long after `as_of` has churned.
    """

    first: int
    last: int
    active: int
    silence: int
    horizon: int


@dataclass(frozen=True)
class Moments:
    """Whom to ask about, when, and what came of it; (n,) arrays sorted by (as_of, user)."""

    user: np.ndarray
    as_of: np.ndarray
    stratum: np.ndarray
    """Index into STRATA."""
    label: np.ndarray
    """1: no activity in (as_of, as_of + horizon]."""

    def __len__(self) -> int:
        return len(self.as_of)

    def __getitem__(self, chosen: np.ndarray) -> Moments:
        return Moments(
            self.user[chosen], self.as_of[chosen], self.stratum[chosen], self.label[chosen]
        )


@dataclass(frozen=True)
class Rows:
    """Moments with what was known of the user at each."""

    moments: Moments
    features: np.ndarray
    """(n, len(FEATURES)), NaN for missing."""
    inputs: np.ndarray
    """(n, 4) PREDICT_INPUTS, NaN for missing."""

    def __getitem__(self, chosen: np.ndarray) -> Rows:
        return Rows(self.moments[chosen], self.features[chosen], self.inputs[chosen])

    @property
    def digest(self) -> str:
        """SHA-256 over every row: same log, same settings, same digest."""
        moments = self.moments
        parts = (moments.user, moments.as_of, moments.stratum, moments.label)
        digest = hashlib.sha256()
        for part in (*parts, self.features, self.inputs):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Silences:
    """What follows every activity event: (n,) user, start, and the user's next activity."""

    user: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Silences:
        return Silences(self.user[chosen], self.start[chosen], self.end[chosen])


def draw_moments(
    log: EventLog, window: Window, count: int, seed: int, outcome: Outcome | None = None
) -> Moments:
    """Draw at most `count` moments, the same number in each stratum; same seed, same moments.

    outcome: what became of a user, where it is not just whether they fell silent for the horizon.
    Fewer when the log has too few sessions, or outcomes are unknown. Within a stratum every
    user-time counts alike: rows are never weighted by how active a user is going to be.
    """
    rng = np.random.default_rng(seed)
    every = silences(log)
    sessions = every[every.end - every.start > SESSION_GAP_MS]
    share = count // len(STRATA)
    placed = [
        _instants(every, window, share, rng),
        _session_ends(sessions, window, share, rng),
        _into_silence(sessions, window, share, rng),
    ]
    known_since = _known_since(log)
    drawn = [
        _with_known_outcome(part, as_of, window, outcome)
        for part, as_of in (_of_the_known(*one, known_since) for one in placed)
    ]
    share = min(len(as_of) for _, as_of, _ in drawn)
    user = np.concatenate([part.user[:share] for part, _, _ in drawn])
    as_of = np.concatenate([moment[:share] for _, moment, _ in drawn])
    label = np.concatenate([found[:share] for _, _, found in drawn])
    stratum = np.repeat(np.arange(len(STRATA), dtype=np.uint8), share)
    order = np.lexsort((stratum, user, as_of))
    return Moments(user[order], as_of[order], stratum[order], label[order])


def _known_since(log: EventLog) -> np.ndarray:
    """(users,) epoch ms from which the log holds an activity of the user."""
    since = np.full(len(log.user_ids), FOREVER, np.int64)
    np.minimum.at(since, log.user[log.active], log.rows["log_time"][log.active])
    return since


def _of_the_known(part: Silences, as_of: np.ndarray, known_since: np.ndarray) -> _Placed:
    """Nobody asks about a user whose first event is still under way."""
    known = known_since[part.user] <= as_of
    return part[known], as_of[known]


def _with_known_outcome(
    part: Silences, as_of: np.ndarray, window: Window, outcome: Outcome | None
) -> _Drawn:
    if outcome is None:
        return part, as_of, (part.end - as_of > window.horizon).astype(np.uint8)
    label, known = outcome(part.user, as_of)
    return part[known], as_of[known], label[known]


PROBE_DAYS: Final = (1, 3, 7, 14, 28, 60)
PROBES: Final = ("after event", "session end", *(f"{days} d silent" for days in PROBE_DAYS))
"""Moments at which calibration is looked at; `Moments.stratum` of a probe indexes these."""


def draw_probes(
    log: EventLog, window: Window, each: int, seed: int, outcome: Outcome | None = None
) -> Moments:
    """Draw at most `each` moments of every kind of PROBES: at any event, when a session has ended,
    and for those still silent some days after their last event, as far as the grid reaches.
    """
    rng = np.random.default_rng(seed)
    every = silences(log)
    sessions = every[every.end - every.start > SESSION_GAP_MS]
    known_since = _known_since(log)
    after = (0, SESSION_GAP_MS, *(days * DAY_MS for days in PROBE_DAYS))
    drawn = []
    for kind, silent in enumerate(after):
        source = sessions if kind else every
        as_of = source.start + silent
        usable = np.flatnonzero(
            (as_of < source.end)
            & (as_of >= window.first)
            & (as_of <= window.last)
            & (silent <= window.silence)
        )
        chosen = rng.permutation(usable)[:each]
        known = _of_the_known(source[chosen], as_of[chosen], known_since)
        part, moment, label = _with_known_outcome(*known, window, outcome)
        drawn.append((part.user, moment, label, np.full(len(moment), kind, np.uint8)))
    user, as_of, label, stratum = (np.concatenate(column) for column in zip(*drawn, strict=True))
    order = np.lexsort((stratum, user, as_of))
    return Moments(user[order], as_of[order], stratum[order], label[order])


def replay(
    log: EventLog,
    moments: Moments,
    rules: FoldRules,
    on_progress: Progress | None = None,
    *,
    tenure_since: int | None = None,
) -> Rows:
    """Fold the log up to every moment and take the features there.

    tenure_since: see `model.tenure`.
    All users advance at once: the r-th round folds what lies between everybody's moment r-1 and
    moment r. That is allowed because where `fold` is cut makes no difference.
    """
    values = np.empty((len(moments), len(FEATURES)))
    inputs = np.empty((len(moments), len(PREDICT_INPUTS)))
    done = 0
    for which, facts in facts_at(log, moments.user, moments.as_of, rules):
        as_of = moments.as_of[which]
        full, four = features(facts, as_of), predict_inputs(facts, as_of)
        values[which] = with_known_tenure(full, facts, tenure_since, FEATURES)
        inputs[which] = with_known_tenure(four, facts, tenure_since, PREDICT_INPUTS)
        done += len(which)
        if on_progress is not None:
            on_progress(done, len(moments))
    return Rows(moments, values, inputs)


def facts_at(
    log: EventLog, user: np.ndarray, as_of: np.ndarray, rules: FoldRules
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Facts of user[i] after the events up to and including as_of[i] (ms of log time).

    Yields (which, facts): indices into user, and the FACTS there. Every index comes once.
    """
    by_user = np.argsort(log.user, kind="stable")
    begins = np.searchsorted(log.user[by_user], np.arange(len(log.user_ids) + 1))
    known = _events_until(log, by_user, begins, user, as_of)

    order = np.lexsort((as_of, user))
    first = np.flatnonzero(np.diff(user[order], prepend=-1))
    turn = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
    in_turns = order[np.argsort(turn, kind="stable")]

    facts = blank_facts(len(log.user_ids))
    folded = begins[:-1].copy()
    for which in np.split(in_turns, np.cumsum(np.bincount(turn))[:-1]) if len(order) else ():
        whose = user[which]
        new = known[which] - folded[whose]
        events = np.repeat(folded[whose] - np.cumsum(new) + new, new) + np.arange(new.sum())
        if len(events):
            place = np.repeat(np.arange(len(which)), new)
            in_log = by_user[events]
            log_order = np.argsort(in_log)
            facts[whose] = fold(facts[whose], log.rows[in_log[log_order]], place[log_order], rules)
            folded[whose] = known[which]
        yield which, facts[whose]


def _events_until(
    log: EventLog, by_user: np.ndarray, begins: np.ndarray, user: np.ndarray, as_of: np.ndarray
) -> np.ndarray:
    """End, in `by_user`, of the events of user[i] up to as_of[i]."""
    # One sorted key for (user, time): a search over all users at once.
    time = log.rows["log_time"]
    if not len(time):
        return np.asarray(begins[user])
    start, span = int(time[0]), int(time[-1]) - int(time[0]) + 2
    key = log.user[by_user].astype(np.int64) * span + (time[by_user] - start) + 1
    wanted = user.astype(np.int64) * span + np.clip(as_of - start + 1, 0, span - 1)
    return np.asarray(np.searchsorted(key, wanted, side="right"))


def silences(log: EventLog) -> Silences:
    """Every silence of a log, by user, then by time."""
    user, start = log.user[log.active], log.rows["occurred_at"][log.active]
    order = np.lexsort((start, user))
    user, start = user[order].astype(np.int64), start[order]
    end = np.full(len(start), FOREVER, np.int64)
    same = user[1:] == user[:-1]
    end[:-1][same] = start[1:][same]
    return Silences(user, start, end)


_Drawn = tuple[Silences, np.ndarray, np.ndarray]
_Placed = tuple[Silences, np.ndarray]


def _instants(every: Silences, window: Window, count: int, rng: np.random.Generator) -> _Placed:
    """Uniform over the time users spend being active: what any cut-off would find, at once."""
    reach = min(window.active, window.silence)
    begin = np.maximum(every.start, window.first)
    # An instant at the very end of `active` still counts; one at the next event does not.
    until = np.minimum(np.minimum(every.end, every.start + reach + 1), window.last + 1)
    length = np.maximum(until - begin, 0)
    before = np.cumsum(length)
    total = int(before[-1]) if len(before) else 0
    if not total:
        return every[:0], np.empty(0, np.int64)  # type: ignore[index]
    spot = rng.integers(total, size=count)
    chosen = np.searchsorted(before, spot, side="right")
    return every[chosen], begin[chosen] + spot - (before[chosen] - length[chosen])


def _session_ends(
    sessions: Silences, window: Window, count: int, rng: np.random.Generator
) -> _Placed:
    """Sessions, each at most once, when half an hour without activity says they are over."""
    as_of = sessions.start + SESSION_GAP_MS
    usable = np.flatnonzero((as_of >= window.first) & (as_of <= window.last))
    chosen = rng.permutation(usable)[:count]
    return sessions[chosen], as_of[chosen]


def _into_silence(
    sessions: Silences, window: Window, count: int, rng: np.random.Generator
) -> _Placed:
    """Session end + k for those still silent then, k log-uniform from an hour to the grid's end.

    k counts from the last event, like the silence grid.
    """
    kept: list[np.ndarray] = []
    moments: list[np.ndarray] = []
    for _ in range(_ROUNDS if len(sessions.start) else 0):
        chosen = rng.integers(len(sessions.start), size=2 * count)
        k = np.exp(rng.uniform(np.log(HOUR_MS), np.log(window.silence), size=2 * count))
        as_of = sessions.start[chosen] + k.astype(np.int64)
        usable = (as_of < sessions.end[chosen]) & (as_of >= window.first) & (as_of <= window.last)
        kept.append(chosen[usable])
        moments.append(as_of[usable])
        if sum(map(len, kept)) >= count:
            break
    none = np.empty(0, np.int64)
    chosen = np.concatenate([none, *kept])[:count]
    return sessions[chosen], np.concatenate([none, *moments])[:count]
