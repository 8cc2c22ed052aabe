"""Which event types count as the user doing something.

Fold, labels and alerts share this rule, and Redis pins its digest: another rule gives other
facts, so changing it is a rebuild.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

import numpy as np

from contracts.times import DAY_MS

DEFAULT_PASSIVE_TYPES = (
    "subscription_cancelled",
    "return",
    "email_*",
    "invoice_*",
    "payment_*",
    "system_*",
)


@dataclass(frozen=True)
class FoldRules:
    """What `fold` may be told: everything else in it is fixed.

    passive_types: shell patterns of types that do not count as activity.
    retention_ms: an event later than last-seen plus this starts the user's facts anew.
    """

    passive_types: tuple[str, ...] = DEFAULT_PASSIVE_TYPES
    retention_ms: int = 730 * DAY_MS

    def is_activity(self, event_type: str) -> bool:
        """Whether an event of this type means the user was there."""
        return _is_activity(self.passive_types, event_type)

    def expiry(self, last_seen: np.ndarray) -> np.ndarray:
        """(n,) epoch ms from which on an event would start anew; last_seen: (n,), not NEVER."""
        return last_seen + self.retention_ms + 1

    @property
    def digest(self) -> str:
        """Sixteen hex digits that change with any rule; pinned in Redis and in manifests."""
        text = "\n".join([*sorted(self.passive_types), str(self.retention_ms)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def _is_activity(passive_types: tuple[str, ...], event_type: str) -> bool:
    return not any(fnmatchcase(event_type, pattern) for pattern in passive_types)
