"""`ebbtide alerts check`: whether a policy file can be used, and what it says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from contracts.errors import Misconfigured


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `alerts check` to the command line."""
    parser = actions.add_parser(
        "check",
        help="whether a policy file is right, and what it says",
        description="Read a policy file and say its rules in plain words. Exit code 1 names the "
        "field that has to change, and how.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the policy, YAML")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the rules, or what is wrong; 1 for a file that cannot be used."""
    from alerts.policy_file import read  # noqa: PLC0415  (heavy, and not for --help)
    from ebbtide.policy_words import said  # noqa: PLC0415

    try:
        policy = read(args.file)
    except Misconfigured as error:
        sys.stderr.write(f"{args.file}: {error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in said(policy)))
    return 0
