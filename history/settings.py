"""What the history worker reads from its environment."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from contracts.times import DAY_MS
from runtime.settings import ServiceSettings

GRACE_DAYS: Final = 31


class HistorySettings(ServiceSettings):
    """How much is kept, and where health is served."""

    history_points: Annotated[int, Field(ge=0, le=1_000)] = 40
    """Scores kept of each user: a quarter the last ones, the others a day's highest and last. Each
    takes 8 bytes. 0 keeps none; the population is counted all the same."""

    timeline_events: Annotated[int, Field(ge=0, le=500)] = 40
    """Events kept of each user, some 15 bytes each. 0 keeps none, and does not read them."""

    history_health_port: Annotated[int, Field(ge=0, le=65535)] = 8004
    """Port of /livez, /readyz and /metrics."""

    health_host: str = "127.0.0.1"
    """Address they listen on."""

    @property
    def trail_ttl_ms(self) -> int:
        """Lifetime of a trail after its last score: longer than its user is counted."""
        return (self.retention_days + GRACE_DAYS) * DAY_MS
