"""Longer silence never lowers the risk: looked for on models trained on the public logs.

    python -m bench.silence_law --data FOLDER [--users 200]

Of each log: what `train` ships and every candidate, fitted to the log's rows, and a boosting whose
trees are free to do otherwise, to show that the search finds falls where there are any. Users as
they stood in the middle and at the end of the log, had they never come back: their score every
hour to the end of the silence grid, at the end of the session, and around every midnight.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from bench.tasks import TASKS, Task
from contracts.activity import FoldRules
from contracts.record import blank_facts
from contracts.times import DAY_MS, HOUR_MS, NEVER, SESSION_GAP_MS
from model.artefact import Model
from model.candidates import CANDIDATES, fitted
from model.dataset import draw_moments, facts_at, replay
from model.event_log import EventLog, load_event_log
from model.features import FEATURES
from model.training import TrainingSettings, log_ends, train, usable_window

RULES: Final = FoldRules()
SEED: Final = 0
ROWS: Final = 20_000
USERS_AT_ONCE: Final = 20
LAWFUL: Final = tuple(feature.direction for feature in FEATURES)
FREE: Final = (0,) * len(FEATURES)
CHECKED: Final = ("mathoverflow-28", "retail-90")
UNBOUND: Final = "boosting without constraints"


@dataclass(frozen=True)
class Falls:
    """What was found on the silent futures of some users."""

    users: int
    instants: int
    falls: int
    users_with_one: int
    largest: float
    """The deepest a score lies below an earlier one of the same silence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; 1 when a model that is bound to the law breaks it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("EBBTIDE_DATA"))
    parser.add_argument("--users", type=int, default=200, help="per moment (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("--data FOLDER, or EBBTIDE_DATA, says where the two logs are")
    print("| log | model | users | instants | falls | users with one | largest |")
    print("|---|---|---|---|---|---|---|")
    is_broken = False
    for task in (task for task in TASKS if task.name in CHECKED):
        log = load_event_log([args.data / task.file], RULES)
        facts = people(log, args.users)
        for name, model in models(log, task):
            found = search(model, facts)
            print(
                f"| {task.title} | {name} | {found.users:,} | {found.instants:,} | "
                f"{found.falls:,} | {found.users_with_one:,} | {found.largest:.4f} |",
                flush=True,
            )
            is_broken |= bool(found.falls) and name != UNBOUND
    return is_broken


def people(log: EventLog, users: int) -> np.ndarray:
    """(n,) FACTS of so many users each as they stood in the middle and at the end of the log."""
    rng = np.random.default_rng(SEED)
    begin, end = log_ends(log)
    found = []
    for moment in ((begin + end) // 2, end):
        facts = blank_facts(len(log.user_ids))
        everybody = np.arange(len(facts))
        for which, part in facts_at(log, everybody, np.full(len(facts), moment), RULES):
            facts[which] = part
        seen = np.flatnonzero(facts["last_seen"] != NEVER)
        found.append(facts[rng.permutation(seen)[:users]])
    return np.concatenate(found)


def models(log: EventLog, task: Task) -> Iterator[tuple[str, Model]]:
    """What `train` ships, then each candidate, then the free boosting."""
    settings = TrainingSettings(task.horizon_days, task.active_days, rows=ROWS, seed=SEED)
    trained = train(log, settings, RULES, origin=task.file, say=_note)
    shipped = Model(trained.manifest, trained.full, trained.inputs)
    chosen = trained.manifest.candidates[trained.manifest.candidate].title
    yield f"**as `train` ships it** ({chosen})", shipped
    rows = replay(log, draw_moments(log, usable_window(log, settings), ROWS, SEED), RULES)
    boosting = next(candidate for candidate in CANDIDATES if candidate.name == "hgb")
    for name, candidate, directions in (
        *((candidate.title, candidate, LAWFUL) for candidate in CANDIDATES),
        (UNBOUND, boosting, FREE),
    ):
        full = fitted(candidate, directions, SEED, rows.features, rows.moments.label)
        yield name, replace(shipped, full=full)


def search(model: Model, facts: np.ndarray) -> Falls:
    """Score every silent future of (n,) FACTS and count where a score is below the one before."""
    instants, falls, users, largest = 0, 0, 0, 0.0
    days = int(model.grid_hours[-1]) // 24
    for start in range(0, len(facts), USERS_AT_ONCE):
        part = facts[start : start + USERS_AT_ONCE]
        moments = np.stack([silent_moments(int(seen), days) for seen in part["last_seen"]])
        everyone = np.repeat(part, moments.shape[1])
        risk = model.score(everyone, moments.ravel()).reshape(moments.shape)
        falling = np.diff(risk, axis=1) < 0
        below = np.maximum.accumulate(risk, axis=1) - risk
        instants += risk.size
        falls += int(falling.sum())
        users += int(falling.any(axis=1).sum())
        largest = max(largest, float(below.max()))
    return Falls(len(facts), instants, falls, users, largest)


def silent_moments(last_seen: int, days: int) -> np.ndarray:
    """Every hour, the end of the session, and a ms before, at and after each midnight, ascending.

    A moment that is two of these stands there twice, so that all users have as many.
    """
    hours = last_seen + np.arange(24 * days + 1) * HOUR_MS
    midnights = (last_seen // DAY_MS + 1 + np.arange(days)) * DAY_MS
    around = (midnights[:, None] + np.array([-1, 0, 1])).ravel()
    ordered: np.ndarray = np.sort(np.concatenate([hours, around, [last_seen + SESSION_GAP_MS]]))
    return ordered


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
