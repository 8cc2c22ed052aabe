"""Snapshots that `/predict` passes on: queued, published in the background, dropped when late.

They were never accepted, so nobody waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from contracts.errors import BadRecord
from contracts.events import ActivityEvent
from ingest_api.inputs import PredictRequest
from ingest_api.log import ActivityLog
from ingest_api.metrics import GatewayMetrics
from ingest_api.problems import NotAcknowledged
from ingest_api.publishing import EventWriter

logger = structlog.get_logger(__name__)

QUEUED_MOST: Final = 10_000
PUBLISHED_MOST: Final = 500


class Snapshots:
    """A bounded queue between `/predict` and Kafka."""

    def __init__(
        self,
        log: ActivityLog,
        writer: EventWriter,
        metrics: GatewayMetrics,
        now: Callable[[], int],
        *,
        room: int = QUEUED_MOST,
    ) -> None:
        self._log = log
        self._writer = writer
        self._metrics = metrics
        self._now = now
        self._queue: asyncio.Queue[tuple[PredictRequest, int]] = asyncio.Queue(room)

    def offer(self, request: PredictRequest) -> None:
        """Queue the totals of a request that names its user; never waits."""
        if request.user_id is None:
            return
        try:
            self._queue.put_nowait((request, self._now()))
        except asyncio.QueueFull:
            self._metrics.snapshots_dropped.inc()

    async def run(self) -> None:
        """Publish what is queued until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < PUBLISHED_MOST and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._publish(batch)

    async def _publish(self, batch: list[tuple[PredictRequest, int]]) -> None:
        try:
            messages = [
                self._writer.message(snapshot(request), received) for request, received in batch
            ]
            await self._log.publish(messages)
        except NotAcknowledged as error:
            self._metrics.snapshots_dropped.inc(len(batch) - error.acknowledged)
            logger.debug("snapshots_dropped", reason=str(error))
        except BadRecord as error:
            self._metrics.snapshots_dropped.inc(len(batch))
            logger.warning("snapshots_refused", reason=str(error))


def snapshot(request: PredictRequest) -> ActivityEvent:
    """The totals as an event; the request's limits are the event's, so it is a valid one."""
    assert request.user_id is not None
    return ActivityEvent(
        user_id=request.user_id,
        type="snapshot",
        pages_visited=request.pages_visited,
        time_spent=request.time_spent,
        days_since_signup=request.days_since_signup,
        is_logged_in=request.is_logged_in,
        location=request.location,
        referral_source=request.referral_source,
        device_type=request.device_type,
    )
