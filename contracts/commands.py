"""What a person says of an alert, as it travels on `alert-command`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from contracts.ids import digest
from contracts.scores import Moment
from contracts.topics import SCHEMA_VERSION

CommandKind = Literal["acknowledge", "snooze", "verdict"]
Verdict = Literal["helped", "wrong", "duplicate"]

MAX_NOTE: Final = 2_000
MAX_ACTOR: Final = 256

Note = Annotated[str, msgspec.Meta(min_length=0, max_length=MAX_NOTE)]
Actor = Annotated[str, msgspec.Meta(min_length=0, max_length=MAX_ACTOR)]


class AlertCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A person took an alert on, put it off, or said what it was worth.

    The record's key is the user, so that a command lies in the same partition number as the user's
    scores. A command may come twice, under the same `command_id`.
    """

    command_id: str
    user_id: str
    dedup_key: str
    """The episode it is about; one that is over takes verdicts only."""
    kind: CommandKind
    until: Moment | None = None
    """Of `snooze`: when the episode may speak again."""
    verdict: Verdict | None = None
    """Of `verdict`: somebody acted on it, the user was not leaving, it said nothing new."""
    note: Note = ""
    actor: Actor = ""
    """Who says so, as the caller put it; nobody checks."""
    at: Moment
    """When the gateway took it."""
    schema_version: int = SCHEMA_VERSION


def command_id(dedup_key: str, kind: CommandKind, *said: str) -> str:
    """Deterministic: the same `said` of the same episode is the same command."""
    return digest(dedup_key, kind, *said)


_decoder = msgspec.json.Decoder(AlertCommand)
_encoder = msgspec.json.Encoder()


def decode_command(value: bytes) -> AlertCommand:
    """Read one command; raises msgspec.MsgspecError when it is none."""
    return _decoder.decode(value)


def encode_command(command: AlertCommand) -> bytes:
    """Return the command as JSON bytes."""
    return _encoder.encode(command)
