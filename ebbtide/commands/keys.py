"""`ebbtide keys`: make API keys, and look at those of a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contracts.errors import Misconfigured
from contracts.times import from_ms, to_ms
from ebbtide.cli import COMMANDS
from ingest_api import access_keys
from ingest_api.access import Scope


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "keys",
        help=COMMANDS["keys"],
        description="Keys are let in by a gateway with EBBTIDE_API_KEYS_FILE, which holds their "
        "digests only (docs/security.md).",
    )
    words = parser.add_subparsers(metavar="WHAT", required=True)
    new = words.add_parser(
        "new",
        help="make a key",
        description="Prints the key, once, on stdout; nobody can find it out later. The line for "
        "the file goes into --file, else to stderr.",
    )
    new.add_argument("--name", required=True, help="whose it is, as the audit log will name it")
    new.add_argument(
        "--scopes",
        required=True,
        help="separated by commas: write (events, /predict), read (users, alerts, the dashboard), "
        "operate (act on alerts, erase)",
    )
    new.add_argument("--days", type=_days, help="good for so many days (default: for ever)")
    new.add_argument("--file", type=Path, help="append the key's line to this file")
    new.add_argument(
        "--unless-there", action="store_true", help="do nothing where the file exists already"
    )
    new.set_defaults(run=run, act=_new)
    listing = words.add_parser("list", help="check a file and list its keys")
    listing.add_argument("--file", type=Path, help="default: EBBTIDE_API_KEYS_FILE")
    listing.set_defaults(run=run, act=_list)


def run(args: argparse.Namespace) -> int:
    """Make a key or list those of a file; the exit code."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def _new(args: argparse.Namespace) -> int:
    scopes = access_keys.scopes_of(word.strip() for word in args.scopes.split(","))
    path: Path | None = args.file
    if args.unless_there and path is not None and path.exists():
        print(f"{path} is there already; no key was made", file=sys.stderr)
        return 0
    expires = None
    if args.days is not None:
        expires = datetime.now(UTC) + timedelta(days=args.days)
    key = access_keys.new_key()
    line = access_keys.line(args.name, scopes, access_keys.digest(key), expires)
    if path is None:
        print(f"Add this line to the file of EBBTIDE_API_KEYS_FILE:\n{line}", file=sys.stderr)
    else:
        _append(path, line)
        print(f"added {args.name!r} to {path}; the key, shown only here:", file=sys.stderr)
    print(key)
    return 0


def _list(args: argparse.Namespace) -> int:
    path = args.file or os.environ.get("EBBTIDE_API_KEYS_FILE")
    if path is None:
        raise Misconfigured("name the file with --file, or set EBBTIDE_API_KEYS_FILE")
    ring = access_keys.read(Path(path))
    now = to_ms(datetime.now(UTC))
    for key in ring:
        scopes = ",".join(scope for scope in Scope if scope in key.scopes)
        until = "for ever" if key.expires_at is None else f"until {from_ms(key.expires_at):%F %TZ}"
        expired = "" if key.is_good(now) else ", expired"
        print(f"{key.name}\t{scopes}\t{until}{expired}\tsha256 {key.sha256.hex()[:12]}...")
    return 0


def _append(path: Path, line: str) -> None:
    """Add a line to a file that is none yet or a good one; raises Misconfigured for another."""
    before = ""
    if path.exists():
        access_keys.read(path)
        before = path.read_text("utf-8")
        if before.strip() in ("", "[]"):
            before = ""
        elif not before.endswith("\n"):
            before += "\n"
    access_keys.parse(before + line, str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another file in its place at once: a gateway that looks meanwhile reads a whole one.
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(before + line, "utf-8")
        if before:
            fresh.chmod(path.stat().st_mode & 0o777)
        else:
            fresh.chmod(0o640)
        fresh.replace(path)
    except OSError as error:
        raise Misconfigured(f"cannot write {path}: {error.strerror or error}") from error


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= 36_500:
        raise argparse.ArgumentTypeError("from 0 to 36500 days")
    return days
