"""What a rebuilt user keeps of the one that serves: scores told, curve, timer. Pure."""

from __future__ import annotations

import numpy as np

from contracts.activity import FoldRules
from contracts.record import CURVE_STALE, ERASED, RECORD
from contracts.times import BACKFILL_MS, NEVER
from scorer.decisions import differ

_FAR = np.iinfo(np.int64).max


def carried(
    facts: np.ndarray, serving: np.ndarray, homes: np.ndarray, changed_rules: FoldRules | None
) -> np.ndarray:
    """(n,) RECORD with (n,) rebuilt FACTS and the outlook of the (n,) RECORD that serves.

    homes: (n,) partition of each; changed_rules: what the facts were folded under, None for the
    rules that serve. Where the facts came out the same the outlook stays to the byte.
    Where they tell of other behaviour (other rules) the last score stays what was told, the curve
    counts as stale, and a timer comes an hour after the last record, behind that score. Another
    retention reaches everybody: who has a score is dropped at its end.
    """
    records = np.empty(len(facts), RECORD)
    records["facts"] = facts
    outlook = serving["outlook"].copy()
    outlook["home"] = homes
    changed = differ(serving["facts"], facts)
    there = (facts["last_seen"] != NEVER) & (facts["events"] > 0) & (facts["flags"] & ERASED == 0)
    outlook["state"] |= np.where(changed, CURVE_STALE, 0).astype("u1")
    pending = np.where(outlook["due"] == NEVER, _FAR, outlook["due"])
    later = np.maximum(facts["log_time"] + BACKFILL_MS, outlook["scored_at"] + 1)
    outlook["due"] = np.where(changed & there, np.minimum(pending, later), outlook["due"])
    outlook["due"] = np.where(there, outlook["due"], NEVER)
    if changed_rules is not None:
        pending = np.where(outlook["due"] == NEVER, _FAR, outlook["due"])
        expiry = changed_rules.expiry(facts["last_seen"])
        outlook["due"] = np.where(there, np.minimum(pending, expiry), NEVER)
    records["outlook"] = outlook
    return records
