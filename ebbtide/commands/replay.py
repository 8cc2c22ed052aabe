"""`ebbtide replay`: send a recorded log, in order, and go on where it was interrupted."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ebbtide.feed.flow import feed
from ebbtide.feed.options import add_targets, moment, open_sink, speed
from ebbtide.feed.pace import Pace
from ebbtide.feed.records import Sendable, recorded
from ebbtide.feed.report import Report
from ebbtide.feed.resume import Progress, default_path, identify, input_name, open_progress
from ebbtide.feed.sink import Refusal
from ebbtide.feed.stopping import STOPPED_EXIT_CODE, stopping_on_signals
from runtime.clock import wall_ms


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `replay` to the command line."""
    parser = subparsers.add_parser(
        "replay",
        help="send recorded events, in order",
        description="Send recorded events in the order they were received (`received_at`), or else "
        "occurred. Interrupted, it goes on "
        "where it was when started again with the same files and target.",
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help=".csv, .jsonl, .parquet"
    )
    add_targets(parser.add_mutually_exclusive_group(required=True))
    parser.add_argument(
        "--speed-up", type=speed, metavar="X",
        help="recorded time runs X times as fast as real time (default: as fast as possible)",
    )  # fmt: skip
    parser.add_argument(
        "--until", type=moment, metavar="TIME",
        help="send what is earlier, then say on Kafka that it is this late (default: the end)",
    )  # fmt: skip
    parser.add_argument(
        "--resume-file", type=Path, metavar="PATH",
        help="where progress is kept (default: a file per input and target in .ebbtide/)",
    )  # fmt: skip
    parser.add_argument(
        "--restart", action="store_true", help="send everything again, whatever was acknowledged"
    )
    parser.set_defaults(run=run, command="replay")


def run(args: argparse.Namespace) -> int:
    """Send what is not yet acknowledged; 130 when stopped, 1 when some events were refused."""
    return asyncio.run(_replay(args))


async def _replay(args: argparse.Namespace) -> int:
    report = Report("replay", wall_ms)
    files = identify(args.files)
    records, order = recorded(args.files, input_name(files), progress=report.reading)
    if not records:
        report.say("nothing to send: the input holds no events")
        return 0
    report.say(f"in the order of {order}")
    end_ms = records[-1].ms + 1 if args.until is None else args.until
    with stopping_on_signals() as stopping:
        async with open_sink(args, stopping) as sink:
            path = args.resume_file or default_path(Path(".ebbtide"), files, sink.target)
            progress = open_progress(path, files, sink, restart=args.restart)
            if progress.acknowledged:
                report.say(
                    f"{progress.acknowledged:,} of {len(records):,} events were acknowledged "
                    f"before ({path}); going on after them"
                )
            remaining = list(progress.remaining(records))
            report.begin()
            finished = await feed(
                remaining,
                sink,
                pace=Pace(args.speed_up, from_ms=remaining[0].ms if remaining else end_ms),
                end_ms=end_ms,
                now_ms=wall_ms,
                pause=stopping.pause,
                watcher=_Both(progress, report),
            )
    report.end()
    if not finished:
        report.say("stopped; the same command goes on from here")
        return STOPPED_EXIT_CODE
    return 1 if report.refused_count else 0


@dataclass(frozen=True)
class _Both:
    """Progress first: what is reported is safely written down."""

    progress: Progress
    report: Report

    def sent(self, chunk: Sequence[Sendable], refusals: Sequence[Refusal]) -> None:
        self.progress.acknowledge(chunk)
        self.report.sent(chunk, refusals)
