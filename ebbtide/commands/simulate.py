"""`ebbtide simulate`: make up a population and its activity."""

from __future__ import annotations

import argparse
import asyncio
import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from contracts.errors import Misconfigured
from contracts.events import ActivityEvent, instant_ms
from contracts.times import DAY_MS, LATEST_MS, from_ms
from ebbtide.feed.flow import feed
from ebbtide.feed.options import add_targets, count, moment, open_sink, speed
from ebbtide.feed.pace import Pace
from ebbtide.feed.records import sendable
from ebbtide.feed.report import Report
from ebbtide.feed.stopping import STOPPED_EXIT_CODE, stopping_on_signals
from model.event_files import format_of, write_events
from model.simulator import Population, churn_dates, simulate
from runtime.clock import wall_ms

_LIVE_DAYS = 3_650


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `simulate` to the command line."""
    parser = subparsers.add_parser(
        "simulate",
        help="make up a population and its activity",
        description="Make up a population with known truth and write or send what it does. "
        "The same users, days, seed and start give the same events.",
    )
    default = Population()
    parser.add_argument(
        "--users", type=count, default=default.users, help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--days", type=count, default=default.days, help="for how long (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=default.seed, help="which population (default: %(default)s)"
    )
    parser.add_argument(
        "--start", type=moment, metavar="TIME", help="when it begins (default: it ends now)"
    )
    parser.add_argument(
        "--until", type=moment, metavar="TIME",
        help="send what is earlier, then say on Kafka that it is this late (default: the end)",
    )  # fmt: skip
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help=".csv, .jsonl (or .gz), .parquet")
    add_targets(target)
    parser.add_argument(
        "--speed-up", type=speed, metavar="X",
        help="simulated time runs X times as fast as real time (default: as fast as possible)",
    )  # fmt: skip
    parser.add_argument(
        "--warm-up-days", type=count, metavar="W", default=0,
        help="the first W days go as fast as possible",
    )  # fmt: skip
    parser.add_argument(
        "--then-live", action="store_true",
        help="when simulated time has reached the present, go on with it, until stopped",
    )  # fmt: skip
    parser.add_argument(
        "--truth", type=Path, metavar="FILE", help="write who left for good, and when, as CSV"
    )
    parser.set_defaults(run=run, command="simulate")


def run(args: argparse.Namespace) -> int:
    """Write or send the population's events; 130 when stopped, 1 when some were refused."""
    if args.out is not None and (args.speed_up or args.then_live or args.warm_up_days):
        raise Misconfigured("a file needs no --speed-up, --warm-up-days or --then-live")
    population = _population(args)
    if args.out is not None:
        format_of(args.out)
    if args.truth is not None:
        write_truth(args.truth, churn_dates(population))
    report = Report("simulate", wall_ms)
    if args.out is not None:
        events = _before(args.until, simulate(population))
        written = write_events(events, args.out, on_progress=report.reading)
        report.say(f"{written:,} events of {population.users:,} users written to {args.out}")
        return 0
    return asyncio.run(_send(args, population, report))


def _population(args: argparse.Namespace) -> Population:
    start = wall_ms() - args.days * DAY_MS if args.start is None else args.start
    days = args.days + (_LIVE_DAYS if args.then_live else 0)
    population = Population(users=args.users, days=days, seed=args.seed, start_ms=start)
    if not 0 <= start <= population.end_ms < LATEST_MS:
        raise Misconfigured("the simulation must lie between 1970 and 2100")
    return population


async def _send(args: argparse.Namespace, population: Population, report: Report) -> int:
    pace = Pace(
        args.speed_up, population.start_ms + args.warm_up_days * DAY_MS, live=args.then_live
    )
    with stopping_on_signals() as stopping:
        async with open_sink(args, stopping) as sink:
            report.begin()
            finished = await feed(
                map(sendable, simulate(population)),
                sink,
                pace=pace,
                end_ms=population.end_ms if args.until is None else args.until,
                now_ms=wall_ms,
                pause=stopping.pause,
                watcher=report,
            )
    report.end()
    if not finished:
        return STOPPED_EXIT_CODE
    return 1 if report.refused_count else 0


def write_truth(path: Path, dates: Mapping[str, int | None]) -> None:
    """Write `user_id,churned_at` for everybody; empty for those still there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("user_id", "churned_at"))
            for user, left in dates.items():
                writer.writerow((user, "" if left is None else from_ms(left).isoformat()))
    except OSError as error:
        raise Misconfigured(f"cannot write {path}: {error.strerror}") from error


def _before(until: int | None, events: Iterable[ActivityEvent]) -> Iterator[ActivityEvent]:
    if until is None:
        return iter(events)
    return takewhile(lambda event: instant_ms(event.occurred_at or 0) < until, events)
