"""`ebbtide alerts deliveries`: what was told to whom, what waits, what failed and why."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `alerts deliveries` to the command line."""
    parser = actions.add_parser(
        "deliveries",
        help="what was told to whom, what waits, what failed and why",
        description="The latest deliveries, the newest first: one for each alert and channel.",
    )
    parser.add_argument("--state", default="", help="only those, such as dead, waiting or held")
    parser.add_argument("--channel", default="", help="only of this channel")
    parser.add_argument("--user", default="", help="only about this user")
    parser.add_argument("--limit", type=int, default=50, help="how many to look at (default 50)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, all of it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the deliveries; 0."""
    return asyncio.run(_list(args))


async def _list(args: argparse.Namespace) -> int:
    from runtime.deliveries import Deliveries  # noqa: PLC0415  (heavy, and not for --help)
    from runtime.settings import ServiceSettings  # noqa: PLC0415
    from runtime.store import connect  # noqa: PLC0415

    redis = connect(ServiceSettings().redis_url)
    try:
        slips = await Deliveries(redis).latest(max(args.limit, 0))
    finally:
        await redis.aclose()
    told = [described(slip.row) for slip in slips]
    wanted = [
        row
        for row in told
        if args.state in ("", row["state"])
        and args.channel in ("", row["channel"])
        and args.user in ("", row["user_id"])
    ]
    for row in wanted:
        print(json.dumps(row) if args.json else line(row))
    print(f"{len(wanted)} deliveries", file=sys.stderr)
    return 0


def described(row: Any) -> dict[str, Any]:
    """A delivery without its content."""
    from contracts.times import from_ms  # noqa: PLC0415

    names = ("row_id", "message_id", "channel", "kind", "user_id", "dedup_key", "rule", "label")
    more = ("severity", "state", "reason", "attempts", "repeats", "under_way")
    told = {name: getattr(row, name) for name in (*names, *more)}
    for name in ("due", "created", "updated"):
        told[name] = from_ms(getattr(row, name)).isoformat()
    return told


def line(row: dict[str, Any]) -> str:
    """A delivery on one line."""
    state = f"under way since {row['updated']}" if row["under_way"] else row["state"]
    when = f", due {row['due']}" if row["state"] in ("waiting", "digest") else ""
    reason = f": {row['reason']}" if row["reason"] else ""
    counted = f"{row['attempts']} attempt{'' if row['attempts'] == 1 else 's'}"
    repeats = f", {row['repeats']} perhaps repeated" if row["repeats"] else ""
    return (
        f"{row['updated']}  {row['row_id']}  {row['label']}  {row['user_id'] or '-'}  "
        f"{state}{when} ({counted}{repeats}){reason}"
    )
