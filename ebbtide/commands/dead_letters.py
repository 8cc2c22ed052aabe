"""`ebbtide dead-letters`: look at what could not be read, send it back, let partitions go on."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from contracts.errors import BadRecord, Misconfigured
from contracts.times import EARLIEST_MS, LATEST_MS, from_ms
from contracts.topics import ACTIVITY, ALERTS, COMMANDS, SCORES
from ebbtide.feed.options import moment
from runtime.clock import wall_ms
from runtime.dead_letters import accept
from runtime.letter_box import LetterBox, Returns, Wanted, message_of
from runtime.letters import Letter
from runtime.settings import ServiceSettings
from runtime.store import connect

_SHOWN_BYTES = 80


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `dead-letters` to the command line."""
    parser = subparsers.add_parser(
        "dead-letters",
        help="look at what could not be read, send it back, accept it",
        description="What could not be read lies in <topic>.dead-letter, with its reason and as "
        "it came. Letters are named by the place they lie in there, partition:offset.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show parked records with their place and reason")
    _add_filters(listing)
    listing.add_argument("--json", action="store_true", help="one JSON object a line, all of it")
    listing.set_defaults(act=_list)

    showing = actions.add_parser("show", help="show one letter in full")
    showing.add_argument("letter", metavar="PARTITION:OFFSET")
    showing.add_argument(
        "--value", action="store_true", help="only the record's value, to the byte"
    )
    showing.set_defaults(act=_show)

    replaying = actions.add_parser(
        "replay",
        help="send records back to their topic, once",
        description="Sends the records back with their event_id and log time, to their users' "
        "homes, and notes it beside the letters. A record that would be parked again stays: "
        "correct it with --value. Name letters, or choose them with the filters.",
    )
    replaying.add_argument("letters", metavar="PARTITION:OFFSET", nargs="*")
    replaying.add_argument("--all", action="store_true", help="all that are not replayed yet")
    _add_filters(replaying)
    replaying.add_argument(
        "--value", metavar="FILE", help="a corrected value for one letter, - for stdin"
    )
    replaying.add_argument("--log-time", type=moment, metavar="TIME", help="another log time")
    replaying.add_argument("--again", action="store_true", help="also what was replayed before")
    replaying.add_argument("--dry-run", action="store_true", help="say what would be done")
    replaying.set_defaults(act=_replay)

    accepting = actions.add_parser(
        "accept", help="let partitions go on that wait since a long run of bad records"
    )
    accepting.add_argument("--partition", type=int, metavar="N", help="only this one")
    accepting.set_defaults(act=_accept)
    for action in (listing, showing, replaying, accepting):
        action.add_argument(
            "--topic",
            choices=(ACTIVITY, SCORES, COMMANDS, ALERTS),
            default=ACTIVITY,
            help="whose dead letters",
        )
    parser.set_defaults(run=run)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="whose reason contains this")
    parser.add_argument("--partition", type=int, metavar="N", help="of the source topic")
    parser.add_argument("--since", type=moment, metavar="TIME", help="by the record's log time")
    parser.add_argument("--until", type=moment, metavar="TIME", help="before this")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    code: int = asyncio.run(args.act(ServiceSettings(), args))
    return code


async def _list(settings: ServiceSettings, args: argparse.Namespace) -> int:
    count = 0
    async for letter in LetterBox(settings, args.topic).letters(_wanted(args)):
        count += 1
        if args.json:
            print(json.dumps(_told(letter)))
        else:
            shown = (letter.original.value or b"")[:_SHOWN_BYTES]
            value = "null" if letter.original.value is None else repr(shown)
            state = "  (replayed)" if letter.replayed else ""
            print(f"{letter.id}  {letter.topic}:{letter.source}  {letter.reason}  {value}{state}")
    print(f"{count} dead letters", file=sys.stderr)
    return 0


async def _show(settings: ServiceSettings, args: argparse.Namespace) -> int:
    box = LetterBox(settings, args.topic)
    await _require(box, [args.letter])
    async for letter in _named(box, [args.letter]):
        if args.value:
            sys.stdout.buffer.write(letter.original.value or b"")
            return 0
        for name, told in _told(letter).items():
            print(f"{name}: {told if isinstance(told, str) else json.dumps(told)}")
    return 0


