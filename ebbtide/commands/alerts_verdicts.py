"""`ebbtide alerts verdicts`: what people said the alerts were worth, as labels."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `alerts verdicts` to the command line."""
    parser = actions.add_parser(
        "verdicts",
        help="what people said the alerts were worth",
        description="The verdict that stands on each episode (POST /alerts/ID/verdict), the "
        "earliest first. As --json it is what `ebbtide train --use-verdicts FILE.jsonl` reads.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print them; how many of each there are goes to standard error."""
    import msgspec  # noqa: PLC0415  (heavy, and not for --help)

    from ebbtide.verdicts import given, standing  # noqa: PLC0415
    from runtime.settings import ServiceSettings  # noqa: PLC0415

    labels = standing(asyncio.run(given(ServiceSettings())))
    for label in labels:
        if args.json:
            print(msgspec.json.encode(label).decode())
        else:
            at = label.at.isoformat(timespec="seconds")
            print(
                f"{at}  {label.verdict:9}  {label.user_id!r}  {label.actor}  {label.note}".rstrip()
            )
    counts = Counter(label.verdict for label in labels)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    print(f"{len(labels)} verdicts{': ' if told else ''}{told}", file=sys.stderr)
    return 0
