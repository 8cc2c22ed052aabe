"""The scores a scorer would have published over a recorded log, model after model, vectorised.

A session counts as one batch: that is what a scorer makes of it that reads a little behind, and
nothing between its first and its last event opens or closes an episode. From then on the scores
are those of the scorer's timers, at the same moments, by the same functions, in a few model calls
instead of one per user and rung. What differs from a scorer that ran all the while:

* a batch without a visit (a cancellation, an invoice) sets the timer an hour later even where an
  earlier one was due within that hour;
* a new model rescores everybody at once, without spreading the load;
* silences that began before the replay are not followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from contracts.activity import FoldRules
from contracts.default_rule import first_stated
from contracts.record import CURVE_STALE, HAS_CURVE, HAS_SCORE, blank_facts, blank_records
from contracts.scores import TRIGGERS, ChurnScore, decode_score
from contracts.times import HOUR_MS, NEVER, SESSION_GAP_MS
from model.dataset import facts_at
from model.event_log import EventLog
from model.features import usual_gap_ms
from model.instants import FOREVER
from model.silence import next_due, patience, silence_curve
from scorer.decisions import decide
from scorer.messages import MICRO, ScoreWriter, ScoringModel

_ACTIVITY, _SILENCE, _MODEL = range(3)
assert TRIGGERS == ("activity", "silence", "model")

ROWS_AT_ONCE: Final = 2_000
"""Users whose curves are computed in one model call: 49 rows of features each."""
SCORES_AT_ONCE: Final = 5_000


@dataclass(frozen=True)
class Step:
    """From `begins` to `ends` (epoch ms) this model scores; it learned from what came before."""

    begins: int
    ends: int
    model: ScoringModel


@dataclass(frozen=True)
class Batches:
    """What was known of users after each of their sessions; (n,) arrays, by user, then by time.

    Sessions that changed nothing (repeats, unchanged totals) are not among them.
    """

    user: np.ndarray
    facts: np.ndarray
    """FACTS after the session."""
    until: np.ndarray
    """Epoch ms at which the user's next session begins, FOREVER if none."""
    score_now: np.ndarray
    """bool: an activity score is due at facts["log_time"]."""
    due: np.ndarray
    """Epoch ms of the first silence timer, NEVER if none."""

    def __len__(self) -> int:
        return len(self.user)


