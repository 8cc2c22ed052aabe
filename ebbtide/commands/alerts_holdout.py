"""`ebbtide alerts holdout`: how many alerts an experiment takes, said before it is begun."""

from __future__ import annotations

import argparse
import json
import sys

from contracts.errors import Misconfigured


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `alerts holdout` to the command line."""
    parser = actions.add_parser(
        "holdout",
        help="how many alerts it takes to know what alerts do",
        description="How many alerts a holdout needs before it can show a lift in retention, with "
        "80 % power at 5 %: look once, when that many outcomes are known.",
    )
    parser.add_argument(
        "--share", type=float, default=0.1, metavar="S",
        help="share of users held out (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--retention", type=float, required=True, metavar="R",
        help="share of those alerted about who come back within the horizon anyway; "
        "`ebbtide alerts backtest` tells it: one minus the precision",
    )  # fmt: skip
    parser.add_argument(
        "--lift", type=float, default=0.05, metavar="L",
        help="the least rise of it worth knowing of (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--per-day", type=float, metavar="N", help="alerts a day, about a new user each"
    )
    parser.add_argument(
        "--rules", type=int, default=1, metavar="K",
        help="rules whose effects will be looked at side by side (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the sizes; raises Misconfigured for shares that are none."""
    from model.effect import alerts_needed, levels  # noqa: PLC0415  (heavy, and not for --help)

    if args.rules < 1:
        raise Misconfigured(f"--rules {args.rules}: must be 1 or more")
    if args.per_day is not None and args.per_day <= 0:
        raise Misconfigured(f"--per-day {args.per_day:g}: must be more than 0")
    shares = [args.share, *([0.5] if args.share != 0.5 else [])]
    level = levels(args.rules)

    def needs(confidence: float) -> dict[float, int]:
        return {
            share: alerts_needed(args.retention, args.lift, share, confidence) for share in shares
        }

    needed, of_a_rule = needs(level.together), needs(level.each)
    if args.json:
        found = [
            {
                "share": share,
                "retention": args.retention,
                "lift": args.lift,
                "alerts": alerts,
                "alerts_of_a_rule": of_a_rule[share],
                "control": round(alerts * share),
                "days": None if args.per_day is None else alerts / args.per_day,
            }
            for share, alerts in needed.items()
        ]
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    raised = args.retention + args.lift
    sys.stdout.write(
        f"To show that alerts take retention from {args.retention:.1%} to {raised:.1%} (80 % "
        "power, 5 % two-sided, one look"
        + (f", {args.rules} rules side by side" if args.rules > 1 else "")
        + "):\n"
    )
    for share, alerts in needed.items():
        days = "" if args.per_day is None else f", {alerts / args.per_day:,.0f} days"
        sys.stdout.write(
            f"  {share:.0%} held out: {alerts:,} alerts about as many users, "
            f"{round(alerts * share):,} of them controls{days}\n"
        )
        if args.rules > 1:
            sys.stdout.write(
                f"    to show it of one rule: {of_a_rule[share]:,} alerts of that rule\n"
            )
    sys.stdout.write(
        "Controls are users like the others; nobody is told about them. A person who gives that "
        "up should know for how long.\n"
    )
    return 0
