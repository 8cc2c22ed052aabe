"""The delivery worker: reads `churn-alert`, tells the channels of the policy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from alerts.delivery.dispatch import Around, Dispatcher
from alerts.delivery.http_post import new_client
from alerts.delivery.intake import Counter, Intake
from alerts.delivery.metrics import DeliveryMetrics
from alerts.delivery.senders import Senders
from alerts.delivery.settings import DeliverySettings
from alerts.delivery.shelf import RedisShelf
from alerts.policy_source import PolicySource
from alerts.rules import Policy
from contracts.times import SECOND_MS
from contracts.topics import ALERTS
from runtime import service
from runtime.clock import wall_ms
from runtime.handler import Handler, Opening, OpenPartition
from runtime.service import Parts, Work
from runtime.store import connect
from runtime.unmoved import Unmoved

GROUP = "ebbtide-delivery"


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code, 2 when a person has to look."""
    return service.run("delivery", DeliverySettings, serve)


async def serve(
    settings: DeliverySettings, stop: asyncio.Event, now_ms: Callable[[], int] = wall_ms
) -> None:
    """Work until `stop` is set; raises Misconfigured when a person has to look."""
    source = PolicySource(settings.alert_policy, settings.policy)

    def policy() -> Policy:
        return source.current(wall_ms())

    client = new_client()
    # A client of its own: the intake takes a new one when it starts again after a stall.
    redis = connect(settings.redis_url)
    dispatching: asyncio.Task[None] | None = None
    dispatcher: Dispatcher
    deliveries: DeliveryMetrics

    async def prepare(parts: Parts) -> OpenPartition:
        nonlocal dispatching, dispatcher, deliveries
        if dispatching is None:
            source.tell_broken = parts.metrics.policy_broken.set
            deliveries = DeliveryMetrics(parts.metrics.registry)
            dispatcher = Dispatcher(
                Around(
                    shelf=RedisShelf(redis),
                    sender=Senders(client, settings.public_url, os.environ),
                    policy=policy,
                    metrics=deliveries,
                    public_url=settings.public_url,
                    clock=settings.clock,
                    now_ms=now_ms,
                    lease_ms=round(settings.delivery_lease_seconds * SECOND_MS),
                )
            )
            dispatching = asyncio.create_task(dispatcher.run(stop, parts.health))
            # Half of the worker is none: a bug in the dispatcher ends it.
            dispatching.add_done_callback(lambda _: stop.set())
        counter = Counter(
            policy=policy,
            unmoved=Unmoved(parts.redis, ALERTS),
            ledger=parts.ledger,
            dead_letters=parts.dead_letters,
            metrics=parts.metrics,
            deliveries=deliveries,
            came=dispatcher.wake,
            now_ms=now_ms,
        )

        async def open_partition(opening: Opening) -> Handler:
            return Intake(opening, counter)

        return open_partition

    try:
        await service.work(settings, stop, job(settings), prepare)
    finally:
        stop.set()
        try:
            if dispatching is not None:
                await dispatching
        finally:
            await client.aclose()
            await redis.aclose()


def job(settings: DeliverySettings) -> Work:
    """What this worker reads, needs and shows."""
    return Work(
        topic=ALERTS,
        group=GROUP,
        rules=settings.fold_rules.digest,
        topics=(ALERTS,),
        health_host=settings.health_host,
        health_port=settings.delivery_health_port,
    )
