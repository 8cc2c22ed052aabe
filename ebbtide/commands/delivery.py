"""`ebbtide delivery`: the delivery worker alone, configured by its environment."""

from __future__ import annotations

import argparse
from typing import Any

from ebbtide.cli import COMMANDS


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "delivery",
        help=COMMANDS["delivery"],
        description="Tells the channels of the policy file (EBBTIDE_ALERT_POLICY). Settings come "
        "from EBBTIDE_* variables.",
    )
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Serve until stopped; the exit code."""
    from alerts.delivery.worker import main  # noqa: PLC0415  (heavy, and not for --help)

    return main()
