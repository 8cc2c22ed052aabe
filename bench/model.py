"""Measure the model on public logs, beside baselines, and say what each part of a record buys.

    python -m bench.model --data FOLDER [--rehearsal] [--into docs/model.md]

Everything that is chosen is chosen before the test period: Ebbtide's own row is what
`model.training.train` picks from the log as it stood at the first test cut-off. The test period
is scored once, here. `--rehearsal` holds a dress rehearsal inside the training period instead:
use it while changing anything.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_limits

from bench.bootstrap import auc_differences, intervals, user_weights
from bench.offline_baseline import HISTORY_PARTS, baselines, history_features
from bench.tasks import TASKS, Task, TaskRows, task_rows, until
from contracts.activity import FoldRules
from contracts.record import FACTS
from contracts.times import DAY_MS
from model.artefact import Model
from model.bgnbd import WEEK_DAYS, buying_of, fit_bgnbd
from model.candidates import CANDIDATES, fitted
from model.evaluation import calibration_floor, figures
from model.event_log import EventLog, load_event_log
from model.features import FEATURES, features
from model.figures import Figures
from model.training import TrainingSettings, train

RULES: Final = FoldRules()
SEED: Final = 0
MOST_BEHIND: Final = -0.003
"""How far below the offline baseline's AUC the lower bound of the paired difference may lie."""

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "time silent": ("silent_days",),
    "decayed days": tuple(f.name for f in FEATURES if f.name.startswith("recent_days")),
    "gap statistics": ("silence_vs_usual", "usual_gap_days", "gap_spread", "last_gap_vs_usual"),
    "decayed events": tuple(f.name for f in FEATURES if f.name.startswith("recent_events")),
    "ring windows": tuple(f.name for f in FEATURES if f.name.endswith(("_7d", "_28d"))),
    "totals and rates": (
        "pages_visited", "time_spent", "sessions", "active_days", "active_day_share",
        "active_days_per_week", "events_per_active_day", "pages_per_session",
        "minutes_per_session",
    ),
    "tenure": ("tenure_days",),
    "money": ("purchases", "value", "money_per_active_day"),
    "context": ("is_logged_in", "is_cancelled", "last_hour", "last_weekday"),
}  # fmt: skip
BYTES: Final[dict[str, tuple[str, ...]]] = {
    "time silent": ("last_seen",),
    "decayed days": ("decayed_days",),
    "gap statistics": ("gaps", "gap_seconds", "last_gap_seconds", "gap_log2", "gap_log2_squares"),
    "decayed events": ("decayed_events",),
    "ring windows": ("day_bits", "day_pages", "day_seconds", "day_sessions"),
    "totals and rates": (
        "pages", "pages_base", "seconds", "seconds_base", "events", "sessions", "active_days",
    ),
    "tenure": ("first_seen", "signup_at"),
    "money": ("value_cents", "purchase_cents", "types"),
    "context": ("login", "flags"),
}  # fmt: skip
"""Which fields of the record each part is read from."""

BUILD_UP: Final = ("time silent", "decayed days", "gap statistics")


@dataclass(frozen=True)
class Result:
    """One task, measured."""

    task: Task
    table: list[str]
    misses: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("EBBTIDE_DATA"),
        help="folder with the two logs (default: $EBBTIDE_DATA)",
    )  # fmt: skip
    parser.add_argument("--task", choices=[task.name for task in TASKS], action="append")
    parser.add_argument("--rehearsal", action="store_true", help="leave the test period alone")
    parser.add_argument("--into", type=Path, help="Markdown file to put the tables into")
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("--data FOLDER, or EBBTIDE_DATA, says where the two logs are")
    chosen = [task for task in TASKS if not args.task or task.name in args.task]
    results = []
    for task in chosen:
        log = load_event_log([args.data / task.file], RULES)
        results.append(measure(log, rehearsed(task) if args.rehearsal else task))
        print("\n".join(results[-1].table), flush=True)
    if args.into:
        put_into(args.into, [line for result in results for line in result.table])
    misses = [miss for result in results for miss in result.misses]
    print("\n".join(misses) if misses else "all targets met")
    return bool(misses) and not args.rehearsal


