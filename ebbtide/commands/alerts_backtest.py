"""`ebbtide alerts backtest`: what an alert policy would have told of a recorded history."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts.errors import Misconfigured
from contracts.times import DAY_MS

if TYPE_CHECKING:
    from ebbtide.backtest import Fit, Line, Report
    from model.alert_figures import AlertFigures
    from model.event_log import EventLog

ROWS: Final = 12_000
SEED: Final = 7
HORIZONS_IN_A_LOG: Final = 8
"""Two to be active in, three to learn from, two around the window, and one to count."""


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `alerts backtest` to the command line."""
    parser = actions.add_parser(
        "backtest",
        help="what a policy would have told, and how often it would have been right",
        description="Replay recorded events: train on what came before each step, score users as "
        "the scorer would have, let the policy judge, and count. Beside each rule stand "
        "`silent for twice the usual gap` and random moments of silence, at the rule's volume.",
    )
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="FILE",
        help="the policy, YAML (default: what is in force without a file)",
    )  # fmt: skip
    parser.add_argument(
        "--events", nargs="+", type=Path, required=True, metavar="LOG",
        help="event logs: .csv, .jsonl or .parquet in the shape of activity events",
    )  # fmt: skip
    parser.add_argument(
        "--horizon-days", type=_count, metavar="H",
        help="who does nothing for this many days has churned (default: the shortest silence "
        "after which few ever return, as `train --horizon-days auto`)",
    )  # fmt: skip
    parser.add_argument(
        "--active-days", type=_count, metavar="A",
        help="a user counts as active, and at first as new, for so long (default: twice H)",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="begins", type=_moment, metavar="TIME",
        help="where the first step begins (default: after two fifths of the log)",
    )  # fmt: skip
    parser.add_argument(
        "--step-days", type=_count, default=30, metavar="D",
        help="a new model comes so often (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--users", type=_count, metavar="N", help="replay only N users, drawn at random"
    )
    parser.add_argument(
        "--per-day", type=float, metavar="N",
        help="find the threshold that gives about N alerts a day in the first half, and try it on "
        "the second",
    )  # fmt: skip
    parser.add_argument(
        "--ladder",
        action="store_true",
        help="beside that, the rule at thresholds from 0.1 to 0.9 and at the models' own",
    )
    parser.add_argument("--rule", metavar="NAME", help="whose threshold (default: the first's)")
    parser.add_argument(
        "--rows",
        type=_count,
        default=ROWS,
        help="training rows of each model (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=_count, default=SEED, help="another seed draws anew (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; progress goes to stderr.

    Raises BadRecord (file and line) and Misconfigured (the policy, too little history).
    """
    # Heavy, and not for --help.
    import msgspec  # noqa: PLC0415

    from alerts.policy_file import read  # noqa: PLC0415
    from alerts.rules import DEFAULT  # noqa: PLC0415
    from ebbtide import demo_model  # noqa: PLC0415
    from ebbtide.backtest import Question, backtest  # noqa: PLC0415
    from ebbtide.commands.train import reading, say, teaches_inputs  # noqa: PLC0415
    from model.event_log import load_event_log  # noqa: PLC0415
    from model.training import TrainingSettings  # noqa: PLC0415
    from runtime.settings import ServiceSettings  # noqa: PLC0415

    if args.per_day is not None and args.per_day <= 0:
        raise Misconfigured(f"--per-day {args.per_day:g}: must be more than 0")
    policy = DEFAULT if args.file is None else read(args.file)
    rules = ServiceSettings().fold_rules
    log = load_event_log(args.events, rules, progress=reading())
    say(f"{len(log):,} events of {len(log.user_ids):,} users, in the order of {log.order}")
    horizon = args.horizon_days or _horizon(log)
    say(f"horizon: {horizon} days")
    training = TrainingSettings(horizon, args.active_days or 2 * horizon, args.rows, args.seed)
    question = Question(
        training, args.step_days, args.begins, args.users, args.per_day, args.rule, args.ladder
    )
    report = backtest(
        log,
        policy,
        question,
        rules,
        kept_inputs=None if teaches_inputs(log) else demo_model.four_inputs(rules),
        say=say,
    )
    if args.json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        sys.stdout.write(table(report))
    return 0


def _horizon(log: EventLog) -> int:
    """As `train --horizon-days auto` finds it, so far as history can answer with it."""
    from model.horizon import shortest_horizon  # noqa: PLC0415
    from model.training import log_ends  # noqa: PLC0415

    if not log.active.any():
        raise Misconfigured("the log has no activity: there is nothing to replay")
    start, end = log_ends(log)
    return shortest_horizon(log, (end - start) // DAY_MS // HORIZONS_IN_A_LOG)


_COLUMNS: Final = (
    ("alerts", 7), ("a day", 7), ("p95", 6), ("precision", 10), ("recall", 8), ("in time", 8),
    ("silent", 8), ("back 3 d", 9), ("/user", 7), ("/100 new", 9),
)  # fmt: skip
_NAME_WIDTH: Final = 44


def table(report: Report) -> str:
    """The report as text, a line per rule and baseline."""
    sample = "" if report.users == report.users_of else f" of {report.users_of:,}, drawn at random"
    lines = [
        f"policy {report.policy}: {report.window[0]} to {report.window[1]}, horizon "
        f"{report.horizon_days} days, {report.users:,} users{sample}, {report.scores:,} scores by "
        f"{len(report.steps)} model(s), each trained on what came before its step",
        "",
        f"{'':<{_NAME_WIDTH}}" + "".join(f"{name:>{width}}" for name, width in _COLUMNS),
    ]
    for one in report.rules:
        lines.append(_line(one.rule.name, one.rule.figures))
        lines += _baselines(one.baselines)
    lines += ["", *_explained(report)]
    if report.fit is not None:
        lines += ["", *_fitted(report.fit)]
    if report.ladder:
        lines += ["", *_ladder(report)]
    return "\n".join(lines) + "\n"


def _line(name: str, found: AlertFigures) -> str:
    shown = (
        f"{found.alerts:,}",
        f"{found.per_day_median:.1f}",
        f"{found.per_day_p95:.1f}",
        _share(found.precision),
        _share(found.recall),
        _share(found.in_time),
        _number(found.silent_days_median),
        _share(found.back_unaided),
        _number(found.per_user_90_days, 2),
        _number(found.per_100_new_users),
    )
    cells = "".join(f"{value:>{width}}" for value, (_, width) in zip(shown, _COLUMNS, strict=True))
    return f"{name:<{_NAME_WIDTH}}{cells}"


def _baselines(found: Sequence[Line]) -> list[str]:
    return [
        _line(f"  {one.name}" + ("" if one.of is None else f" (of {one.of:,})"), one.figures)
        for one in found
    ]


def _explained(report: Report) -> Sequence[str]:
    first = report.rules[0].rule.figures
    return (
        f"a day: median (and 95th percentile) of {first.days:.0f} days",
        f"precision: no activity for {report.horizon_days} days after the alert",
        f"recall: of {first.churn_episodes:,} silences longer than that, alerted about before the "
        "user was back",
        f"in time: of the same, alerted about within {report.horizon_days} days of being last seen",
        "silent: days since the last activity at the alert, median",
        "back 3 d: back within 3 days, unaided",
        "/user: alerts per 90 days of a user's being active",
        f"/100 new: alerts about users in their first {report.active_days} days, per 100 of them",
    )


def _fitted(fit: Fit) -> Sequence[str]:
    lines = [
        f"{fit.wanted_per_day:g} alerts a day by {fit.rule}: threshold {fit.threshold:.3f}",
        f"{'':<{_NAME_WIDTH}}" + "".join(f"{name:>{width}}" for name, width in _COLUMNS),
        _line(f"fitted {' to '.join(fit.fitted)}", fit.fitted_figures),
        _line(f"checked {' to '.join(fit.checked)}", fit.checked_figures),
        *_baselines(fit.baselines),
        f"mean a day: {fit.fitted_figures.per_day_mean:.1f} fitted, "
        f"{fit.checked_figures.per_day_mean:.1f} checked; thresholds snap to the model's ladder, "
        "so volumes come in steps",
    ]
    if fit.fitted_figures.per_day_mean > fit.wanted_per_day:
        lines.append("even the highest rung gives more than that: use `top` in the policy")
    return lines


_LADDER_COLUMNS: Final = (
    ("alerts", 8), ("/1,000 a day", 14), ("precision", 11), ("recall", 8), ("in time", 9),
    ("days left", 11), ("silent", 8), ("back 3 d", 10),
)  # fmt: skip


def _ladder(report: Report) -> Sequence[str]:
    """A rule at one threshold after the other."""
    own = ", ".join(
        "none" if step.alert_threshold is None else f"{step.alert_threshold:.3f}"
        for step in report.steps
    )
    lines = [f"{'threshold':<18}" + "".join(f"{name:>{width}}" for name, width in _LADDER_COLUMNS)]
    for line in report.ladder:
        found = line.figures
        shown = (
            f"{found.alerts:,}",
            _number(found.per_1000_a_day),
            _share(found.precision),
            _share(found.recall),
            _share(found.in_time),
            _number(found.lead_days_median),
            _number(found.silent_days_median),
            _share(found.back_unaided),
        )
        cells = zip(shown, _LADDER_COLUMNS, strict=True)
        lines.append(f"{line.name:<18}" + "".join(f"{value:>{w}}" for value, (_, w) in cells))
    return [
        *lines,
        f"the model's own: {own}; others snap to the nearest rung",
        "/1,000 a day: alerts per 1,000 active users a day",
        "days left: of those told of in time, until they count as churned, median",
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _moment(text: str) -> int:
    # The worker looks at this module too, and has no use for what reads event files.
    from ebbtide.feed.options import moment  # noqa: PLC0415

    return moment(text)


def _count(text: str) -> int:
    from ebbtide.feed.options import count  # noqa: PLC0415

    return count(text)
