"""An alert policy over recorded history: what it would have told, beside what is simpler.

History is walked in steps. Before each a model is trained on what had happened by then, users are
scored during the step as the scorer would have scored them, and the policy judges the scores as
the alerts worker would. Nobody was helped in that history, so what became of a user is what would
have become of them anyway.

What acts at delivery (quiet hours, hourly caps, the storm guard) and the holdout change no
episode, so they are left out: the figures are of alerts that would have been made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import numpy as np

from alerts.fold import GRACE_MS, PolicyFold
from alerts.rules import Policy, Rule
from contracts.activity import FoldRules
from contracts.alerts import ChurnAlert
from contracts.errors import Misconfigured
from contracts.events import category_hash, normalise
from contracts.times import DAY_MS, from_ms, to_ms
from ebbtide.replayed_scores import (
    Batches,
    Speaker,
    Step,
    StepScores,
    batches,
    replayed,
)
from model.alert_figures import (
    AlertFigures,
    Openings,
    Stretches,
    Watched,
    after_usual_gaps,
    at_most,
    at_random,
    figures_of,
)
from model.dataset import silences
from model.event_log import EventLog
from model.features import usual_gap_ms
from model.instants import Instants
from model.training import LearnedInputs, TrainingSettings, log_ends, train
from model.volume import volume

FIRST_SHARE: Final = 0.4
"""Part of the log that the first model learns from at least."""

LADDER: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Thresholds to compare; each snaps to the nearest rung of the model of its day."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What is asked of history.

    step_days: a new model comes so often. begins: epoch ms of the first step; None: when the log
    has enough behind it. users: replay only so many, drawn at random; models learn from all.
    per_day: find the threshold of `rule` that gives about so many alerts a day.
    ladder: try `rule` at LADDER, too.
    """

    training: TrainingSettings
    step_days: int = 30
    begins: int | None = None
    users: int | None = None
    per_day: float | None = None
    rule: str | None = None
    ladder: bool = False

    @property
    def horizon(self) -> int:
        return self.training.horizon_days * DAY_MS


class Line(msgspec.Struct, frozen=True):
    """One way of choosing whom to alert about, and what it comes to."""

    name: str
    figures: AlertFigures
    of: int | None = None
    """Of a baseline that gives more alerts than the rule: how many it was drawn from."""


class RuleReport(msgspec.Struct, frozen=True):
    """A rule beside baselines at its volume."""

    rule: Line
    baselines: tuple[Line, ...]


class Fit(msgspec.Struct, frozen=True):
    """A threshold chosen by how many alerts a day somebody can handle."""

    rule: str
    wanted_per_day: float
    threshold: float
    fitted: tuple[str, str]
    """First and last day of the period it was chosen on."""
    fitted_figures: AlertFigures
    checked: tuple[str, str]
    """The period it was tried on afterwards."""
    checked_figures: AlertFigures
    baselines: tuple[Line, ...]
    """In the period it was tried on, at its volume there."""


class StepReport(msgspec.Struct, frozen=True):
    """A stretch of history and the model that scored it."""

    begins: str
    ends: str
    model: str
    alert_threshold: float | None
    """The model's own."""


class Report(msgspec.Struct, frozen=True):
    """What `ebbtide alerts backtest` says."""

    policy: str
    """Digest of the policy."""
    horizon_days: int
    active_days: int
    users: int
    users_of: int
    """How many users the log knows; per-day figures are of `users`."""
    window: tuple[str, str]
    """First and last day that count."""
    scores: int
    steps: tuple[StepReport, ...]
    rules: tuple[RuleReport, ...]
    fit: Fit | None = None
    ladder: tuple[Line, ...] = ()
    """The rule asked about at other thresholds, the models' own first."""


@dataclass(frozen=True)
class _Walk:
    """History scored: what every policy is folded over."""

    log: EventLog
    found: Batches
    scores: tuple[StepScores, ...]
    watched: Watched
    stretches: Stretches
    ends: int