def rehearsed(task: Task) -> Task:
    """The same task with its last training months in the part of the test period."""
    year, month = task.train_months[1]
    last = year * 12 + month - 1
    first = last - (5 if task.horizon_days < 90 else 0)
    before = first - -(-task.horizon_days // 30) - 1
    return replace(
        task,
        title=f"{task.title} (rehearsal)",
        train_months=(task.train_months[0], (before // 12, before % 12 + 1)),
        test_months=((first // 12, first % 12 + 1), task.train_months[1]),
    )


def measure(log: EventLog, task: Task) -> Result:
    """Fit everything before the first test cut-off, score the test period once."""
    before = task_rows(log, task.train, task, RULES)
    test = task_rows(log, task.test, task, RULES)
    assert task.train[-1] <= task.test[0] - task.horizon_days * DAY_MS
    note(f"{task.title}: {len(before):,} training rows, {len(test):,} test rows")
    model, said = ebbtide(log, task)
    found = {"recency alone": recency(before, test)}
    found |= bgnbd(task, before, test)
    found |= record(before, test)
    ours = f"**Ebbtide's `train`** ({model.manifest.candidates[model.manifest.candidate].title})"
    found[ours] = model.score(test.facts, test.as_of)
    offline = {f"offline {k}": v for k, v in history(log, before, test).items()}
    found |= offline

    weights = user_weights(test.user, SEED)
    table = [
        f"### {task.title}",
        "",
        f"{len(before):,} training rows (churn {before.label.mean():.3f}), {len(test):,} test "
        f"rows of {len(np.unique(test.user)):,} users (churn {test.label.mean():.3f}).",
        "",
        "| | AUC | avg. prec. | Brier | log loss | ECE (floor) | lift, top 10 % |",
        "|---|---|---|---|---|---|---|",
        *(_row(name, test.label, churn, weights) for name, churn in found.items()),
        "",
        f"`train` says: {said}.",
        "",
        "Ebbtide's AUC minus the offline baseline's, paired, users resampled:",
        "",
    ]
    misses = []
    gaps = auc_differences(test.label, found[ours], offline, weights)
    for name, (mean, low, high) in gaps.items():
        table.append(f"- {name}: {mean:+.4f} ({low:+.4f} to {high:+.4f})")
        if low <= MOST_BEHIND:
            misses.append(f"{task.title}: {name} is ahead by more than {-MOST_BEHIND}: {low:+.4f}")
    misses += missed(task, figures(test.label, found[ours]))
    tables = ablation(before, test), lacking(log, before, test)
    return Result(task, [*table, "", *tables[0], "", *tables[1], ""], misses)


def ebbtide(log: EventLog, task: Task) -> tuple[Model, str]:
    """What `train` makes of the log as it stood at the first test cut-off, and why."""
    started = time.perf_counter()
    settings = TrainingSettings(task.horizon_days, task.active_days, seed=SEED)
    known = until(log, int(task.test[0]))
    trained = train(known, settings, RULES, origin=task.file, say=note)
    note(f"train took {time.perf_counter() - started:.1f} s")
    return Model(trained.manifest, trained.full, trained.inputs), trained.manifest.chosen_because


def recency(before: TaskRows, test: TaskRows) -> np.ndarray:
    """Time silent alone, made a probability by isotonic regression on the training rows."""
    silent = [(rows.as_of - rows.facts["last_seen"]) / DAY_MS for rows in (before, test)]
    return _isotonic(silent[0], before.label, silent[1])


def bgnbd(task: Task, before: TaskRows, test: TaskRows) -> dict[str, np.ndarray]:
    """P(no visit within the horizon) by BG/NBD, where visits are purchases."""
    if not task.is_buying:
        return {}
    last = before.as_of == before.as_of.max()
    fit = fit_bgnbd(buying_of(before.facts[last], before.as_of[last]))
    weeks = task.horizon_days / WEEK_DAYS
    raw = [fit.silent(buying_of(rows.facts, rows.as_of), weeks) for rows in (before, test)]
    return {"BG/NBD": raw[1], "BG/NBD, isotonic": _isotonic(raw[0], before.label, raw[1])}


def record(before: TaskRows, test: TaskRows) -> dict[str, np.ndarray]:
    """Every candidate on the features of the fixed-size record, fitted to the cut-off rows."""
    inputs = [features(rows.facts, rows.as_of) for rows in (before, test)]
    directions = [feature.direction for feature in FEATURES]
    return {
        f"record, {candidate.title}": fitted(
            candidate, directions, SEED, inputs[0], before.label
        ).predict_proba(inputs[1])[:, 1]
        for candidate in CANDIDATES
    }


def history(log: EventLog, before: TaskRows, test: TaskRows) -> dict[str, np.ndarray]:
    """Untuned estimators on features from everything a user ever did."""
    inputs = [history_features(log, rows.user, rows.as_of) for rows in (before, test)]
    found: dict[str, np.ndarray] = {}
    for name, estimator in baselines(SEED).items():
        with threadpool_limits(limits=1):
            estimator.fit(inputs[0], before.label)
        found[name] = estimator.predict_proba(inputs[1])[:, 1]
    return found


def ablation(before: TaskRows, test: TaskRows) -> list[str]:
    """What each part of the record buys: the bounded logistic regression and the boosting with
    that part alone, without it, and the smallest sets built up."""
    inputs = [features(rows.facts, rows.as_of) for rows in (before, test)]

    def cells(parts: Sequence[str]) -> str:
        names = {name for part in parts for name in PARTS[part]}
        kept = [i for i, feature in enumerate(FEATURES) if feature.name in names]
        found = []
        for candidate in CANDIDATES[:2]:
            directions = [FEATURES[i].direction for i in kept]
            estimator = fitted(candidate, directions, SEED, inputs[0][:, kept], before.label)
            got = figures(test.label, estimator.predict_proba(inputs[1][:, kept])[:, 1])
            found.append(f"{_three(got.auc)} / {_three(got.brier)}")
        return " | ".join(found)

    lines = [
        "| part of the record | bytes | logistic: AUC / Brier | boosting: AUC / Brier |",
        "|---|---|---|---|",
        f"| everything | {_bytes(list(PARTS))} | {cells(list(PARTS))} |",
    ]
    for count in range(1, len(BUILD_UP) + 1):
        parts = BUILD_UP[:count]
        lines.append(f"| only {' + '.join(parts)} | {_bytes(parts)} | {cells(parts)} |")
    for part in PARTS:
        rest = [other for other in PARTS if other != part]
        lines.append(f"| without {part} | {_bytes(rest)} | {cells(rest)} |")
    return lines


def lacking(log: EventLog, before: TaskRows, test: TaskRows) -> list[str]:
    """What the record's logistic regression would gain by signs of its own choice, and by each part
    of what only the whole history has."""
    known = [features(rows.facts, rows.as_of) for rows in (before, test)]
    whole = [history_features(log, rows.user, rows.as_of) for rows in (before, test)]

    def cell(columns: Sequence[int], directions: Sequence[int]) -> str:
        inputs = [
            np.hstack([one, other[:, columns]]) for one, other in zip(known, whole, strict=True)
        ]
        free = [0] * len(columns)
        estimator = fitted(CANDIDATES[0], [*directions, *free], SEED, inputs[0], before.label)
        got = figures(test.label, estimator.predict_proba(inputs[1])[:, 1])
        return f"{_three(got.auc)} / {_three(got.brier)}"

    bounded = [feature.direction for feature in FEATURES]
    lines = [
        "| logistic regression on the record | AUC / Brier |",
        "|---|---|",
        f"| as it is | {cell([], bounded)} |",
        f"| without the law of silence (signs free) | {cell([], [0] * len(bounded))} |",
    ]
    for part, columns in HISTORY_PARTS.items():
        lines.append(f"| and {part}, of the whole history | {cell(columns, bounded)} |")
    return lines


def missed(task: Task, got: Figures) -> list[str]:
    """Targets of the task that were not reached."""
    misses = []
    for name, target in task.targets.items():
        value = float(getattr(got, name))
        if value < target if name == "auc" else value > target:
            misses.append(f"{task.title}: {name} {value:.4f}, target {target}")
    return misses


def put_into(path: Path, table: list[str]) -> None:
    """Replace what stands between the two marks of a Markdown file."""
    text = path.read_text(encoding="utf-8")
    start, end = "<!-- bench-model -->", "<!-- /bench-model -->"
    head, rest = text.split(start)
    tail = rest.split(end)[1]
    path.write_text(f"{head}{start}\n{chr(10).join(table)}\n{end}{tail}", encoding="utf-8")


def note(line: str) -> None:
    """Progress, for a person who waits."""
    print(line, file=sys.stderr, flush=True)


def _row(name: str, label: np.ndarray, churn: np.ndarray, weights: np.ndarray) -> str:
    got = figures(label, churn)
    spread = intervals(label, churn, weights)

    def cell(field: str) -> str:
        low, high = spread[field]
        return f"{_three(getattr(got, field))} ({_three(low)} to {_three(high)})"

    floor = calibration_floor(churn, SEED)
    lift = "-" if got.top_decile_lift is None else f"{got.top_decile_lift:.2f}"
    return (
        f"| {name} | {cell('auc')} | {_three(got.average_precision)} | {cell('brier')} | "
        f"{cell('log_loss')} | {_three(got.ece)} ({_three(floor)}) | {lift} |"
    )


def _isotonic(known: np.ndarray, label: np.ndarray, asked: np.ndarray) -> np.ndarray:
    curve: Any = IsotonicRegression(out_of_bounds="clip").fit(known, label)
    return np.asarray(curve.predict(asked))


def _bytes(parts: Sequence[str]) -> int:
    fields = FACTS.fields or {}
    return sum(fields[name][0].itemsize for part in parts for name in BYTES[part])


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}".removeprefix("0")


if __name__ == "__main__":
    raise SystemExit(main())
