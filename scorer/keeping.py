"""What of users goes into Redis besides watermarks: record, timer and rank, always together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.partition import shard
from contracts.record import HAS_SCORE
from runtime import keys
from runtime.ledger import Effects
from runtime.timers import index_score
from scorer.messages import MICRO


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
    """Add users to what a save writes.

    records: (n,) RECORD; homes: the partition of each; gone: (n,) bool, who is in no list of users
    any more (erased, expired).
    """
    outlook = records["outlook"]
    size = records.dtype.itemsize
    packed = records.tobytes()
    due = outlook["due"].tolist()
    ranked = (((outlook["state"] & HAS_SCORE) != 0) & ~gone).tolist()
    risk = (outlook["probability"] / MICRO).tolist()
    for i, user_id in enumerate(user_ids):
        at = shard(user_id)
        effects.put(keys.record(user_id, generation), packed[i * size : (i + 1) * size], ttl_ms)
        effects.index(keys.timers(at, homes[i], generation), user_id, index_score(due[i]))
        effects.index(keys.rank(at, generation), user_id, risk[i] if ranked[i] else None)