def backtest(
    log: EventLog,
    policy: Policy,
    question: Question,
    rules: FoldRules,
    *,
    kept_inputs: LearnedInputs | None = None,
    say: Say = lambda _line: None,
) -> Report:
    """Replay `log` and tell what `policy` would have done.

    kept_inputs: the four-input estimator, for a log that cannot teach one; no score needs it.
    Raises Misconfigured when the log is too short, or the rule asked for does not exist.
    """
    asked = _rule_asked_for(policy, question)
    ends = volume(log).end + 1
    bounds = _bounds(log, question, ends)
    steps = []
    for begins, step_ends in pairwise(bounds):
        say(f"training on what had happened by {_day(begins)}")
        past = _until(log, begins)
        trained = train(past, question.training, rules, origin="backtest", kept_inputs=kept_inputs)
        with TemporaryDirectory() as folder:
            steps.append(Step(begins, step_ends, trained.save(Path(folder))))
    walk = _walked(log, steps, question, rules, ends)
    say(f"judging the scores of {len(np.unique(walk.found.user)):,} users")
    told = _openings(walk, policy)[0]
    seed = question.training.seed
    reports = tuple(
        _beside_baselines(rule, told.get(rule.name, _NOBODY), walk.watched, walk, seed)
        for rule in policy.rules
    )
    fit = None
    if question.per_day is not None:
        say(f"looking for the threshold of about {question.per_day:g} alerts a day")
        fit = _fit(policy, asked, question.per_day, walk, seed)
    ladder: tuple[Line, ...] = ()
    if question.ladder:
        say(f"trying {len(LADDER)} thresholds")
        ladder = _ladder(policy, asked, walk)
    return Report(
        policy=policy.digest,
        horizon_days=question.training.horizon_days,
        active_days=question.training.active_days,
        users=_count(log, question.users),
        users_of=len(log.user_ids),
        window=_days(walk.watched),
        scores=sum(map(len, walk.scores)),
        steps=tuple(
            StepReport(_day(s.begins), _day(s.ends), s.model.version, s.model.alert_threshold)
            for s in steps
        ),
        rules=reports,
        fit=fit,
        ladder=ladder,
    )


_NOBODY: Final = Openings(np.empty(0, np.int64), np.empty(0, np.int64))


def _bounds(log: EventLog, question: Question, ends: int) -> list[int]:
    """Epoch ms at which models change, the last one the end; raises Misconfigured."""
    settings, start = question.training, log_ends(log)[0]
    enough = start + (settings.active_days + 3 * settings.embargo_days) * DAY_MS + DAY_MS
    first = question.begins
    if first is None:
        first = max(enough, start + int(FIRST_SHARE * (ends - start)))
    if first < enough:
        raise Misconfigured(
            f"--from {_day(first)} leaves too little to learn from: the log begins on "
            f"{_day(start)}, and the first model needs everything up to {_day(enough)}"
        )
    if first + 2 * question.horizon + DAY_MS > ends:
        raise Misconfigured(
            f"too little history: after {_day(first)}, when the first model can have been "
            f"trained, two horizons and a day are needed, and the log ends on {_day(ends)}"
        )
    bounds = list(range(first, ends, question.step_days * DAY_MS))
    # A step so short that nobody would have trained for it belongs to the one before.
    if len(bounds) > 1 and ends - bounds[-1] < question.step_days * DAY_MS // 2:
        bounds.pop()
    return [*bounds, ends]


def _until(log: EventLog, moment: int) -> EventLog:
    """What the log held at that moment (epoch ms, exclusive)."""
    known = int(np.searchsorted(log.rows["log_time"], moment))
    return EventLog(log.user_ids, log.rows[:known], log.user[:known], log.order)


def _walked(
    log: EventLog, steps: Sequence[Step], question: Question, rules: FoldRules, ends: int
) -> _Walk:
    rng = np.random.default_rng(question.training.seed)
    chosen = rng.permutation(len(log.user_ids))[: _count(log, question.users)]
    found = batches(log, chosen, steps[0].begins, rules)
    every = silences(log)
    watched = Watched(
        silences=every[np.isin(every.user, chosen)],
        # A horizon later silences of every length are under way, as on any later day.
        begins=steps[0].begins + question.horizon,
        ends=ends - question.horizon,
        horizon=question.horizon,
        active=question.training.active_days * DAY_MS,
    )
    scores = tuple(replayed(found, steps, len(log.user_ids), rules))
    return _Walk(log, found, scores, watched, _stretches(found, watched.visits), ends)


def _stretches(found: Batches, visits: Instants) -> Stretches:
    """The sessions with a visit, each with the user's next visit."""
    facts = found.facts
    seen = np.flatnonzero(found.score_now)
    key = np.stack([found.user[seen], facts["last_seen"][seen]], axis=1)
    _, once = np.unique(key, axis=0, return_index=True)
    chosen = seen[once]
    last_seen = facts["last_seen"][chosen]
    return Stretches(
        user=found.user[chosen],
        last_seen=last_seen,
        until=visits.next(found.user[chosen], last_seen),
        usual_gap=usual_gap_ms(facts[chosen]),
        active_days=facts["active_days"][chosen].astype(np.int64),
    )


def _openings(walk: _Walk, *policies: Policy) -> list[dict[str, Openings]]:
    """Of each policy the opened alerts by rule, of rules that opened any; the policies differ in
    thresholds alone."""
    index = {name: number for number, name in enumerate(walk.log.user_ids)}
    folds = [PolicyFold(policy) for policy in policies]
    opened: list[dict[str, list[tuple[int, int]]]] = [{} for _ in policies]

    def take(policy: int, alerts: Iterable[ChurnAlert]) -> None:
        for alert in alerts:
            if alert.kind == "opened":
                place = index[alert.user_id], to_ms(alert.occurred_at)
                opened[policy].setdefault(alert.rule, []).append(place)

    speaker = Speaker(walk.log, walk.found, name=_names(policies[0]))
    for part in walk.scores:
        for score in speaker.messages(part):
            past = to_ms(score.scored_at) - GRACE_MS
            for i, fold in enumerate(folds):
                take(i, chain.from_iterable(fold.advance(past)))
                take(i, fold.score(score))
    for i, fold in enumerate(folds):
        take(i, chain.from_iterable(fold.advance(walk.ends)))
    return [{rule: _as_openings(places) for rule, places in found.items()} for found in opened]