async def _replay(settings: ServiceSettings, args: argparse.Namespace) -> int:
    box = LetterBox(settings, args.topic)
    choose = await _chosen(box, args)
    value = _corrected(args.value)
    if value is not None:
        chosen = [letter.id async for letter in choose()]
        if len(chosen) != 1:
            raise Misconfigured(f"--value corrects one letter, and {len(chosen)} are chosen")
    sent = left = 0
    async with AsyncExitStack() as stack:
        returns: Returns | None = None
        async for letter in choose():
            if letter.replayed and not args.again:
                _stays(letter, "was replayed before; --again sends it once more")
                left += 1
                continue
            try:
                message = message_of(
                    letter, settings.fold_rules, value=value, log_time=args.log_time
                )
            except BadRecord as bad:
                _stays(letter, f"would be parked again: {bad.reason}")
                left += 1
                continue
            sent += 1
            if args.dry_run:
                continue
            if returns is None:
                returns = await stack.enter_async_context(box.returning())
            await returns.send([(letter, message)], wall_ms())
            print(f"{letter.id} went back to {args.topic}, user {(message.key or b'').decode()!r}")
    words = "would go back" if args.dry_run else "went back"
    print(f"{sent} {words}, {left} stay", file=sys.stderr)
    return 2 if left else 0


async def _accept(settings: ServiceSettings, args: argparse.Namespace) -> int:
    redis = connect(settings.redis_url)
    try:
        held = await accept(redis, args.topic, args.partition)
    finally:
        await redis.aclose()
    for partition, mark in sorted(held.items()):
        print(f"{args.topic} partition {partition} goes on at {mark}")
    if not held:
        print("nothing was waiting")
    return 0


def _wanted(args: argparse.Namespace, replayed: bool | None = None) -> Wanted:
    return Wanted(
        reason=args.reason,
        partition=args.partition,
        since_ms=-(2**63) if args.since is None else args.since,
        until_ms=LATEST_MS if args.until is None else args.until,
        replayed=replayed,
    )


Choose = Callable[[], AsyncIterator[Letter]]
"""Reads the chosen letters, each time anew."""


async def _chosen(box: LetterBox, args: argparse.Namespace) -> Choose:
    filtered = args.reason or args.since is not None or args.until is not None
    filtered = filtered or args.partition is not None
    if args.letters and (args.all or filtered):
        raise Misconfigured("name letters, or choose them with --all or filters, not both")
    if args.letters:
        await _require(box, args.letters)
        return lambda: _named(box, args.letters)
    if not args.all and not filtered:
        raise Misconfigured(
            "which letters? Name some (see `list`), or choose with --all or filters"
        )
    return lambda: box.letters(_wanted(args, None if args.again else False))


async def _require(box: LetterBox, names: list[str]) -> None:
    """Raise Misconfigured unless there is a letter of each name."""
    found = {letter.id async for letter in _named(box, names)}
    missing = [name for name in names if name not in found]
    if missing:
        raise Misconfigured(
            f"there is no dead letter {', '.join(missing)}: `ebbtide dead-letters list` names them"
        )


async def _named(box: LetterBox, names: list[str]) -> AsyncIterator[Letter]:
    async for letter in box.letters(Wanted()):
        if letter.id in names:
            yield letter


def _corrected(file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Misconfigured(f"cannot read {file}: {error.strerror}") from error


def _stays(letter: Letter, why: str) -> None:
    print(f"{letter.id} stays: it {why}", file=sys.stderr)


def _told(letter: Letter) -> dict[str, Any]:
    """All of a letter as JSON values; bytes that are no text as Python writes them."""
    original = letter.original
    time = original.timestamp
    return {
        "letter": letter.id,
        "source": f"{letter.topic}:{letter.source}",
        "reason": letter.reason,
        "replayed": letter.replayed,
        "log_time": from_ms(time).isoformat() if EARLIEST_MS <= time < LATEST_MS else time,
        "key": _text(original.key),
        "headers": [[name, _text(value)] for name, value in original.headers],
        "value": _text(original.value),
    }


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")
