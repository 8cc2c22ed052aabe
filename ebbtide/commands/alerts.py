"""`ebbtide alerts`: the alerts worker alone, or one of the things to do with alerts."""

from __future__ import annotations

import argparse
import importlib
from typing import Any, Final

from ebbtide.cli import COMMANDS

SUBCOMMANDS: Final = (
    "check",
    "backtest",
    "holdout",
    "effect",
    "verdicts",
    "deliveries",
    "resend",
    "storm",
)
"""`check` is `ebbtide.commands.alerts_check`, which imports what is heavy only when it runs."""


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "alerts",
        help=COMMANDS["alerts"],
        description="Without an action: serve as the alerts worker. Its settings come from "
        "EBBTIDE_* variables.",
    )
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(metavar="ACTION")
    for name in SUBCOMMANDS:
        importlib.import_module(f"ebbtide.commands.alerts_{name}").add_parser(actions)


def run(_args: argparse.Namespace) -> int:
    """Serve until stopped; the exit code."""
    from alerts.main import main  # noqa: PLC0415  (heavy, and not for --help)

    return main()
