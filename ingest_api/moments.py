"""What "now" is: this machine's clock or, replaying, how far the log has come."""

from __future__ import annotations

import asyncio
from typing import Final

import numpy as np

from contracts.errors import StoreUnavailable
from ingest_api.records import UserReader
from runtime.clock import wall_ms

REFRESH_SECONDS: Final = 1.0


class StreamNow:
    """The latest partition clock, refreshed in the background.

    For what states no time of its own while a log is replayed: at this machine's time it would
    push the stream into the replay's future, where everybody has long fallen silent. Before the
    log has a clock it is this machine's.
    """

    def __init__(self, users: UserReader) -> None:
        self._users = users
        self._latest: int | None = None

    def __call__(self) -> int:
        return wall_ms() if self._latest is None else self._latest

    async def run(self) -> None:
        """Refresh until cancelled; while Redis is away the last clock stands."""
        while True:
            try:
                clocks = await self._users.clocks()
                self._latest = max(clocks.values(), default=self._latest)
            except StoreUnavailable:
                pass
            await asyncio.sleep(REFRESH_SECONDS)


def of_users(records: np.ndarray, clocks: dict[int, int]) -> np.ndarray:
    """(n,) i8 ms: how far time has come in each user's home, never before their last record."""
    latest = max(clocks.values(), default=0)
    homes = [clocks.get(int(home), latest) for home in records["outlook"]["home"]]
    return np.asarray(np.maximum(homes, records["facts"]["log_time"]), np.int64)
