"""What a worker tells of itself every few seconds, for whoever looks after the machine."""

from __future__ import annotations

from typing import Final

import msgspec

BEAT_SECONDS: Final = 5.0
"""How often a worker tells."""
SILENT_SECONDS: Final = 3 * BEAT_SECONDS
"""Who has not told for longer is busy with one thing, cut off, or dead."""
REMEMBERED_MS: Final = 15 * 60_000
"""For how long the last word of a worker that died is kept; who ends in order takes it back."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One partition in a worker's hands."""

    topic: str
    ledger: str
    """Under which name its watermarks are kept; the topic's own for most."""
    group: str
    partition: int
    stage: str
    """What its loop is about: `fetching`, `handling`, `held`, ..."""
    still_seconds: float
    """Since a batch was saved or nothing was unread."""
    refusal: str | None = None
    """What Kafka or Redis last answered instead of working."""
    position: int | None = None
    """The next offset to be read."""
    highwater: int | None = None
    """Where the log ended at the last fetch."""
    log_time: int | None = None
    """Epoch ms: of the newest record handled."""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process."""

    id: str
    service: str
    host: str
    pid: int
    version: str
    since: int
    """Epoch ms, as `at`: of its start."""
    at: int
    """When it said this."""
    reasons: dict[str, str]
    """Why it is not ready; empty when it is."""
    partitions: tuple[Standing, ...]
    totals: dict[str, float]
    """What it has done since its start: `events`, `scores`, `alerts`, `deliveries`, `parked` ..."""
    rates: dict[str, float]
    """The same, a second, over the time since it told before; empty the first time."""
    grew_at: dict[str, int]
    """Epoch ms: when each total was last seen to grow, up to BEAT_SECONDS late."""
