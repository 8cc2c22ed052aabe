"""What `simulate` and `replay` share on the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from contracts.times import EARLIEST_MS, LATEST_MS, to_ms
from ebbtide.feed.http import Connection, HttpSink, events_url
from ebbtide.feed.kafka import kafka_sink
from ebbtide.feed.sink import Sink
from ebbtide.feed.stopping import Stopping
from runtime.settings import ServiceSettings


def add_targets(parser: argparse._MutuallyExclusiveGroup) -> None:
    """Where to send."""
    parser.add_argument(
        "--http",
        metavar="URL",
        help="a gateway, e.g. http://127.0.0.1:8000 (its key: EBBTIDE_API_KEY)",
    )
    parser.add_argument("--kafka", metavar="BOOTSTRAP", help="Kafka, host:port separated by commas")


@asynccontextmanager
async def open_sink(args: argparse.Namespace, stopping: Stopping) -> AsyncIterator[Sink]:
    """Connect to what --http or --kafka names."""
    if args.http is not None:
        url = events_url(args.http)
        connection = Connection(url, key=os.environ.get("EBBTIDE_API_KEY"))
        try:
            yield HttpSink(connection.post, stopping.pause, target=url)
        finally:
            connection.close()
        return
    settings = ServiceSettings(kafka_bootstrap_servers=args.kafka)
    async with kafka_sink(settings, source=f"/ebbtide/{args.command}") as sink:
        yield sink


def moment(text: str) -> int:
    """Read ISO 8601 (UTC where no zone is given) or epoch milliseconds as ms, for argparse."""
    try:
        if text.isdecimal():
            ms = int(text)
        else:
            parsed = datetime.fromisoformat(text)
            ms = to_ms(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
    except ValueError:
        ms = -1
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time between 1970 and 2100, for example 2026-01-31T12:00:00Z"
        )
    return ms


def speed(text: str) -> float:
    """Read a speed-up for argparse: 60 means a minute of simulated time per second."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no speed-up; give a number above 0")
    return value


def count(text: str) -> int:
    """Read a number of users or days for argparse."""
    if not text.isdecimal() or not 1 <= int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
