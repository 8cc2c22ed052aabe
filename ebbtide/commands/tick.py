"""`ebbtide tick`: tell a pipeline on a stream clock how late it is."""

from __future__ import annotations

import argparse
import asyncio

from contracts.times import from_ms
from ebbtide.feed.kafka import kafka_sink
from ebbtide.feed.options import moment
from runtime.settings import ServiceSettings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `tick` to the command line."""
    parser = subparsers.add_parser(
        "tick",
        help="tell a pipeline on a stream clock how late it is",
        description="Send a clock record to every partition. With EBBTIDE_CLOCK=stream time is "
        "what the log says; this moves it on without anybody doing anything, so that silence shows."
        " Kafka is where EBBTIDE_KAFKA_BOOTSTRAP_SERVERS says.",
    )
    parser.add_argument("until", type=moment, metavar="TIME", help="ISO 8601 or epoch milliseconds")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Send the clock records."""
    return asyncio.run(_tick(ServiceSettings(), args.until))


async def _tick(settings: ServiceSettings, until_ms: int) -> int:
    async with kafka_sink(settings, source="/ebbtide/tick") as sink:
        await sink.tick(until_ms)
    print(f"the log now says {from_ms(until_ms).isoformat()}")
    return 0
