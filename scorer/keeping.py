"""What of users goes into Redis besides watermarks: record, timer and ranks, always together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from contracts.packing import pack
from contracts.partition import SHARDS, shard
from contracts.ranks import has_money, risk_scores, worth_scores
from contracts.record import HAS_SCORE
from runtime import keys
from runtime.ledger import Effects
from runtime.timers import index_score


def keep(
    effects: Effects,
    user_ids: Sequence[str],
    records: np.ndarray,
    *,
    generation: int,
    homes: Sequence[int],
    gone: np.ndarray,
    ttl_ms: int | None,
) -> None:
    """Add users, each named once, to what a save writes.

    records: (n,) RECORD; homes: the partition of each; gone: (n,) bool, who is in no list of users
    any more (erased, expired).
    """
    places = np.array(homes, np.intp) * SHARDS + [shard(user_id) for user_id in user_ids]
    # Users of one index side by side: an operation writes to one index at a time.
    order = np.argsort(places, kind="stable")
    records = records[order]
    outlook = records["outlook"]
    values = pack(records)
    names = [user_ids[i] for i in order.tolist()]
    due = [index_score(moment) for moment in outlook["due"].tolist()]
    unranked = ((outlook["state"] & HAS_SCORE) == 0) | gone[order]
    risk: list[float | None] = risk_scores(records).tolist()
    worth: list[float | None] = worth_scores(records).tolist()
    for i in np.flatnonzero(unranked).tolist():
        risk[i] = worth[i] = None
    # Whoever is taken out may have had money: what is stored of the erased no longer says so.
    of_worth = np.flatnonzero(has_money(records["facts"]) | unranked)
    used, starts = np.unique(places[order], return_index=True)
    bounds = pairwise([*starts.tolist(), len(order)])
    for place, (start, end) in zip(used.tolist(), bounds, strict=True):
        home, at = divmod(place, SHARDS)
        of = names[start:end]
        prefix = keys.record_prefix(at, generation)
        effects.put_all([prefix + name for name in of], values[start:end], ttl_ms)
        effects.index_all(keys.timers(at, home, generation), of, due[start:end])
        effects.index_all(keys.rank(at, generation), of, risk[start:end])
        first, last = np.searchsorted(of_worth, [start, end]).tolist()
        if first < last:
            some = of_worth[first:last].tolist()
            effects.index_all(
                keys.worth(at, generation), [names[i] for i in some], [worth[i] for i in some]
            )
