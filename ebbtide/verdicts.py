"""What people said of alerts, read back from `alert-command`: labels, for whoever wants them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from contracts.commands import AlertCommand, Verdict, decode_command
from contracts.scores import Moment
from contracts.topics import COMMANDS
from runtime.settings import ServiceSettings
from runtime.tail import BEGINNING, NoTopic, tail


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict that stands on an episode; `train --use-verdicts` reads the first three."""

    user_id: str
    at: Moment
    """When it was given."""
    verdict: Verdict
    dedup_key: str
    note: str
    actor: str


def standing(commands: Iterable[AlertCommand]) -> list[Label]:
    """The last verdict on each episode, by time; `commands` in log order for each user."""
    labels: dict[str, Label] = {}
    for command in commands:
        if command.kind == "verdict" and command.verdict is not None:
            labels[command.dedup_key] = Label(
                user_id=command.user_id,
                at=command.at,
                verdict=command.verdict,
                dedup_key=command.dedup_key,
                note=command.note,
                actor=command.actor,
            )
    return sorted(labels.values(), key=lambda label: (label.at, label.dedup_key))


async def given(settings: ServiceSettings) -> list[AlertCommand]:
    """Every command there is, in log order within partitions; raises LogUnavailable.

    What is none is left out: it lies in the dead letters.
    """
    commands: list[AlertCommand] = []
    try:
        async with tail(settings, COMMANDS, BEGINNING) as topic:
            while not await topic.is_at_end():
                commands += _readable(record.value for record in await topic.read())
    except NoTopic:
        pass
    return commands


def _readable(values: Iterable[Any]) -> list[AlertCommand]:
    commands = []
    for value in values:
        try:
            commands.append(decode_command(value or b""))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return commands
