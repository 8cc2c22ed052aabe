"""What a report shows beyond figures: example users in silence, and what each concept is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.activity import FoldRules
from contracts.record import blank_facts
from contracts.times import DAY_MS, HOUR_MS, NEVER
from model.candidates import CANDIDATES, fitted
from model.classifier import Classifier
from model.comparison import FULL, churn_of
from model.contributions import additive
from model.dataset import Rows, facts_at
from model.evaluation import row_losses
from model.event_log import EventLog
from model.features import FEATURES, features, usual_gap_ms
from model.reasons import MEMBERS
from model.split import Split
from model.tenure import with_known_tenure

MOST_USERS: Final = 2_000
MOST_ROWS: Final = 3_000


@dataclass(frozen=True)
class Example:
    """A user at the end of the log, and their risk if they never came back: (k,) days and risk."""

    who: str
    days: tuple[float, ...]
    risk: tuple[float, ...]


@dataclass(frozen=True)
class Evidence:
    """examples; per concept the mean absolute log-odds it moves, and the log loss it saves.

    values, moved: (k, len(FEATURES)) of a sample of rows, and the log-odds each value adds there;
    None where the log-odds are no sum.
    """

    examples: tuple[Example, ...]
    effects: dict[str, float]
    ablation: dict[str, float]
    values: np.ndarray
    moved: np.ndarray | None


def gather(
    log: EventLog,
    rules: FoldRules,
    rows: Rows,
    last_split: Split,
    full: Classifier,
    *,
    grid_hours: Sequence[int],
    tenure_since: int | None,
    seed: int,
) -> Evidence:
    """Everything a report shows that is not decided on."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(rows.features))[:MOST_ROWS])
    values = rows.features[chosen]
    sums = additive(full)
    moved = None if sums is None else sums.contributions(values)
    return Evidence(
        examples=_examples(log, rules, full, grid_hours, rng, tenure_since=tenure_since),
        effects=_effects(moved),
        ablation=_ablation(rows, last_split, seed),
        values=values,
        moved=moved,
    )


def _examples(
    log: EventLog,
    rules: FoldRules,
    full: Classifier,
    grid_hours: Sequence[int],
    rng: np.random.Generator,
    *,
    tenure_since: int | None,
) -> tuple[Example, ...]:
    user = np.sort(rng.permutation(len(log.user_ids))[:MOST_USERS])
    facts = blank_facts(len(user))
    end = np.full(len(user), int(log.rows["log_time"][-1]))
    for which, found in facts_at(log, user, end, rules):
        facts[which] = found
    facts = facts[facts["last_seen"] != NEVER]
    gap = usual_gap_ms(facts) / DAY_MS
    picked = {}
    regular = np.flatnonzero((facts["gaps"] >= 5) & np.isfinite(gap))
    for share in (0.1, 0.5, 0.9) if len(regular) else ():
        wanted = np.quantile(gap[regular], share)
        one = int(regular[np.abs(gap[regular] - wanted).argmin()])
        picked[_pace(float(gap[one]))] = one
    once = np.flatnonzero(facts["active_days"] == 1)
    if len(once):
        picked["seen on one day only"] = int(once[0])
    hours = np.array(grid_hours)
    examples = []
    for who, one in picked.items():
        moments = facts["last_seen"][one] + hours * HOUR_MS
        silent = np.repeat(facts[one : one + 1], len(hours))
        values = with_known_tenure(features(silent, moments), silent, tenure_since, FEATURES)
        risk = churn_of(full, values)
        examples.append(Example(who, tuple((hours / 24).tolist()), tuple(risk.tolist())))
    return tuple(examples)


def _pace(days: float) -> str:
    return f"comes every {days:.0f} days" if days >= 1.5 else f"comes every {24 * days:.0f} hours"


def _effects(moved: np.ndarray | None) -> dict[str, float]:
    if moved is None:
        return {}
    return {
        concept: round(float(np.abs(moved[:, columns].sum(axis=1)).mean()), 6)
        for concept, columns in _columns().items()
    }


def _ablation(rows: Rows, split: Split, seed: int) -> dict[str, float]:
    """Log loss the logistic regression gains on the last period when a concept is left out."""
    before = split.train(rows.moments.as_of)
    later = split.validation(rows.moments.as_of)
    label = rows.moments.label

    def loss(kept: np.ndarray) -> float:
        directions = [FULL[i] for i in kept]
        estimator = fitted(
            CANDIDATES[0], directions, seed, rows.features[before][:, kept], label[before]
        )
        found = churn_of(estimator, rows.features[later][:, kept])
        return float(row_losses(label[later], found).mean())

    every = np.arange(len(FEATURES))
    whole = loss(every)
    return {
        concept: round(loss(np.setdiff1d(every, columns)) - whole, 6)
        for concept, columns in _columns().items()
    }


def _columns() -> dict[str, np.ndarray]:
    names = [feature.name for feature in FEATURES]
    found = {
        str(concept): np.array([names.index(name) for name in members if name in names], np.intp)
        for concept, members in MEMBERS.items()
    }
    return {concept: columns for concept, columns in found.items() if len(columns)}
