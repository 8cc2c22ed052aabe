"""Users of a few visits, for tests of what is said of them."""

from __future__ import annotations

import numpy as np

from contracts.activity import FoldRules
from contracts.events import ACTIVE, EVENT_ROW, NO_VALUE
from contracts.record import blank_facts
from contracts.times import DAY_MS, NEVER
from model.fold import fold

NOON = 1_700_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
RULES = FoldRules()


def visits(*moments: int, **fields: int) -> np.ndarray:
    """EVENT_ROW of page views."""
    rows = np.zeros(len(moments), EVENT_ROW)
    rows["signup_at"], rows["cents"] = NEVER, NO_VALUE
    rows["occurred_at"] = rows["log_time"] = moments
    rows["kind"], rows["pages"], rows["seconds"] = ACTIVE, 3, 240
    rows["id"] = np.arange(len(moments)) + 1
    for name, value in fields.items():
        rows[name] = value
    return rows


def facts_of(*histories: np.ndarray) -> np.ndarray:
    """(n,) FACTS, one user per history."""
    user = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    return fold(blank_facts(len(histories)), np.concatenate(histories), user, RULES)
