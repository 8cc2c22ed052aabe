"""`ebbtide history`: the history worker alone, configured by its environment."""

from __future__ import annotations

import argparse
from typing import Any

from ebbtide.cli import COMMANDS


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "history",
        help=COMMANDS["history"],
        description="Keeps each user's scores, and counts users by risk band over time. Settings "
        "come from EBBTIDE_* variables.",
    )
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Serve until stopped; the exit code."""
    from history.main import main  # noqa: PLC0415  (heavy, and not for --help)

    return main()
