"""From a log to a model: draw rows, compare candidates walk-forward, refit the chosen one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from contracts.activity import FoldRules
from contracts.default_rule import FALLBACK_THRESHOLD
from contracts.errors import Misconfigured
from contracts.lapse import lapsed_after_days
from contracts.times import DAY_MS, NEVER, from_ms
from model.alert_threshold import Past, alert_threshold
from model.artefact import (
    FULL_GRAPH,
    INPUTS_GRAPH,
    QUALITY_FILE,
    REPORT_FILE,
    KeptInputs,
    Manifest,
    Model,
    Period,
    save,
    spread_levels,
)
from model.assessment import assess
from model.calibration import apply
from model.candidates import fitted
from model.classifier import Classifier
from model.comparison import FULL, Contest, base_rates, churn_of, compare, fitted_to_inputs
from model.compiling import compiled_alike
from model.dataset import (
    INSTANT,
    SESSION_END,
    STRATA,
    Moments,
    Rows,
    Window,
    draw_moments,
    draw_probes,
    replay,
)
from model.evaluation import figures
from model.event_log import EventLog
from model.evidence import Evidence, gather
from model.features import FEATURES, PREDICT_INPUTS
from model.figures import AlertThreshold, Figures, Memory
from model.labels import Verdicts, outcome_of, overruled, telltale_types
from model.memory import choose_memory
from model.quality import Quality
from model.reasons import typical_values
from model.report import report
from model.split import Split, memory_begins, remembering, walk_forward
from model.tenure import ALWAYS_UNKNOWN
from model.tenure_choice import TenureChoice, choose_tenure, without_tenure
from model.treatment import NO_TREATMENTS, Treatments, exposure, repeated
from model.volume import Volume, volume

LEVEL_QUANTILES: Final = (
    0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99,
)  # fmt: skip
"""Of validation predictions: denser where alerts are."""

GRID_POINTS: Final = 48
METRICS_FILE: Final = "metrics.json"

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
        return lapsed_after_days(self.horizon_days)


@dataclass(frozen=True)
class Told:
    """What was done about users, and what was said of alerts about them.

    holdout_share: of users alerted about, the share held out; None: as found in the alerts.
    """

    treatments: Treatments = NO_TREATMENTS
    holdout_share: float | None = None
    verdicts: Verdicts | None = None


NOTHING_TOLD: Final = Told()


@dataclass(frozen=True)
class LearnedInputs:
    """A four-input estimator, and where it comes from."""

    estimator: Classifier
    source: KeptInputs


@dataclass(frozen=True)
class Trained:
    """A chosen model, not yet on disk."""

    manifest: Manifest
    full: Classifier
    inputs: Classifier
    contest: Contest
    evidence: Evidence
    quality: Quality
    graphs: Mapping[str, bytes]
    """The estimators compiled, by file name."""

    def save(self, folder: Path) -> Model:
        """Write model, compiled forms, manifest, and what is told of them, to `folder`."""
        return save(
            folder,
            self.manifest,
            full=self.full,
            inputs=self.inputs,
            graphs=self.graphs,
            beside=self._told,
        )

    def _told(self, manifest: Manifest) -> dict[str, bytes]:
        content = msgspec.json.format(msgspec.json.encode(metrics(manifest)))
        page = report(manifest, self.contest.found, self.contest.stratum, self.evidence)
        return {
            METRICS_FILE: content + b"\n",
            QUALITY_FILE: msgspec.json.encode(self.quality) + b"\n",
            REPORT_FILE: page.encode(),
        }


def train(
    log: EventLog,
    settings: TrainingSettings,
    rules: FoldRules,
    *,
    origin: str,
    labels: Moments | None = None,
    told: Told = NOTHING_TOLD,
    kept_inputs: LearnedInputs | None = None,
    say: Say = lambda _line: None,
) -> Trained:
    """Learn churn from a log; same log and settings, same model to the byte.

    origin: what scores will say the model learned from.
    labels: moments with outcomes somebody else decided on; without them both come from the log.
    told: alerts and verdicts, which change rows.
    kept_inputs: the four-input estimator, for a log that cannot teach one.
    say: gets one line per step, for a person who waits.
    Raises Misconfigured when the log is too short, shows only one outcome, or has an event type
    that knows it.
    """
    window = usable_window(log, settings)
    busy = volume(log)
    _require_no_telltale(log, window, settings)
    outcome = outcome_of(log, window.horizon, busy, settings.churn_types)
    if labels is None:
        drawn = draw_moments(log, window, settings.rows, settings.seed, outcome)
    else:
        drawn = labels
        window = _window_of(labels, window, settings)
    splits = _splits(window, settings)
    moments, told_notes = _as_told(drawn, told, window.horizon, settings.seed)
    _require_both_outcomes(moments, splits)
    if labels is None:
        probed = replace(window, first=splits[0].validate_from)
        probes = draw_probes(log, probed, PROBES_EACH, settings.seed, outcome)
        probes, _ = _as_told(probes, told, window.horizon, settings.seed)
    else:
        probes = moments
    since = tenure_since(log, settings)
    say(f"replaying the log to {len(moments):,} moments")
    rows = replay(log, moments, rules, _every_tenth(say), tenure_since=since)
    probe_rows = replay(log, probes, rules, tenure_since=since)
    say("looking at how far back to learn from, and whether tenure helps")
    scope = _choose_scope(log, rows, splits, settings.seed)
    memory, splits = scope.memory, remembering(splits, scope.memory.days)
    rows = scope.of(rows)
    contest = compare(
        rows, scope.of(probe_rows), splits, newcomer_ms=window.active, seed=settings.seed, say=say
    )

    remembered = replace(window, first=max(window.first, memory_begins(window.last, memory.days)))
    if memory.days is None or labels is not None:
        recent = rows[moments.as_of >= remembered.first]
    else:
        # What is forgotten leaves room: as many rows as before, all from what is remembered.
        again = draw_moments(log, remembered, settings.rows, settings.seed, outcome)
        again, _ = _as_told(again, told, window.horizon, settings.seed)
        say(f"replaying the log to {len(again):,} moments since {_day(remembered.first)}")
        recent = scope.of(replay(log, again, rules, _every_tenth(say), tenure_since=since))
    say(f"refitting {contest.chosen.title} to {len(recent.moments):,} rows")
    label = recent.moments.label
    full = apply(
        fitted(contest.chosen, FULL, settings.seed, recent.features, label), contest.calibration
    )
    inputs, predict = _inputs(kept_inputs, contest, recent, rows, splits, seed=settings.seed)
    levels = spread_levels(np.quantile(contest.found.probability, LEVEL_QUANTILES).tolist())
    grid_hours = silence_grid(settings.silence_days)
    known_tenure = ALWAYS_UNKNOWN if scope.leaves_tenure_out else since
    say("looking for the threshold of the default alert rule")
    pasts = _pasts(contest, splits, levels, grid_hours, known_tenure)
    threshold = (
        alert_threshold(log, window, pasts, rules, outcome, seed=settings.seed)
        if labels is None
        else None
    )
    manifest = Manifest(
        origin=origin,
        candidate=contest.chosen.name,
        chosen_because=contest.chosen_because,
        features=tuple(feature.name for feature in FEATURES),
        predict_inputs=tuple(feature.name for feature in PREDICT_INPUTS),
        horizon_days=settings.horizon_days,
        active_days=settings.active_days,
        levels=levels,
        grid_hours=grid_hours,
        fold_rules=rules.digest,
        seed=settings.seed,
        log=log_period(log),
        training=_period(remembered.first, window.last),
        fitted_until=_moment(splits[0].train_until),
        validated_from=_moment(splits[0].validate_from),
        churn=_meaning(settings, labels),
        rows=_row_counts(recent.moments),
        rows_sha256=recent.digest,
        candidates=contest.comparisons,
        predict=predict,
        calibration=contest.calibration.name,
        calibration_trials=contest.trials,
        silence=contest.silence if labels is None else {},
        unseen_users=contest.unseen_users,
        periods=contest.periods,
        law_of_silence=contest.law_of_silence,
        typical=_typical(recent),
        base_rates=base_rates(moments),
        memory=memory,
        tenure_since=known_tenure,
        alert_threshold=threshold,
        kept_inputs=None if kept_inputs is None else kept_inputs.source,
        notes=(
            *_notes(log, busy, settings),
            *_memory_note(memory),
            *_tenure_note(scope.tenure),
            *_inputs_note(kept_inputs, predict),
            *_threshold_note(threshold, labels),
            *told_notes,
        ),
    )
    evidence = gather(
        log,
        rules,
        rows,
        splits[-1],
        full,
        grid_hours=manifest.grid_hours,
        tenure_since=manifest.tenure_since,
        seed=settings.seed,
    )
    quality = assess(contest.found, contest.stratum, recent, full, evidence, seed=settings.seed)
    return Trained(
        manifest, full, inputs, contest, evidence, quality, _graphs(full, inputs, recent)
    )


@dataclass(frozen=True)
class _Scope:
    """What of the log is learned from."""

    memory: Memory
    tenure: TenureChoice | None
    """None: the log states sign-ups, there is nothing to choose."""

    @property
    def leaves_tenure_out(self) -> bool:
        return self.tenure is not None and self.tenure.is_left_out

    def of(self, rows: Rows) -> Rows:
        """The rows as they are learned from and judged."""
        return without_tenure(rows) if self.leaves_tenure_out else rows


def _choose_scope(log: EventLog, rows: Rows, splits: tuple[Split, ...], seed: int) -> _Scope:
    memory = choose_memory(rows, splits, seed)
    if (log.rows["signup_at"] != NEVER).any():
        return _Scope(memory, None)
    return _Scope(memory, choose_tenure(rows, remembering(splits, memory.days), seed))


def _graphs(full: Classifier, inputs: Classifier, rows: Rows) -> dict[str, bytes]:
    """The estimators compiled, those that agree with their pickle on the training rows."""
    graphs = {
        FULL_GRAPH: compiled_alike(full, rows.features),
        INPUTS_GRAPH: compiled_alike(inputs, rows.inputs),
    }
    return {name: graph for name, graph in graphs.items() if graph is not None}


def learn_inputs(
    log: EventLog, settings: TrainingSettings, rules: FoldRules, *, origin: str
) -> LearnedInputs:
    """The four-input estimator that `train` would put beside the full one, alone and sooner.

    For a log that leaves no choice of memory. Raises Misconfigured when it is too short.
    """
    window = usable_window(log, settings)
    outcome = outcome_of(log, window.horizon, volume(log), settings.churn_types)
    moments = draw_moments(log, window, settings.rows, settings.seed, outcome)
    ends = moments[np.flatnonzero(moments.stratum == SESSION_END)]
    rows = replay(log, ends, rules, tenure_since=tenure_since(log, settings))
    estimator = fitted_to_inputs(rows, np.ones(len(ends), bool), settings.seed)
    return LearnedInputs(estimator, KeptInputs(origin, settings.horizon_days))


def tenure_since(log: EventLog, settings: TrainingSettings) -> int:
    """Epoch ms from which a first visit is believed to be one: an activity window into the log."""
    return log_ends(log)[0] + settings.active_days * DAY_MS


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
        "law_of_silence", "base_rates", "memory", "tenure_since", "alert_threshold", "kept_inputs",
        "notes",
    )  # fmt: skip
    content: dict[str, Any] = msgspec.to_builtins(manifest)
    return {name: content[name] for name in kept}


def log_period(log: EventLog) -> Period:
    """First to last activity of the log."""
    return _period(*log_ends(log))


def _as_told(
    moments: Moments, told: Told, horizon: int, seed: int
) -> tuple[Moments, tuple[str, ...]]:
    """The moments after verdicts and alerts, and notes on what that changed."""
    notes = []
    if told.verdicts is not None:
        moments, changed = overruled(moments, told.verdicts, horizon)
        notes.append(
            f"verdicts were used as labels: {changed:,} of {len(moments):,} rows became not "
            "churned, because the alert was called wrong"
        )
    if len(told.treatments.user):
        found = exposure(told.treatments, moments.user, moments.as_of, horizon, told.holdout_share)
        left, held = int(found.treated.sum()), int((found.weight > 1).sum())
        note = (
            f"{left:,} of {len(moments):,} rows left for treatment: a delivered alert lies within "
            "a horizon of them"
        )
        if held:
            note += f"; {held:,} rows of controls count {found.weight.max():.1f} times instead"
        notes.append(note)
        moments = repeated(moments, found.weight, seed)
    return moments, tuple(notes)


def _inputs(
    kept: LearnedInputs | None,
    contest: Contest,
    recent: Rows,
    rows: Rows,
    splits: tuple[Split, ...],
    *,
    seed: int,
) -> tuple[Classifier, Figures]:
    """The four-input estimator, learned or kept, and what it is worth here."""
    if kept is None:
        everything = np.ones(len(recent.moments), bool)
        return fitted_to_inputs(recent, everything, seed), contest.predict
    return kept.estimator, _judged(kept.estimator, rows, splits)


def _pasts(
    contest: Contest,
    splits: tuple[Split, ...],
    levels: tuple[float, ...],
    grid_hours: tuple[int, ...],
    tenure_since: int,
) -> list[Past]:
    """The chosen candidate as it stood before each period."""
    return [
        Past(split, np.array(levels), np.array(grid_hours), estimator, calibration, tenure_since)
        for split, estimator, calibration in zip(
            splits, contest.past, contest.past_calibrations, strict=True
        )
    ]


def _judged(inputs: Classifier, rows: Rows, splits: tuple[Split, ...]) -> Figures:
    """A four-input estimator learned elsewhere, on this log's validation periods."""
    ends = rows.moments.stratum == SESSION_END
    present = ends if ends.any() else np.ones(len(ends), bool)
    later = present & (rows.moments.as_of >= splits[0].validate_from)
    return figures(rows.moments.label[later], churn_of(inputs, rows.inputs[later]))


