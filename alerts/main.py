"""The alerts worker: reads `churn-score` and `alert-command`, writes `churn-alert`."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from alerts.handler import AlertsHandler, Desk
from alerts.inbox import Intake
from alerts.policy_source import PolicySource
from alerts.policy_told import PolicyTold
from alerts.settings import AlertsSettings
from contracts.topics import ALERTS, COMMANDS, SCORES
from runtime import service
from runtime.clock import wall_ms
from runtime.handler import Handler, Opening, OpenPartition
from runtime.service import Parts, Prepare, Work
from runtime.unmoved import Unmoved

GROUP = "ebbtide-alerts"
COMMANDS_GROUP = "ebbtide-alerts-commands"


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code, 2 when a person has to look."""
    return service.run("alerts", AlertsSettings, serve)


async def serve(settings: AlertsSettings, stop: asyncio.Event) -> None:
    """Work until `stop` is set; raises Misconfigured when a person has to look."""
    await service.work_together(settings, stop, jobs(settings))


def jobs(settings: AlertsSettings) -> list[tuple[Work, Prepare]]:
    """The scores and the commands, each with what opens its partitions.

    Raises Misconfigured when the policy file is of no use.
    """
    source = PolicySource(settings.alert_policy, settings.policy)
    bell: set[int] = set()

    async def prepare_scores(parts: Parts) -> OpenPartition:
        return opener(settings, parts, source, bell)

    async def prepare_commands(parts: Parts) -> OpenPartition:
        return intake(parts, bell)

    return [(job(settings), prepare_scores), (commands_job(settings), prepare_commands)]


def job(settings: AlertsSettings) -> Work:
    """What this worker reads, needs and shows."""
    return Work(
        topic=SCORES,
        group=GROUP,
        rules=settings.fold_rules.digest,
        topics=(SCORES, ALERTS, COMMANDS),
        health_host=settings.health_host,
        health_port=settings.alerts_health_port,
    )


def commands_job(settings: AlertsSettings) -> Work:
    """What it reads beside the scores."""
    return replace(job(settings), topic=COMMANDS, group=COMMANDS_GROUP, has_time=True)


def opener(
    settings: AlertsSettings,
    parts: Parts,
    source: PolicySource | None = None,
    bell: set[int] | None = None,
) -> OpenPartition:
    """What makes a handler for each partition of the scores we come to own."""
    source = source or PolicySource(settings.alert_policy, settings.policy)
    source.tell_broken = parts.metrics.policy_broken.set
    desk = Desk(
        policy=source.current,
        redis=parts.redis,
        unmoved=Unmoved(parts.redis, SCORES),
        ledger=parts.ledger,
        publisher=parts.publisher,
        dead_letters=parts.dead_letters,
        metrics=parts.metrics,
        episode_ttl_ms=settings.record_ttl_ms,
        bell=set() if bell is None else bell,
        tell=PolicyTold(parts.redis, wall_ms).tell,
    )

    async def open_partition(opening: Opening) -> Handler:
        return AlertsHandler(opening, desk)

    return open_partition


def intake(parts: Parts, bell: set[int]) -> OpenPartition:
    """What makes a handler for each partition of the commands."""

    async def open_partition(opening: Opening) -> Handler:
        return Intake(
            opening,
            ledger=parts.ledger,
            publisher=parts.publisher,
            dead_letters=parts.dead_letters,
            metrics=parts.metrics,
            redis=parts.redis,
            topic=SCORES,
            bell=bell,
        )

    return open_partition