def _as_openings(places: list[tuple[int, int]]) -> Openings:
    user, at = np.array(places, np.int64).T
    return Openings(user, at)


def _names(policy: Policy) -> Callable[[int], str | None]:
    """What hashes of categories stand for, as far as the policy's selections ask."""
    known = {
        category_hash(name): normalise(name)
        for rule in policy.rules
        for selection in rule.where
        for name in selection.among
    }
    return known.get


def _beside_baselines(
    rule: Rule, openings: Openings, watched: Watched, walk: _Walk, seed: int
) -> RuleReport:
    figures = figures_of(openings, watched)
    stretches = walk.stretches
    if rule.most_active_days is not None:
        stretches = stretches[stretches.active_days <= rule.most_active_days]
    by_gap = after_usual_gaps(stretches, rule.cooldown_ms, rule.least_active_days)
    counted = watched.within(by_gap)
    drawn = at_most(counted, figures.alerts, seed)
    random = at_random(stretches, watched, figures.alerts, rule.least_active_days, seed)
    return RuleReport(
        Line(rule.name, figures),
        (
            Line("silent for twice the usual gap", figures_of(drawn, watched), len(counted)),
            Line("at random", figures_of(random, watched)),
        ),
    )


def _rule_asked_for(policy: Policy, question: Question) -> Rule:
    rules = {rule.name: rule for rule in policy.rules}
    name = question.rule or policy.rules[0].name
    if name not in rules:
        raise Misconfigured(f"--rule {name}: the policy has {', '.join(rules)}")
    return rules[name]


def _fit(policy: Policy, asked: Rule, per_day: float, walk: _Walk, seed: int) -> Fit:
    """The threshold with the most alerts a day up to `per_day`, on the window's first half.

    Thresholds snap to the model's ladder, so its rungs are all there is to choose from. A higher
    one opens fewer episodes, or as good as always: halving finds it.
    """
    watched = walk.watched
    middle = (watched.begins + watched.ends) // 2
    before, after = replace(watched, ends=middle), replace(watched, begins=middle)
    levels = walk.scores[0].step.model.levels.tolist()
    tried: dict[int, tuple[Openings, AlertFigures]] = {}

    def volume_at(rung: int) -> float:
        if rung not in tried:
            (told,) = _openings(walk, _at_threshold(policy, asked, levels[rung]))
            openings = told.get(asked.name, _NOBODY)
            tried[rung] = openings, figures_of(openings, before)
        return tried[rung][1].per_day_mean

    low, high = 0, len(levels) - 1
    # Where even the highest gives more than anybody can handle it is the one, and figures say so.
    while low < high:
        rung = (low + high) // 2
        low, high = (low, rung) if volume_at(rung) <= per_day else (rung + 1, high)
    volume_at(low)
    openings, figures = tried[low]
    beside = _beside_baselines(asked, openings, after, walk, seed)
    return Fit(
        rule=asked.name,
        wanted_per_day=per_day,
        threshold=levels[low],
        fitted=_days(before),
        fitted_figures=figures,
        checked=_days(after),
        checked_figures=beside.rule.figures,
        baselines=beside.baselines,
    )


def _ladder(policy: Policy, asked: Rule, walk: _Walk) -> tuple[Line, ...]:
    """What the rule comes to at the models' own threshold and at those of LADDER."""
    thresholds = (None, *LADDER)
    tried = _openings(walk, *(_at_threshold(policy, asked, each) for each in thresholds))
    names = ("the model's own", *(f"{each:g}" for each in LADDER))
    return tuple(
        Line(name, figures_of(told.get(asked.name, _NOBODY), walk.watched))
        for name, told in zip(names, tried, strict=True)
    )


def _at_threshold(policy: Policy, asked: Rule, threshold: float | None) -> Policy:
    """The policy with another threshold of one rule; None: the models' own.

    Its band keeps its width, if it has one and there is room.
    """
    below = asked.resolve_below
    if threshold is not None and below is not None:
        if asked.threshold is None:
            below = min(below, threshold)
        else:
            below = max(threshold - (asked.threshold - below), threshold / 2)
    rule = replace(asked, threshold=threshold, resolve_below=below, top=None)
    return replace(policy, rules=tuple(rule if one is asked else one for one in policy.rules))


def _count(log: EventLog, users: int | None) -> int:
    return len(log.user_ids) if users is None else min(users, len(log.user_ids))


def _days(watched: Watched) -> tuple[str, str]:
    return _day(watched.begins), _day(watched.ends - 1)


def _day(ms: int) -> str:
    return from_ms(ms).date().isoformat()