def _memory_note(memory: Memory) -> tuple[str, ...]:
    if memory.days is None:
        return ()
    return (
        f"learned from the last {memory.days} days: on the walk-forward periods that is worth "
        f"{memory.gain:.6f} log loss (standard error {memory.error:.6f}) against learning from "
        "everything",
    )


def _tenure_note(tenure: TenureChoice | None) -> tuple[str, ...]:
    if tenure is None or not tenure.is_left_out:
        return ()
    return (
        "tenure is left out: the log states no sign-ups, and on the walk-forward periods doing "
        f"without is worth {tenure.gain:.6f} log loss (standard error {tenure.error:.6f})",
    )


def _inputs_note(kept: LearnedInputs | None, found: Figures) -> tuple[str, ...]:
    if kept is None:
        return ()
    ranks = "" if found.auc is None else f"; on this log's session ends its AUC is {found.auc:.3f}"
    return (
        f"/predict keeps the four-input model of origin {kept.source.origin}, horizon "
        f"{kept.source.horizon_days} days: the log has no pages or minutes to learn one from"
        + ranks,
    )


def _threshold_note(threshold: AlertThreshold | None, labels: Moments | None) -> tuple[str, ...]:
    if threshold is not None:
        return ()
    why = "the log shows too few who churn" if labels is None else "labels came from a file"
    return (f"alerts open at a risk of {FALLBACK_THRESHOLD:.0%} unless set otherwise: {why}",)


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


def _typical(rows: Rows) -> dict[str, float]:
    """Of the population: users active at any instant, where the rows say which those are."""
    instants = rows.moments.stratum == INSTANT
    chosen = instants if instants.any() else np.ones(len(instants), bool)
    return typical_values(rows.features[chosen], rows.inputs[chosen])


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
