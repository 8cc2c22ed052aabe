"""`ebbtide alerts effect`: whether users come back because of alerts, told from a holdout."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import Misconfigured
from contracts.times import DAY_MS

if TYPE_CHECKING:
    from model.effect import Effect


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `alerts effect` to the command line."""
    parser = actions.add_parser(
        "effect",
        help="whether users come back because of alerts",
        description="Compare users somebody was told about with those held out, by intention to "
        "treat and by each user's first alert. Says `not yet known` until the interval excludes "
        "zero; plan one look with `ebbtide alerts holdout`.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--alerts", type=Path, metavar="FILE", help="one JSON object per line, as on `churn-alert`"
    )
    source.add_argument(
        "--kafka", metavar="BOOTSTRAP", help="read `churn-alert` there, host:port by commas"
    )
    parser.add_argument(
        "--events", nargs="+", type=Path, required=True, metavar="FILE",
        help="what users did: .csv, .jsonl or .parquet in the shape of activity events",
    )  # fmt: skip
    parser.add_argument(
        "--horizon-days", type=float, metavar="H",
        help="who does something within so many days was retained (default: as the alerts say)",
    )  # fmt: skip
    parser.add_argument(
        "--since", type=_moment, metavar="TIME",
        help="alerts from then on: the beginning of the experiment",
    )  # fmt: skip
    parser.add_argument(
        "--lift", type=float, metavar="L",
        help="the least rise in retention worth knowing of (default: .05)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is known.

    Raises BadRecord (file and line), Misconfigured (no alerts, no horizon) and LogUnavailable.
    """
    # Heavy, and not for --help.
    from ebbtide import alert_log  # noqa: PLC0415
    from ebbtide.commands.train import reading, say  # noqa: PLC0415
    from model.effect import WORTHWHILE, effect  # noqa: PLC0415
    from model.event_log import load_event_log  # noqa: PLC0415
    from model.instants import Instants  # noqa: PLC0415
    from model.volume import volume  # noqa: PLC0415
    from runtime.settings import ServiceSettings  # noqa: PLC0415

    lines = (
        alert_log.lines_of(args.alerts)
        if args.alerts is not None
        else alert_log.lines_on(ServiceSettings(kafka_bootstrap_servers=args.kafka))
    )
    log = load_event_log(args.events, ServiceSettings().fold_rules, progress=reading())
    if not log.active.any():
        raise Misconfigured("the log has no activity: nobody can be seen coming back")
    found = alert_log.opened(lines, log, args.since)
    say(f"{len(found.alerted):,} opened alerts about users of the log, {found.unknown:,} of others")
    horizon = args.horizon_days or found.horizon_days
    if horizon is None:
        raise Misconfigured("no opened alert says its horizon: state --horizon-days")
    visits = Instants(log.user[log.active], log.rows["occurred_at"][log.active])
    result = effect(
        visits,
        found.alerted,
        horizon=round(horizon * DAY_MS),
        until=volume(log).end,
        planned_lift=WORTHWHILE if args.lift is None else args.lift,
    )
    sys.stdout.write(_json(result, horizon) if args.json else words(result, horizon))
    return 0


def words(result: Effect, horizon_days: float) -> str:
    """The result as a person reads it."""
    lines = [f"Retention: activity within {horizon_days:g} days of a user's first alert."]
    for name, arm in (("told about", result.treated), ("held out", result.control)):
        share = "-" if arm.retention is None else f"{arm.retention:.1%}"
        lines.append(f"  {name:<12}{arm.retained:>8,} of {arm.users:>8,}   {share:>6}")
    lines.append(f"  {result.waiting:,} more were alerted about too lately to know")
    if result.difference is None or result.interval is None:
        lines.append(
            "not yet known: nobody was held out, so nobody can tell who would have come back "
            "anyway (`ebbtide alerts holdout` says what it takes)"
            if not result.control.users
            else "not yet known: of nobody told about is the outcome known"
        )
        return "\n".join(lines) + "\n"
    low, high = result.interval
    lines.append(
        f"{result.verdict}: retention {result.difference:+.1%} "
        f"(95 % interval {low:+.1%} to {high:+.1%})"
    )
    if result.smallest is not None:
        lines.append(f"so many users show a rise of {result.smallest:.1%} or more (80 % power)")
    if result.alerts_needed is not None:
        lines.append(
            f"to show a rise of {result.planned_lift:.1%} takes {result.alerts_needed:,} users: "
            + _wait(result)
        )
    return "\n".join(lines) + "\n"


def _wait(result: Effect) -> str:
    if result.days_needed is None:
        return "at the current pace of 0 a day that never comes"
    if not result.days_needed:
        return "reached"
    return (
        f"{result.days_needed:,.0f} more days at the current pace of "
        f"{result.alerts_per_day:.1f} a day"
    )


def _json(result: Effect, horizon_days: float) -> str:
    told = asdict(result) | {"verdict": result.verdict, "horizon_days": horizon_days}
    for arm in ("treated", "control"):
        told[arm]["retention"] = getattr(result, arm).retention
    return json.dumps(told) + "\n"


def _moment(text: str) -> int:
    # The worker looks at this module too, and has no use for what reads event files.
    from ebbtide.feed.options import moment  # noqa: PLC0415

    return moment(text)
