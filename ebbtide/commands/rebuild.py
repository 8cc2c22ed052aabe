"""`ebbtide rebuild`: every record anew from the log, while the scorers run."""

from __future__ import annotations

import argparse
import asyncio

from aiokafka import AIOKafkaConsumer

from contracts.errors import Refused, Unavailable
from runtime.service import started
from runtime.settings import ServiceSettings
from runtime.store import check_policy, connect
from runtime.topic_id import TopicIds
from scorer.rebuild import Rebuild, Rebuilt


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `rebuild` to the command line."""
    parser = subparsers.add_parser(
        "rebuild",
        help="build the records anew from the log",
        description="Fold the log again from its beginning into a new generation of records "
        "beside the one that serves, then let it serve and delete the old one. Scorers may run "
        "meanwhile. Nothing is published. Refuses when Kafka no longer holds everything that is "
        "in the records.",
    )
    parser.add_argument(
        "--accept-truncated", action="store_true",
        help="go ahead although events are gone from Kafka: what they told is lost",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Rebuild; 0 when the new generation serves."""
    try:
        done = asyncio.run(rebuild(ServiceSettings(), accept_truncated=args.accept_truncated))
    except (Refused, Unavailable) as trouble:
        print(f"not rebuilt, and the records that serve are untouched: {trouble}")
        return 1
    print(
        f"{done.events:,} events in {done.seconds:.1f} s "
        f"({done.events / max(done.seconds, 0.001):,.0f}/s); scorers waited "
        f"{done.held_seconds:.2f} s; {done.forgotten:,} records of the old generation deleted"
    )
    return 0


async def rebuild(settings: ServiceSettings, *, accept_truncated: bool = False) -> Rebuilt:
    """Connect and rebuild; raises as `scorer.rebuild.Rebuild.run` does."""
    redis = connect(settings.redis_url)
    topic_ids = TopicIds(settings.kafka_bootstrap_servers)
    try:
        await check_policy(redis)
        source = await started(
            AIOKafkaConsumer(
                bootstrap_servers=settings.kafka_bootstrap_servers,
                auto_offset_reset="none",
                enable_auto_commit=False,
                isolation_level="read_committed",
                max_partition_fetch_bytes=4 * 1024 * 1024,
            )
        )
        try:
            work = Rebuild(settings, redis, source, topic_ids, say=print)
            return await work.run(accept_truncated=accept_truncated)
        finally:
            await source.stop()
    finally:
        await topic_ids.close()
        await redis.aclose()
