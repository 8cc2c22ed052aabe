"""The `ebbtide` command: finds the module of a command, runs it, prints what went wrong.

Only the module of the command that was asked for is imported, so that `ebbtide --help` answers at
once and no command pays for another one's libraries.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final, NoReturn

from contracts.errors import BadRecord, ChurnError, Misconfigured

COMMANDS: Final[dict[str, str]] = {
    "up": "run everything here: broker, store, gateway, scorer, alerts, history",
    "api": "run the gateway alone",
    "scorer": "run one scorer",
    "alerts": "run the alerts worker; check, test and follow alerts",
    "delivery": "run the delivery worker: tell the channels of a policy file",
    "history": "run the history worker: what the dashboard shows of the past",
    "keys": "make API keys, and look at those of a file",
    "train": "train a model on recorded events",
    "score": "score the users of recorded events as of a moment",
    "simulate": "make up a population and its activity",
    "replay": "send recorded events, in order",
    "tick": "tell a pipeline on a stream clock how late it is",
    "rebuild": "build the records anew from the log",
    "dead-letters": "look at what could not be read, send it back, accept it",
}
"""Every command with its line in the help; `dead-letters` is `ebbtide.commands.dead_letters`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. 1: it failed, 2: what it was given has to change."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(words).parse_args(words)
        code: int = args.run(args)
        sys.stdout.flush()
    except (Misconfigured, BadRecord) as error:
        return _complain(error, 2)
    except ChurnError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `ebbtide ... | head`: nobody reads any more. The interpreter flushes stdout once more at
        # exit and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


class _Parser(argparse.ArgumentParser):
    """argparse, with the same form of complaint as everything else."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (try `{self.prog} --help`)\n")


class _Version(argparse.Action):
    """Prints the version; looked up only when asked for, as that takes reading a file."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"ebbtide {version('ebbtide')}")
        parser.exit()


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ebbtide",
        description="Streaming churn scorer: activity in, scores and alerts out.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        if name == asked:
            module = importlib.import_module(f"ebbtide.commands.{name.replace('-', '_')}")
            module.add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def _complain(error: ChurnError, code: int) -> int:
    line = " ".join(str(error).split())
    print(f"ebbtide: {line}", file=sys.stderr)
    return code
