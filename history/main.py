"""The history worker: reads `churn-score`, keeps trails and counts for whoever looks back."""

from __future__ import annotations

import asyncio

from contracts.topics import SCORES
from history import timeline
from history.handler import Archive, HistoryHandler
from history.settings import HistorySettings
from runtime import service
from runtime.handler import Handler, Opening, OpenPartition
from runtime.service import Parts, Prepare, Work

GROUP = "ebbtide-history"
LEDGER = f"{SCORES}.history"
"""The alerts worker reads the topic, too."""


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code, 2 when a person has to look."""
    return service.run("history", HistorySettings, serve)


async def serve(settings: HistorySettings, stop: asyncio.Event) -> None:
    """Work until `stop` is set; raises Misconfigured when a person has to look."""
    await service.work_together(settings, stop, jobs(settings))


def jobs(settings: HistorySettings) -> list[tuple[Work, Prepare]]:
    """What is read, each with what opens its partitions."""

    async def prepare(parts: Parts) -> OpenPartition:
        return opener(settings, parts)

    return [(job(settings), prepare), *timeline.jobs(settings)]


def job(settings: HistorySettings) -> Work:
    """What this worker reads, needs and shows."""
    return Work(
        topic=SCORES,
        group=GROUP,
        rules=settings.fold_rules.digest,
        topics=(SCORES,),
        health_host=settings.health_host,
        health_port=settings.history_health_port,
        ledger=LEDGER,
        has_time=True,
    )


def opener(settings: HistorySettings, parts: Parts) -> OpenPartition:
    """What makes a handler for each partition we come to own."""
    archive = Archive(
        redis=parts.redis,
        ledger=parts.ledger,
        metrics=parts.metrics,
        points=settings.history_points,
        retention_days=settings.retention_days,
        trail_ttl_ms=settings.trail_ttl_ms,
    )

    async def open_partition(opening: Opening) -> Handler:
        return HistoryHandler(opening, archive)

    return open_partition
