"""The one function that turns a log into facts: live scoring and training both call it.

`fold` is a left fold in log order, so where a log is cut into batches makes no difference, to the
byte: fold(fold(s, a), b) == fold(s, a + b). docs/decisions/0002-fold.md says what an event means.

Users do not touch each other, so a batch is folded for all of them at once: per user a batch is a
chain of runs, each of which changes facts by a closed formula (`model.visits` for events,
`model.snapshots` for a snapshot), and pass k applies the k-th run of every user.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.activity import FoldRules
from contracts.events import SNAPSHOT, TOMBSTONE
from contracts.record import ERASED, blank_facts
from model.ids import kept, remember
from model.rows import copy, put, take
from model.snapshots import fold_snapshots
from model.visits import fold_visits

_BLOCK: Final = 1 << 20
"""Users folded at once: `model.visits` packs a user's number and a time into 63 bits."""


def fold(facts: np.ndarray, events: np.ndarray, user: np.ndarray, rules: FoldRules) -> np.ndarray:
    """Return the facts after `events`; the input stays as it was.

    facts: (n_users,) contracts.record.FACTS; events: (n_events,) contracts.events.EVENT_ROW in
    log order, times in [EARLIEST_MS, LATEST_MS + a day); user: (n_events,) index into facts.
    """
    after = copy(facts)
    for start in range(0, len(facts) if len(events) else 0, _BLOCK):
        block = after[start : start + _BLOCK]
        if len(facts) <= _BLOCK:
            _fold_block(block, events, user, rules)
        else:
            inside = np.flatnonzero((user >= start) & (user < start + _BLOCK))
            if len(inside):
                _fold_block(block, take(events, inside), user[inside] - start, rules)
    return after


def _fold_block(facts: np.ndarray, events: np.ndarray, user: np.ndarray, rules: FoldRules) -> None:
    """Fold into `facts` in place, gathering and scattering only the users touched."""
    # A narrow key makes numpy's stable sort a radix sort.
    order = np.argsort(user.astype(np.min_scalar_type(len(facts))), kind="stable")
    events = take(events, order)
    user = user[order]
    last = np.append(np.flatnonzero(user[1:] != user[:-1]), len(user) - 1)
    touched = user[last]
    at = np.repeat(np.arange(len(last)), np.diff(last, prepend=-1))

    state = take(facts, touched)
    _move_position(state, events, last)
    events, at = _after_tombstones(state, events, at)
    keep = kept(state, events["id"], at)
    if not keep.all():
        events, at = take(events, keep), at[keep]
    remember(state, events["id"], at)
    _fold_runs(state, events, at, rules)
    put(facts, touched, state)


def _move_position(state: np.ndarray, events: np.ndarray, last: np.ndarray) -> None:
    """Every record moves the position, also one that counts nothing."""
    state["log_number"] = events["log_number"][last]
    state["offset"] = events["offset"][last]
    first = np.append(0, last[:-1] + 1)
    latest = np.maximum.reduceat(events["log_time"], first)
    state["log_time"] = np.maximum(state["log_time"], latest)


def _after_tombstones(
    state: np.ndarray, events: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Blank the users a tombstone erases, and drop what came before it: nothing of it is left."""
    tombs = np.flatnonzero(events["kind"] == TOMBSTONE)
    if not len(tombs):
        return events, at
    erased = np.unique(at[tombs])
    grave = blank_facts(len(erased))
    for name in ("log_number", "offset", "log_time"):
        grave[name] = state[name][erased]
    grave["flags"] = ERASED
    state[erased] = grave

    newest = np.full(len(state), -1)
    newest[at[tombs]] = tombs  # of repeated indices the last one stays
    rest = np.arange(len(at)) > newest[at]
    return take(events, rest), at[rest]


def _fold_runs(state: np.ndarray, events: np.ndarray, at: np.ndarray, rules: FoldRules) -> None:
    """Apply the k-th run of every user, for each k: a snapshot is a run of its own."""
    if not len(events):
        return
    is_snapshot = events["kind"] == SNAPSHOT
    if not is_snapshot.any():
        _fold_run(state, events, at, rules, snapshots=False)
        return
    # Even runs hold events, odd ones a snapshot; a user may skip an even one.
    seen = np.cumsum(is_snapshot)
    first = np.flatnonzero(np.diff(at, prepend=-1))
    before_user = np.repeat(seen[first] - is_snapshot[first], np.diff(np.append(first, len(at))))
    run = 2 * (seen - before_user) - is_snapshot
    order = np.argsort(run, kind="stable")
    bounds = np.flatnonzero(np.diff(run[order], prepend=-1))
    for start, end in zip(bounds, [*bounds[1:], len(order)], strict=True):
        chosen = order[start:end]
        odd = bool(run[chosen[0]] % 2)
        _fold_run(state, take(events, chosen), at[chosen], rules, snapshots=odd)


def _fold_run(
    state: np.ndarray, events: np.ndarray, at: np.ndarray, rules: FoldRules, *, snapshots: bool
) -> None:
    new = np.diff(at, prepend=-1) != 0
    rows = at[new]
    run = state if len(rows) == len(state) else take(state, rows)
    # Whoever writes after a tombstone starts anew.
    run["flags"] &= ~np.uint8(ERASED)
    if snapshots:
        fold_snapshots(run, events, rules)
    else:
        fold_visits(run, events, np.cumsum(new) - 1, rules)
    if run is not state:
        put(state, rows, run)
