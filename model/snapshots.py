"""Folding snapshots: totals a system of record states of a user."""

from __future__ import annotations

import numpy as np

from contracts.activity import FoldRules
from contracts.decay import decay
from contracts.record import SEEN_BY_SNAPSHOT
from contracts.times import DAY_MS, NEVER
from model.expiry import expire
from model.ring import advance_ring
from model.rows import put, take
from model.statements import fold_statements


def fold_snapshots(facts: np.ndarray, events: np.ndarray, rules: FoldRules) -> None:
    """Fold one snapshot into each row of `facts`, in place.

    facts: (m,) FACTS; events: (m,) EVENT_ROW. A repeated export whose totals did not rise changes
    nothing but where we are in the log.
    """
    occurred_at = events["occurred_at"]
    last_seen = facts["last_seen"]
    expired = (last_seen != NEVER) & (occurred_at > last_seen + rules.retention_ms)
    if expired.any():
        expire(facts, np.flatnonzero(expired))

    rose = np.zeros(len(facts), np.bool_)
    for name in ("pages", "seconds"):
        base = facts[f"{name}_base"].astype(np.int64)
        claim = np.maximum(base, events[name].astype(np.int64) - facts[name])
        rose |= claim > base
        facts[f"{name}_base"] = claim
    facts["snapshot_at"] = np.maximum(facts["snapshot_at"], occurred_at)
    fold_statements(facts, events, np.arange(len(facts)))

    seen = np.flatnonzero(rose & (occurred_at > facts["last_seen"]))
    if len(seen):
        moved = take(facts, seen)
        _see(moved, occurred_at[seen])
        put(facts, seen, moved)


def _see(facts: np.ndarray, occurred_at: np.ndarray) -> None:
    """Move last-seen without a visit: no session, no gap, no active day."""
    day = occurred_at // DAY_MS
    known = facts["last_seen"] != NEVER
    days = np.where(known, day - facts["last_seen"] // DAY_MS, 0)
    advance_ring(facts, day - days, days)
    for name in ("decayed_days", "decayed_events"):
        facts[name] = decay(facts[name].astype(np.uint64), days)
    facts["last_seen"] = occurred_at
    facts["flags"] |= np.uint8(SEEN_BY_SNAPSHOT)
    facts["first_seen"] = np.where(facts["first_seen"] == NEVER, occurred_at, facts["first_seen"])
