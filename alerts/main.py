"""The alerts worker: reads `churn-score`, writes `churn-alert`."""

from __future__ import annotations

import asyncio

from alerts.handler import AlertsHandler, Desk
from alerts.settings import AlertsSettings
from contracts.topics import ALERTS, SCORES
from runtime import service
from runtime.handler import Handler, Opening, OpenPartition
from runtime.service import Parts, Work

GROUP = "ebbtide-alerts"


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code, 2 when a person has to look."""
    return service.run("alerts", AlertsSettings, serve)


async def serve(settings: AlertsSettings, stop: asyncio.Event) -> None:
    """Work until `stop` is set; raises Misconfigured when a person has to look."""

    async def prepare(parts: Parts) -> OpenPartition:
        return opener(settings, parts)

    await service.work(settings, stop, job(settings), prepare)


def job(settings: AlertsSettings) -> Work:
    """What this worker reads, needs and shows."""
    return Work(
        topic=SCORES,
        group=GROUP,
        rules=settings.fold_rules.digest,
        topics=(SCORES, ALERTS),
        health_host=settings.health_host,
        health_port=settings.alerts_health_port,
    )


def opener(settings: AlertsSettings, parts: Parts) -> OpenPartition:
    """What makes a handler for each partition we come to own."""

    async def open_partition(opening: Opening) -> Handler:
        desk = Desk(
            rule=settings.rule,
            redis=parts.redis,
            ledger=parts.ledger,
            publisher=parts.publisher,
            dead_letters=parts.dead_letters,
            metrics=parts.metrics,
            episode_ttl_ms=settings.record_ttl_ms,
        )
        return AlertsHandler(opening, desk)

    return open_partition
