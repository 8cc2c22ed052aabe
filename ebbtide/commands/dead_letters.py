"""`ebbtide dead-letters`: look at what could not be read, and let held partitions go on."""

from __future__ import annotations

import argparse
import asyncio
import sys

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.errors import LogUnavailable
from contracts.topics import ACTIVITY, SCORES, dead_letter
from runtime.dead_letters import accept
from runtime.kafka import at_end
from runtime.settings import ServiceSettings
from runtime.store import connect

_SHOWN_BYTES = 80


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `dead-letters` to the command line."""
    parser = subparsers.add_parser(
        "dead-letters",
        help="look at what could not be read, and accept it",
        description="`list` shows parked records with their place and reason. `accept` lets "
        "partitions go on that wait since a long run of bad records.",
    )
    parser.add_argument("action", choices=("list", "accept"))
    parser.add_argument(
        "--topic", choices=(ACTIVITY, SCORES), default=ACTIVITY, help="whose dead letters"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List or accept."""
    settings = ServiceSettings()
    if args.action == "list":
        return asyncio.run(_list(settings, args.topic))
    return asyncio.run(_accept(settings, args.topic))


async def _accept(settings: ServiceSettings, topic: str) -> int:
    redis = connect(settings.redis_url)
    try:
        held = await accept(redis, topic)
    finally:
        await redis.aclose()
    for partition, mark in sorted(held.items()):
        print(f"{topic} partition {partition} goes on at {mark}")
    if not held:
        print("nothing was waiting")
    return 0


async def _list(settings: ServiceSettings, topic: str) -> int:
    name = dead_letter(topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="none"
    )
    count = 0
    try:
        await consumer.start()
        if name not in await consumer.topics():
            print(f"there is no topic {name}: nothing was ever parked", file=sys.stderr)
            return 0
        partitions = [TopicPartition(name, p) for p in range(settings.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while not await at_end(consumer, partitions):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                for record in batch:
                    headers = dict(record.headers)
                    source = headers.get("ebbtide-source", b"?").decode()
                    reason = headers.get("ebbtide-reason", b"?").decode()
                    print(f"{source}  {reason}  {(record.value or b'')[:_SHOWN_BYTES]!r}")
                    count += 1
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"Kafka, reading {name}: {error!r}") from error
    finally:
        await consumer.stop()
    print(f"{count} dead letters", file=sys.stderr)
    return 0
