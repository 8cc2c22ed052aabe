"""`ebbtide train`: learn a model from recorded activity."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from contracts.errors import Misconfigured
from contracts.times import DAY_MS
from ebbtide import demo_model
from ebbtide.cli import COMMANDS
from model.artefact import Manifest
from model.event_log import EventLog, load_event_log
from model.features import PREDICT_INPUTS
from model.figures import Figures
from model.horizon import PRESETS, Fit, fit_of, shortest_horizon
from model.labels import read_labels, read_verdicts
from model.training import Told, TrainingSettings, log_ends, log_period, train
from model.treatment import NO_TREATMENTS, read_alerts
from runtime.settings import ServiceSettings

AUTO: Final = "auto"
LONGEST_HORIZON_DAYS: Final = 365
LONGEST_ACTIVE_DAYS: Final = 730
FEWEST_ROWS: Final = 300
MOST_ROWS: Final = 2_000_000
SECONDS_BETWEEN_LINES: Final = 2.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `train` to the command line."""
    parser = subparsers.add_parser(
        "train",
        help=COMMANDS["train"],
        description="Learn a model from recorded activity: compare candidates walk-forward on the "
        "later half of the log, refit the chosen one to all of it, and write model.pkl, "
        "manifest.json, metrics.json and report.html.",
    )
    parser.add_argument(
        "--events", nargs="+", type=Path, required=True, metavar="FILE",
        help="event logs: .csv, .jsonl or .parquet in the shape of activity events",
    )  # fmt: skip
    parser.add_argument(
        "--preset", choices=sorted(PRESETS),
        help="horizon and active days that suit a kind of business: "
        + ", ".join(f"{k} {v.horizon_days}/{v.active_days}" for k, v in sorted(PRESETS.items())),
    )  # fmt: skip
    parser.add_argument(
        "--horizon-days", type=_horizon, metavar="H",
        help="who does nothing for this many days has churned; `auto`: the shortest silence "
        "after which few ever return",
    )  # fmt: skip
    parser.add_argument(
        "--active-days", type=_between(1, LONGEST_ACTIVE_DAYS), metavar="A",
        help="a user counts as active for this many days after their last activity",
    )  # fmt: skip
    parser.add_argument(
        "--churn-events", nargs="+", default=[], metavar="TYPE",
        help="an event of these types within the horizon is churn, rather than silence",
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=Path, metavar="FILE",
        help="outcomes you know: .csv or .parquet with user_id, as_of and churned (0 or 1)",
    )  # fmt: skip
    parser.add_argument(
        "--label-delay-days", type=_between(0, LONGEST_HORIZON_DAYS), default=0, metavar="D",
        help="outcomes are known only so long after the horizon (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--alerts", type=Path, metavar="FILE",
        help="delivered alerts, one JSON object per line as on `churn-alert`: rows within a "
        "horizon of one leave training and evaluation, unless it says `control`",
    )  # fmt: skip
    parser.add_argument(
        "--holdout-share", type=_share, metavar="S",
        help="share of users held out as controls (default: as found in --alerts)",
    )  # fmt: skip
    parser.add_argument(
        "--use-verdicts", type=Path, metavar="FILE",
        help="what people said of alerts: .jsonl, .csv or .parquet with user_id, at and verdict; "
        "`wrong` means that the user had not churned then, and becomes the label",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where it goes")
    parser.add_argument(
        "--rows", type=_between(FEWEST_ROWS, MOST_ROWS), default=TrainingSettings.rows, metavar="N",
        help="at most so many training rows (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=_between(0, 2**32 - 1), default=0,
        help="another seed draws other rows (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train and save; the table goes to stdout, progress to stderr.

    Raises BadRecord (file and line) and Misconfigured (too little history, one outcome).
    """
    rules = ServiceSettings().fold_rules
    say(f"reading {', '.join(str(path) for path in args.events)}")
    log = load_event_log(args.events, rules, progress=reading())
    say(f"{len(log):,} events of {len(log.user_ids):,} users, in the order of {log.order}")
    settings = settings_of(args, log)
    told = told_of(args, log)
    labels = None
    if args.labels is not None:
        labels, unknown = read_labels(args.labels, log)
        say(f"{len(labels):,} labels; {unknown:,} left out: the log does not know those users then")
    elif not settings.churn_types:
        _tell_of_horizon(fit_of(log, settings.horizon_days))
    kept = None
    if not teaches_inputs(log):
        say(
            f"the log has no pages or minutes: keeping the four-input model of /predict, learned "
            f"from origin {demo_model.ORIGIN}"
        )
        kept = demo_model.four_inputs(rules)
    trained = train(
        log,
        settings,
        rules,
        origin=origin(args.events, log),
        labels=labels,
        told=told,
        kept_inputs=kept,
        say=say,
    )
    model = trained.save(args.out)
    for line in model.manifest.notes:
        say(f"note: {line}")
    for name in unstated_inputs(log) if kept is None else ():
        say(
            f"note: the log never states {name}, so /predict will not react to it "
            "(scores of users do not need it)"
        )
    sys.stdout.write(table(model.manifest))
    sys.stdout.write(f"model {model.version} written to {args.out}\n")
    return 0


def settings_of(args: argparse.Namespace, log: EventLog) -> TrainingSettings:
    """What to train, from the arguments and a preset; `auto` looks at the log.

    Raises Misconfigured when the horizon or the activity window is not stated.
    """
    preset = PRESETS[args.preset] if args.preset else None
    active = args.active_days or (preset.active_days if preset else None)
    horizon = args.horizon_days or (preset.horizon_days if preset else None)
    if horizon is None or active is None:
        raise Misconfigured("state --horizon-days and --active-days, or a --preset")
    if horizon == AUTO:
        days = (log_ends(log)[1] - log_ends(log)[0]) // DAY_MS
        longest = (days - active) // 3 - args.label_delay_days
        horizon = shortest_horizon(log, min(LONGEST_HORIZON_DAYS, longest))
        say(f"--horizon-days auto: {horizon}")
    return TrainingSettings(
        horizon, active, args.rows, args.seed, args.label_delay_days, tuple(args.churn_events)
    )


def told_of(args: argparse.Namespace, log: EventLog) -> Told:
    """Alerts and verdicts that were given.

    Raises Misconfigured for a holdout share without alerts.
    """
    if args.holdout_share is not None and args.alerts is None:
        raise Misconfigured("--holdout-share says how many of --alerts were controls: state both")
    treatments, verdicts = NO_TREATMENTS, None
    if args.alerts is not None:
        treatments = read_alerts(args.alerts, log)
        held = int(treatments.control.sum())
        say(f"{len(treatments.user) - held:,} delivered alerts, {held:,} of controls")
    if args.use_verdicts is not None:
        verdicts = read_verdicts(args.use_verdicts, log)
        say(f"{len(verdicts.user):,} alerts were called wrong")
    return Told(treatments, args.holdout_share, verdicts)


def _tell_of_horizon(fit: Fit) -> None:
    if fit.returning is not None:
        say(f"of users silent for {fit.horizon_days} days {fit.returning:.0%} came back later")
    if fit.slow is not None:
        say(f"{fit.slow:.0%} of users usually pause for more than half the horizon")
    if fit.is_short:
        say(
            "warning: many of them are called churned while they merely pause; a longer "
            "--horizon-days fits this log better"
        )


def origin(paths: list[Path], log: EventLog) -> str:
    """What scores will say the model learned from: the logs' names and dates."""
    if not log.active.any():
        return ", ".join(path.name for path in paths)
    period = log_period(log)
    return f"{', '.join(path.name for path in paths)} {period.start[:10]} to {period.end[:10]}"


def unstated_inputs(log: EventLog) -> list[str]:
    """Inputs of /predict about which the log says nothing, so that nothing was learned."""
    columns = {"pages_visited": "pages", "time_spent": "seconds", "is_logged_in": "login"}
    names = [feature.name for feature in PREDICT_INPUTS]
    return [name for name in names if name in columns and not np.any(log.rows[columns[name]])]


def teaches_inputs(log: EventLog) -> bool:
    """Whether a four-input estimator can learn anything of use from the log."""
    return bool(np.any(log.rows["pages"]) or np.any(log.rows["seconds"]))


COLUMNS: Final = {
    "AUC": "auc",
    "avg.prec.": "average_precision",
    "Brier": "brier",
    "log loss": "log_loss",
    "ECE": "ece",
    "lift@10%": "top_decile_lift",
}


def table(manifest: Manifest) -> str:
    """The candidates on the validation period, one line each, and why one was chosen."""
    chosen = manifest.candidates[manifest.candidate]
    lines = [
        f"walk-forward from {manifest.validated_from} (fitted to rows up to "
        f"{manifest.fitted_until}), horizon {manifest.horizon_days} days",
        f"{'':<32}" + "".join(f"{name:>10}" for name in COLUMNS) + f"{'churn':>10}{'rows':>10}",
    ]
    for name, candidate in manifest.candidates.items():
        mark = "*" if name == manifest.candidate else " "
        lines.append(_line(f"{mark} {candidate.title}", candidate.overall))
    for stratum, found in chosen.strata.items():
        lines.append(_line(f"  * on {stratum.replace('_', ' ')} rows", found))
    if manifest.unseen_users is not None:
        lines.append(_line("  * on users unseen in training", manifest.unseen_users))
    kept = manifest.kept_inputs
    whose = "" if kept is None else f" ({kept.origin})"
    lines.append(_line(f"  /predict, session ends{whose}", manifest.predict))
    lines.append(f"* chosen: {manifest.chosen_because}; calibration: {manifest.calibration}")
    if manifest.alert_threshold is not None:
        opens = manifest.alert_threshold
        rung = next(each for each in opens.rungs if each.level == opens.level)
        lines.append(
            f"alerts open at {opens.level:.3f}: {rung.in_time or 0:.0%} of those who churn told in "
            f"time, {rung.precision or 0:.0%} of alerts right, {rung.per_1000_a_day:.1f} a day per "
            "1,000 active users"
        )
    if manifest.law_of_silence is not None:
        cost = manifest.law_of_silence
        lines.append(
            f"longer silence never lowers the risk; that costs {cost.log_loss:+.6f} log loss "
            f"(standard error {cost.error:.6f})"
        )
    if manifest.silence:
        lines.append(
            f"{'calibration (chance alone)':<32}{'ECE':>10}{'floor':>10}{'churn':>10}{'rows':>10}"
        )
    for name, check in manifest.silence.items():
        lines.append(
            f"  {name:<30}{check.ece:>10.4f}{check.floor:>10.4f}{check.base_rate:>10.4f}"
            f"{check.rows:>10,}"
        )
    return "\n".join(lines) + "\n"


def _line(title: str, found: Figures) -> str:
    values = [getattr(found, name) for name in COLUMNS.values()]
    shown = "".join(f"{'-' if value is None else format(value, '.4f'):>10}" for value in values)
    return f"{title:<32}{shown}{found.base_rate:>10.4f}{found.rows:>10,}"


def reading() -> Callable[[int], None]:
    """Tell of the events read so far, not more often than a person wants to read."""
    last = time.monotonic()

    def tell(count: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"read {count:,} events")

    return tell


def say(line: str) -> None:
    """One line of progress, for a person who waits."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _horizon(text: str) -> int | str:
    return AUTO if text == AUTO else _between(1, LONGEST_HORIZON_DAYS)(text)


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, not {value}")
    return value


def _between(low: int, high: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must lie between {low} and {high}, not {value}")
        return value

    return whole_number