def batches(log: EventLog, chosen: np.ndarray, begins: int, rules: FoldRules) -> Batches:
    """Every session of the chosen users (indices into log.user_ids) from `begins` (epoch ms) on."""
    events = np.flatnonzero(np.isin(log.user, chosen))
    events = events[np.argsort(log.user[events], kind="stable")]
    user, time = log.user[events].astype(np.int64), log.rows["log_time"][events]
    starts = np.ones(len(events), bool)
    starts[1:] = (user[1:] != user[:-1]) | (np.diff(time) > SESSION_GAP_MS)
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(events)) - 1
    # Of earlier ones only what stood right before `begins` is asked for.
    followed = np.append(user[first[1:]] == user[first[:-1]], False) if len(first) else starts
    followed[:-1] &= time[last[1:]] >= begins
    wanted = np.flatnonzero((time[last] >= begins) | followed)
    facts = np.empty(len(wanted), blank_facts(0).dtype)
    for which, found in facts_at(log, user[last[wanted]], time[last[wanted]], rules):
        facts[which] = found

    counted = np.flatnonzero(time[last[wanted]] >= begins)
    session = wanted[counted]
    before = blank_records(len(counted))
    earlier = np.maximum(counted - 1, 0)
    known = (counted > 0) & (user[first[wanted[earlier]]] == user[first[session]])
    before["facts"][known] = facts[earlier[known]]
    sizes = last[session] - first[session] + 1
    place = np.repeat(np.arange(len(session)), sizes)
    within = np.repeat(first[session] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    decided = decide(before, facts[counted], log.rows[events[within]], place)

    changed = np.flatnonzero((decided.state & CURVE_STALE) != 0)
    who, begun = user[first[session[changed]]], time[first[session[changed]]]
    until = np.full(len(changed), FOREVER, np.int64)
    follows = who[1:] == who[:-1]
    until[:-1][follows] = begun[1:][follows]
    return Batches(
        who, facts[counted][changed], until, decided.score_now[changed], decided.due[changed]
    )


@dataclass(frozen=True)
class StepScores:
    """Scores of one step, (n,) each, in the order of `scored_at`."""

    step: Step
    batch: np.ndarray
    """Index into the Batches."""
    scored_at: np.ndarray
    trigger: np.ndarray
    """Index into TRIGGERS."""
    probability: np.ndarray
    """Millionths."""
    previous: np.ndarray
    """Of the user's last score, NaN where there was none."""
    curve: np.ndarray
    """(len(batches), L) u2 silence curves; `has_curve` says of which batches."""
    has_curve: np.ndarray

    def __len__(self) -> int:
        return len(self.batch)


def replayed(
    found: Batches, steps: Sequence[Step], users: int, rules: FoldRules
) -> Iterator[StepScores]:
    """The scores of one step after the other; `users` is how many the log knows."""
    last = np.full(users, np.nan)
    for step in steps:
        yield _scores_of(found, step, last, rules)


def _scores_of(found: Batches, step: Step, last: np.ndarray, rules: FoldRules) -> StepScores:
    """Scores within the step; `last` (users,) is brought up to its end."""
    facts = found.facts
    log_time, last_seen = facts["log_time"], facts["last_seen"]
    now = np.flatnonzero(found.score_now & (log_time >= step.begins) & (log_time < step.ends))
    fresh = log_time >= step.begins
    # Whose silence goes on when the model changes is scored by the new one at once.
    due = np.where(fresh | (found.due >= step.begins), found.due, step.begins)
    limit = np.minimum(found.until, step.ends)
    grid_end = int(step.model.grid_hours[-1])
    seen = (found.due != NEVER) & (last_seen != NEVER)
    end = np.where(seen, last_seen + grid_end * HOUR_MS, NEVER)
    end = np.minimum(end, np.where(seen, rules.expiry(np.where(seen, last_seen, 0)), 1) - 1)
    silent = np.flatnonzero(seen & (due < limit) & (due <= end))

    curve = np.zeros((len(found), len(step.model.levels)), np.uint16)
    for part in _parts(silent, ROWS_AT_ONCE):
        curve[part] = silence_curve(step.model, facts[part])
    has_curve = np.zeros(len(found), bool)
    has_curve[silent] = True

    batch, moments = [now, silent], [log_time[now], due[silent]]
    rescored = ~fresh[silent] & (due[silent] == step.begins)
    trigger = [np.full(len(now), _ACTIVITY), np.where(rescored, _MODEL, _SILENCE)]
    waited = patience(usual_gap_ms(facts))
    ahead, at = silent, due[silent]
    while len(ahead):
        at = next_due(curve[ahead], last_seen[ahead], at, waited[ahead], grid_end)
        kept = (at != NEVER) & (at < limit[ahead]) & (at <= end[ahead])
        ahead, at = ahead[kept], at[kept]
        batch.append(ahead)
        moments.append(at)
        trigger.append(np.full(len(ahead), _SILENCE))

    which, scored_at = np.concatenate(batch), np.concatenate(moments)
    probability = np.empty(len(which), np.int64)
    for part in _parts(np.arange(len(which)), ROWS_AT_ONCE * 49):
        churn = step.model.score(facts[which[part]], scored_at[part])
        probability[part] = np.rint(churn * MICRO)
    by_user = np.lexsort((scored_at, which, found.user[which]))
    previous = _previous(found.user[which][by_user], probability[by_user], last)
    order = np.argsort(scored_at[by_user], kind="stable")
    chosen = by_user[order]
    return StepScores(
        step,
        which[chosen],
        scored_at[chosen],
        np.concatenate(trigger)[chosen],
        probability[chosen],
        previous[order],
        curve,
        has_curve,
    )


def _previous(user: np.ndarray, probability: np.ndarray, last: np.ndarray) -> np.ndarray:
    """(n,) the probability before, of scores by user, then by time; `last` (users,) moves on."""
    before = np.full(len(user), np.nan)
    begins = np.ones(len(user), bool)
    begins[1:] = user[1:] != user[:-1]
    before[1:] = probability[:-1] / MICRO
    before[begins] = last[user[begins]]
    ends = np.append(begins[1:], True)[: len(user)]
    last[user[ends]] = probability[ends] / MICRO
    return before


Name = Callable[[int], str | None]


@dataclass(frozen=True)
class Speaker:
    """Puts replayed scores into the words of `churn-score`."""

    log: EventLog
    found: Batches
    alert_threshold: float | None = None
    """None: each model's own."""
    name: Name = field(default=lambda _hash: None)
    """What a category's hash stands for, as far as anybody asks."""

    def messages(self, scores: StepScores) -> Iterator[ChurnScore]:
        """The scores in order."""
        model = scores.step.model
        threshold = first_stated(self.alert_threshold, model.alert_threshold)
        writer = ScoreWriter(model, threshold, self.name)
        for part in _parts(np.arange(len(scores)), SCORES_AT_ONCE):
            batch = scores.batch[part]
            records = blank_records(len(part))
            records["facts"] = self.found.facts[batch]
            outlook = records["outlook"]
            outlook["probability"] = scores.probability[part]
            outlook["scored_at"] = scores.scored_at[part]
            outlook["trigger"] = scores.trigger[part]
            outlook["model"] = model.hash
            # An activity score carries the curve of the session before, as the scorer's do.
            acts = scores.trigger[part] == _ACTIVITY
            source = np.where(acts, np.maximum(batch - 1, 0), batch)
            curved = scores.has_curve[source] & (self.found.user[source] == self.found.user[batch])
            curved &= (source != batch) | ~acts
            outlook["curve"][curved] = scores.curve[source[curved]]
            outlook["state"] = HAS_SCORE | np.where(curved, HAS_CURVE, 0)
            names = [self.log.user_ids[user] for user in self.found.user[batch].tolist()]
            told = writer.messages(
                names,
                records,
                scores.previous[part],
                [TRIGGERS[trigger] for trigger in scores.trigger[part].tolist()],
                homes=[0] * len(names),
                published_at_ms=0,
            )
            for message in told:
                yield decode_score(message.value or b"")


def _parts(index: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for begin in range(0, len(index), size):
        yield index[begin : begin + size]
