"""What fresh facts mean for a user's score and timer. Pure, vectorised over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.events import ACTIVE
from contracts.record import BOOKKEEPING, CANCELLED, CURVE_STALE, ERASED, FACTS
from contracts.times import BACKFILL_MS, NEVER, SESSION_GAP_MS

_BEHAVIOUR = [name for name in FACTS.names or () if name not in BOOKKEEPING]


@dataclass(frozen=True, slots=True)
class Decisions:
    """(n,) arrays, a row per user of the batch."""

    score_now: np.ndarray  # bool: an activity score, as of the log time
    erased: np.ndarray  # bool: a tombstone, everything but the gravestone goes
    due: np.ndarray  # i8: when the silence timer fires
    state: np.ndarray  # u1: OUTLOOK["state"] with CURVE_STALE where facts changed


def differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) whether (n,) FACTS tell of other behaviour; where in the log they are does not count."""
    changed = np.zeros(len(one), bool)
    for name in _BEHAVIOUR:
        different = one[name] != other[name]
        changed |= different.any(axis=1) if different.ndim > 1 else different
    return changed


def decide(before: np.ndarray, after: np.ndarray, rows: np.ndarray, user: np.ndarray) -> Decisions:
    """Compare (n,) RECORD before and (n,) FACTS after folding (m,) EVENT_ROW `rows`.

    Activity scores the user at once and puts the timer to the end of the session. What changes
    facts otherwise (a backfill, an invoice, a profile) triggers no score; its timer comes an hour
    later, so that a long backfill costs one score. What changes nothing moves nothing: a nightly
    export must not disturb a silence.
    """
    facts, outlook = before["facts"], before["outlook"]
    changed = differ(facts, after)
    erased = (after["flags"] & ERASED) != 0

    recent = rows["occurred_at"] >= rows["log_time"] - BACKFILL_MS
    visited = np.zeros(len(after), bool)
    visited[user[(rows["kind"] == ACTIVE) & recent]] = True
    # A user known only by totals has done nothing yet: no model ever learned from such a row.
    seen = (after["last_seen"] != NEVER) & (after["events"] > 0)
    moved = after["last_seen"] > facts["last_seen"]
    visited |= moved & (after["last_seen"] >= after["log_time"] - BACKFILL_MS)
    fresh = changed & visited & seen & ~erased
    cancelled = (after["flags"] & ~facts["flags"] & CANCELLED) != 0

    later = after["log_time"] + BACKFILL_MS
    pending = outlook["due"]
    postponed = np.where((pending != NEVER) & (pending <= later), pending, later)
    due = np.where(changed & seen, postponed, pending)
    due = np.where(fresh, after["last_seen"] + SESSION_GAP_MS, due)
    # Never before the score of this batch: the next score must be the later one.
    told = (fresh | cancelled) & (due != NEVER)
    due = np.where(told, np.maximum(due, after["log_time"] + 1), due)
    return Decisions(
        score_now=(fresh | cancelled) & ~erased,
        erased=erased,
        due=np.where(erased, NEVER, due),
        state=np.where(changed, outlook["state"] | CURVE_STALE, outlook["state"]).astype("u1"),
    )
