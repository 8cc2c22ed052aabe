"""From a log to a model: draw rows, compare candidates on later time, refit the chosen one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from contracts.activity import FoldRules
from contracts.errors import Misconfigured
from contracts.scores import DECIMALS
from contracts.times import DAY_MS, from_ms
from model.artefact import (
    Comparison,
    Manifest,
    Model,
    Period,
    save,
    spread_levels,
)
from model.candidates import CANDIDATES, Candidate, Classifier, fitted
from model.dataset import SESSION_END, STRATA, Moments, Rows, Window, draw_moments, replay
from model.evaluation import Figures, by_stratum, figures, row_losses, simplest_good_enough
from model.event_log import EventLog
from model.features import FEATURES, PREDICT_INPUTS
from model.split import Split, later_period

LEVEL_QUANTILES: Final = (
    0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99,
)  # fmt: skip
"""Of validation predictions: denser where alerts are."""

GRID_POINTS: Final = 48
SHORTEST_GRID_DAYS: Final = 60
METRICS_FILE: Final = "metrics.json"

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingSettings:
    """What a person chooses about a model.

    horizon_days: who does nothing for this long has churned.
    active_days: a user counts as active for this long after their last activity.
    rows: at most so many training rows, in equal parts per stratum.
    """

    horizon_days: int
    active_days: int
    rows: int = 60_000
    seed: int = 0

    @property
    def silence_days(self) -> int:
        """End of the silence grid: no score is given beyond."""
        return max(SHORTEST_GRID_DAYS, 2 * self.horizon_days)


@dataclass(frozen=True)
class Trained:
    """A chosen model, not yet on disk."""

    manifest: Manifest
    full: Classifier
    inputs: Classifier

    def save(self, folder: Path) -> Model:
        """Write model, manifest and metrics.json to `folder`."""
        model = save(folder, self.manifest, full=self.full, inputs=self.inputs)
        content = msgspec.json.format(msgspec.json.encode(metrics(model.manifest)))
        (folder / METRICS_FILE).write_bytes(content + b"\n")
        return model


def train(
    log: EventLog,
    settings: TrainingSettings,
    rules: FoldRules,
    *,
    origin: str,
    say: Say = lambda _line: None,
) -> Trained:
    """Learn churn from a log; same log and settings, same model to the byte.

    origin: what scores will say the model learned from.
    say: gets one line per step, for a person who waits.
    Raises Misconfigured when the log is too short, or shows only one outcome.
    """
    window = usable_window(log, settings)
    moments = draw_moments(log, window, settings.rows, settings.seed)
    split = later_period(window.first, window.last, window.horizon)
    _require_both_outcomes(moments, split)
    say(f"replaying the log to {len(moments):,} moments")
    rows = replay(log, moments, rules, _every_tenth(say))
    contest = compare(rows, split, settings.seed, say)

    say(f"refitting {contest.chosen.title} to all {len(moments):,} rows")
    full = fitted(contest.chosen, _FULL, settings.seed, rows.features, moments.label)
    inputs = fitted_to_inputs(rows, np.ones(len(moments), bool), settings.seed)
    manifest = Manifest(
        origin=origin,
        candidate=contest.chosen.name,
        chosen_because=_why(contest),
        features=tuple(feature.name for feature in FEATURES),
        predict_inputs=tuple(feature.name for feature in PREDICT_INPUTS),
        horizon_days=settings.horizon_days,
        active_days=settings.active_days,
        levels=contest.levels,
        grid_hours=silence_grid(settings.silence_days),
        fold_rules=rules.digest,
        seed=settings.seed,
        log=log_period(log),
        training=_period(window.first, window.last),
        fitted_until=_moment(split.train_until),
        validated_from=_moment(split.validate_from),
        rows=_row_counts(moments),
        rows_sha256=rows.digest,
        candidates=contest.comparisons,
        predict=contest.predict,
    )
    return Trained(manifest, full, inputs)


def usable_window(log: EventLog, settings: TrainingSettings) -> Window:
    """The moments rows may come from: a full activity window after the start of the log, a full
    horizon before its end.

    Raises Misconfigured unless the log spans active_days + 3 horizons: one to train on, one
    between training and validation, one to see how validation ended.
    """
    needed = settings.active_days + 3 * settings.horizon_days
    if not log.active.any():
        raise Misconfigured("the log has no activity: nothing to learn from")
    start, end = _ends(log)
    days = (end - start) / DAY_MS
    if days < needed:
        raise Misconfigured(
            f"too little history: {days:.1f} days ({_day(start)} to {_day(end)}), but "
            f"--active-days {settings.active_days} and --horizon-days {settings.horizon_days} "
            f"need {needed} (active days + 3 horizons): give more history or a shorter horizon"
        )
    return Window(
        first=start + settings.active_days * DAY_MS,
        last=end - settings.horizon_days * DAY_MS,
        active=settings.active_days * DAY_MS,
        silence=settings.silence_days * DAY_MS,
        horizon=settings.horizon_days * DAY_MS,
    )


def silence_grid(days: int) -> tuple[int, ...]:
    """About GRID_POINTS whole hours from 1 to the end of `days`, each a like factor further."""
    points = GRID_POINTS
    while True:
        grid = np.unique(np.rint(np.geomspace(1, 24 * days, points)).astype(int))
        if len(grid) >= min(GRID_POINTS, 24 * days):
            return tuple(int(hour) for hour in grid)
        points += 1


def metrics(manifest: Manifest) -> dict[str, Any]:
    """The figures of a manifest, for metrics.json: terse, ordered, without digests of files."""
    kept = (
        "version", "origin", "candidate", "chosen_because", "horizon_days", "active_days",
        "log", "training", "fitted_until", "validated_from", "rows", "candidates", "predict",
    )  # fmt: skip
    content: dict[str, Any] = msgspec.to_builtins(manifest)
    return {name: content[name] for name in kept}


def log_period(log: EventLog) -> Period:
    """First to last activity of the log."""
    return _period(*_ends(log))


@dataclass(frozen=True)
class Contest:
    """How the candidates did on the later period."""

    chosen: Candidate
    comparisons: dict[str, Comparison]
    levels: tuple[float, ...]
    predict: Figures


def compare(rows: Rows, split: Split, seed: int, say: Say) -> Contest:
    """Fit every candidate to the earlier rows and judge it by log loss on the later ones."""
    moments = rows.moments
    before, later = split.train(moments.as_of), split.validation(moments.as_of)
    label, stratum = moments.label[later], moments.stratum[later]
    found = {}
    for candidate in CANDIDATES:
        say(f"fitting {candidate.title} to {before.sum():,} rows")
        estimator = fitted(candidate, _FULL, seed, rows.features[before], moments.label[before])
        found[candidate.name] = _probability(estimator, rows.features[later])

    losses = {name: row_losses(label, probability) for name, probability in found.items()}
    chosen, behind = simplest_good_enough(losses, moments.user[later])
    comparisons = {
        candidate.name: Comparison(
            title=candidate.title,
            overall=figures(label, found[candidate.name]),
            strata=by_stratum(label, found[candidate.name], stratum, STRATA),
            behind_best=behind[candidate.name][0],
            behind_best_error=behind[candidate.name][1],
        )
        for candidate in CANDIDATES
    }
    present = stratum == SESSION_END
    four = fitted_to_inputs(rows, before, seed)
    return Contest(
        chosen=next(candidate for candidate in CANDIDATES if candidate.name == chosen),
        comparisons=comparisons,
        levels=spread_levels(np.quantile(found[chosen], LEVEL_QUANTILES).tolist()),
        predict=figures(label[present], _probability(four, rows.inputs[later][present])),
    )


def fitted_to_inputs(rows: Rows, part: np.ndarray, seed: int) -> Classifier:
    """The four-input estimator; part (n,) bool says which rows may be used.

    Callers of /predict ask about somebody who is there, so it learns from session ends alone.
    """
    used = part & (rows.moments.stratum == SESSION_END)
    return fitted(CANDIDATES[0], _FOUR, seed, rows.inputs[used], rows.moments.label[used])


_FULL: Final = tuple(feature.direction for feature in FEATURES)
_MORE_USE: Final = ("pages_visited", "time_spent")
_FOUR: Final = tuple(-1 if feature.name in _MORE_USE else 0 for feature in PREDICT_INPUTS)
"""More use never raises the risk. Time since sign-up is free: nobody is silent in a request."""


def _probability(estimator: Classifier, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(estimator.predict_proba(inputs)[:, 1], DECIMALS))


def _why(contest: Contest) -> str:
    comparisons = contest.comparisons
    best = min(comparisons, key=lambda name: comparisons[name].behind_best)
    if contest.chosen.name == best:
        return "lowest log loss on the later validation period"
    behind = comparisons[contest.chosen.name]
    return (
        f"the simplest candidate within one standard error of the lowest log loss: behind {best} "
        f"by {behind.behind_best:.6f}, standard error {behind.behind_best_error:.6f}"
    )


def _require_both_outcomes(moments: Moments, split: Split) -> None:
    parts = {
        "training": split.train(moments.as_of),
        "validation": split.validation(moments.as_of),
    }
    for stratum in (None, SESSION_END):
        for name, part in parts.items():
            within = part if stratum is None else part & (moments.stratum == stratum)
            where = f"the {name} part of the log"
            if stratum is not None:
                where += f" ({STRATA[stratum].replace('_', ' ')}s)"
            label = moments.label[within]
            if not len(label):
                raise Misconfigured(f"{where} gives no rows: give more history or more users")
            if label.min() == label.max():
                outcome = "churns" if label[0] else "stays"
                raise Misconfigured(
                    f"in {where} every user {outcome}: there is nothing to tell apart; "
                    "choose another --horizon-days or give more history"
                )


def _row_counts(moments: Moments) -> dict[str, int]:
    counts = np.bincount(moments.stratum, minlength=len(STRATA))
    return {"total": len(moments)} | {
        name: int(count) for name, count in zip(STRATA, counts, strict=True)
    }


def _every_tenth(say: Say) -> Callable[[int, int], None]:
    told = 0

    def tell(done: int, of: int) -> None:
        nonlocal told
        if 10 * done // of > told:
            told = 10 * done // of
            say(f"replayed to {done:,} of {of:,} moments")

    return tell


def _ends(log: EventLog) -> tuple[int, int]:
    seen = log.rows["occurred_at"][log.active]
    return int(seen.min()), int(seen.max())


def _period(start: int, end: int) -> Period:
    return Period(_moment(start), _moment(end))


def _moment(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="seconds").replace("+00:00", "Z")


def _day(ms: int) -> str:
    return from_ms(ms).date().isoformat()
