"""`ebbtide alerts`: the alerts worker alone, configured by its environment."""

from __future__ import annotations

import argparse
from typing import Any

from ebbtide.cli import COMMANDS


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "alerts", help=COMMANDS["alerts"], description="Settings come from EBBTIDE_* variables."
    )
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Serve until stopped; the exit code."""
    from alerts.main import main  # noqa: PLC0415  (heavy, and not for --help)

    return main()
