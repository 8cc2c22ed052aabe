"""From a log to a model: draw rows, compare candidates walk-forward, refit the chosen one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from contracts.activity import FoldRules
from contracts.errors import Misconfigured
from contracts.times import DAY_MS, from_ms
from model.artefact import (
    Manifest,
    Model,
    Period,
    save,
    spread_levels,
)
from model.calibration import apply
from model.candidates import Classifier, fitted
from model.comparison import FULL, Contest, base_rates, compare, fitted_to_inputs
from model.dataset import (
    SESSION_END,
    STRATA,
    Moments,
    Window,
    draw_moments,
    draw_probes,
    replay,
)
from model.event_log import EventLog
from model.evidence import Evidence, gather
from model.features import FEATURES, PREDICT_INPUTS
from model.labels import outcome_of, telltale_types
from model.report import report
from model.split import Split, walk_forward
from model.volume import Volume, volume

LEVEL_QUANTILES: Final = (
    0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99,
)  # fmt: skip
"""Of validation predictions: denser where alerts are."""

GRID_POINTS: Final = 48
SHORTEST_GRID_DAYS: Final = 60
METRICS_FILE: Final = "metrics.json"
REPORT_FILE: Final = "report.html"

Say = Callable[[str], None]

PROBES_EACH: Final = 3_000
TWO_YEARS_DAYS: Final = 730


@dataclass(frozen=True)
class TrainingSettings:
    """What a person chooses about a model.

    horizon_days: who does nothing for this long has churned.
    active_days: a user counts as active for this long after their last activity.
    rows: at most so many training rows, in equal parts per stratum.
    label_delay_days: what happened is known only so long after it did.
    churn_types: events that mean churn; without any, silence for the horizon does.
    """

    horizon_days: int
    active_days: int
    rows: int = 60_000
    seed: int = 0
    label_delay_days: int = 0
    churn_types: tuple[str, ...] = ()

    @property
    def embargo_days(self) -> int:
        """From a moment to the day on which its label is known."""
        return self.horizon_days + self.label_delay_days

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
    contest: Contest
    evidence: Evidence

    def save(self, folder: Path) -> Model:
        """Write model, manifest, metrics.json and report.html to `folder`."""
        model = save(folder, self.manifest, full=self.full, inputs=self.inputs)
        content = msgspec.json.format(msgspec.json.encode(metrics(model.manifest)))
        (folder / METRICS_FILE).write_bytes(content + b"\n")
        page = report(model.manifest, self.contest.found, self.contest.stratum, self.evidence)
        (folder / REPORT_FILE).write_text(page, encoding="utf-8")
        return model


def train(
    log: EventLog,
    settings: TrainingSettings,
    rules: FoldRules,
    *,
    origin: str,
    labels: Moments | None = None,
    say: Say = lambda _line: None,
) -> Trained:
    """Learn churn from a log; same log and settings, same model to the byte.

    origin: what scores will say the model learned from.
    labels: moments with outcomes somebody else decided on; without them both come from the log.
    say: gets one line per step, for a person who waits.
    Raises Misconfigured when the log is too short, shows only one outcome, or has an event type
    that knows it.
    """
    window = usable_window(log, settings)
    busy = volume(log)
    _require_no_telltale(log, window, settings)
    outcome = outcome_of(log, window.horizon, busy, settings.churn_types)
    if labels is None:
        moments = draw_moments(log, window, settings.rows, settings.seed, outcome)
    else:
        moments = labels
        window = _window_of(labels, window, settings)
    splits = _splits(window, settings)
    _require_both_outcomes(moments, splits)
    probed = replace(window, first=splits[0].validate_from)
    probes = draw_probes(log, probed, PROBES_EACH, settings.seed, outcome)
    say(f"replaying the log to {len(moments):,} moments")
    rows = replay(log, moments, rules, _every_tenth(say))
    probe_rows = replay(log, probes if labels is None else labels, rules)
    contest = compare(
        rows, probe_rows, splits, newcomer_ms=window.active, seed=settings.seed, say=say
    )

    say(f"refitting {contest.chosen.title} to all {len(moments):,} rows")
    full = apply(
        fitted(contest.chosen, FULL, settings.seed, rows.features, moments.label),
        contest.calibration,
    )
    inputs = fitted_to_inputs(rows, np.ones(len(moments), bool), settings.seed)
    ladder = np.quantile(contest.found.probability, LEVEL_QUANTILES).tolist()
    manifest = Manifest(
        origin=origin,
        candidate=contest.chosen.name,
        chosen_because=contest.chosen_because,
        features=tuple(feature.name for feature in FEATURES),
        predict_inputs=tuple(feature.name for feature in PREDICT_INPUTS),
        horizon_days=settings.horizon_days,
        active_days=settings.active_days,
        levels=spread_levels(ladder),
        grid_hours=silence_grid(settings.silence_days),
        fold_rules=rules.digest,
        seed=settings.seed,
        log=log_period(log),
        training=_period(window.first, window.last),
        fitted_until=_moment(splits[0].train_until),
        validated_from=_moment(splits[0].validate_from),
        churn=_meaning(settings, labels),
        rows=_row_counts(moments),
        rows_sha256=rows.digest,
        candidates=contest.comparisons,
        predict=contest.predict,
        calibration=contest.calibration.name,
        calibration_trials=contest.trials,
        silence=contest.silence if labels is None else {},
        unseen_users=contest.unseen_users,
        periods=contest.periods,
        law_of_silence=contest.law_of_silence,
        base_rates=base_rates(moments),
        notes=_notes(log, busy, settings),
    )
    evidence = gather(
        log, rules, rows, splits[-1], full, grid_hours=manifest.grid_hours, seed=settings.seed
    )
    return Trained(manifest, full, inputs, contest, evidence)


def usable_window(log: EventLog, settings: TrainingSettings) -> Window:
    """The moments rows may come from: a full activity window after the start of the log, a full
    horizon before its end.

    The log ends where its usual volume does (`model.volume`).
    Raises Misconfigured unless the log spans active_days + 3 horizons: one to train on, one
    between training and validation, one to see how validation ended; a delay of labels lengthens
    each.
    """
    needed = settings.active_days + 3 * settings.embargo_days
    if not log.active.any():
        raise Misconfigured("the log has no activity: nothing to learn from")
    start, end = log_ends(log)[0], volume(log).end
    days = (end - start) / DAY_MS
    if days < needed:
        delay = (
            f" of {settings.embargo_days} days, delay included" if settings.label_delay_days else ""
        )
        raise Misconfigured(
            f"too little history: {days:.1f} days ({_day(start)} to {_day(end)}), but "
            f"--active-days {settings.active_days} and --horizon-days {settings.horizon_days} "
            f"need {needed} (active days + 3 horizons{delay}): give more history or a shorter "
            "horizon"
        )
    return Window(
        first=start + settings.active_days * DAY_MS,
        last=end - settings.embargo_days * DAY_MS,
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
        "churn", "log", "training", "fitted_until", "validated_from", "rows", "candidates",
        "predict", "calibration", "calibration_trials", "silence", "unseen_users", "periods",
        "law_of_silence", "base_rates", "notes",
    )  # fmt: skip
    content: dict[str, Any] = msgspec.to_builtins(manifest)
    return {name: content[name] for name in kept}


def log_period(log: EventLog) -> Period:
    """First to last activity of the log."""
    return _period(*log_ends(log))


def _window_of(labels: Moments, window: Window, settings: TrainingSettings) -> Window:
    """The stretch that given labels cover; refused unless two embargoes fit into it."""
    if not len(labels):
        raise Misconfigured("no label belongs to a user the log knows at that time")
    first, last = int(labels.as_of.min()), int(labels.as_of.max())
    if last - first <= settings.embargo_days * DAY_MS:
        raise Misconfigured(
            f"the labels span {(last - first) / DAY_MS:.1f} days, but later ones are held back "
            f"{settings.embargo_days} days apart: give labels over a longer time"
        )
    return replace(window, first=first, last=last)


def _splits(window: Window, settings: TrainingSettings) -> tuple[Split, ...]:
    return walk_forward(window.first, window.last, settings.embargo_days * DAY_MS)


def _require_no_telltale(log: EventLog, window: Window, settings: TrainingSettings) -> None:
    found = telltale_types(log, window.horizon, settings.churn_types)
    if found:
        raise Misconfigured(
            f"{', '.join(found)}: occurs only once a user has churned, so a model would learn "
            "the answer from it; take these events out of the log"
        )


def _require_both_outcomes(moments: Moments, splits: tuple[Split, ...]) -> None:
    parts = {
        "training": splits[0].train(moments.as_of),
        "validation": moments.as_of >= splits[0].validate_from,
    }
    ends = moments.stratum == SESSION_END
    for stratum in (None, SESSION_END) if ends.any() else (None,):
        for name, part in parts.items():
            within = part if stratum is None else part & ends
            where = f"the {name} part of the log"
            if stratum is not None:
                where += f" ({STRATA[stratum].replace('_', ' ')}s)"
            label = moments.label[within]
            if not len(label):
                raise Misconfigured(f"{where} gives no rows: give more history or more users")
            if label.min() == label.max():
                what = "churns" if label[0] else "stays"
                raise Misconfigured(
                    f"in {where} every user {what}: there is nothing to tell apart; "
                    "choose another --horizon-days or give more history"
                )


def _meaning(settings: TrainingSettings, labels: Moments | None) -> str:
    if labels is not None:
        return "as the given labels say"
    if settings.churn_types:
        return f"{' or '.join(settings.churn_types)} within the horizon"
    return "no activity within the horizon"


def _notes(log: EventLog, busy: Volume, settings: TrainingSettings) -> tuple[str, ...]:
    notes = []
    start, end = log_ends(log)
    if busy.end < end:
        notes.append(
            f"the log thins out: taken to end on {_day(busy.end)}, not {_day(end)}; later labels "
            "would be too dark"
        )
    if len(busy.outages):
        days = ", ".join(_day(int(day) * DAY_MS) for day in busy.outages[:5])
        more = f" and {len(busy.outages) - 5} more" if len(busy.outages) > 5 else ""
        notes.append(
            f"{len(busy.outages)} days look like outages or holidays ({days}{more}); labels they "
            "cover more than a tenth of are left out"
        )
    if end - start < TWO_YEARS_DAYS * DAY_MS:
        notes.append(
            "season not identified: the log spans under two years, so a season cannot be told "
            "from a drift; see the base rate by month"
        )
    return tuple(notes)


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


def log_ends(log: EventLog) -> tuple[int, int]:
    """Epoch ms of the first and the last activity of a log that has any."""
    seen = log.rows["occurred_at"][log.active]
    return int(seen.min()), int(seen.max())


def _period(start: int, end: int) -> Period:
    return Period(_moment(start), _moment(end))


def _moment(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="seconds").replace("+00:00", "Z")


def _day(ms: int) -> str:
    return from_ms(ms).date().isoformat()
