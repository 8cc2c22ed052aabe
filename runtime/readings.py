"""What the records of our own topics say, or why they are bad letters.

Used by the workers who read them, and by who sends a dead letter back: what would be parked again
must not go.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from contracts.alerts import ChurnAlert, decode_alert
from contracts.commands import AlertCommand, decode_command
from contracts.scores import ChurnScore, decode_score
from runtime.handler import Record
from runtime.letters import BadLetter


@dataclass(frozen=True, slots=True)
class Item:
    """A record of `churn-score`: a user's score, or None for their erasure."""

    user_id: str
    score: ChurnScore | None


def item_of(record: Record) -> Item | BadLetter:
    """Read a record of `churn-score`."""
    if record.key is None:
        return BadLetter(record, "the record has no key, so its user is unknown")
    try:
        user_id = record.key.decode()
        score = None if record.value is None else decode_score(record.value)
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        return BadLetter(record, f"not a churn score: {error}")
    if score is not None and (reason := _unusable(score, user_id)):
        return BadLetter(record, reason)
    return Item(user_id, score)


def _unusable(score: ChurnScore, user_id: str) -> str | None:
    """Why a score that decodes cannot be judged."""
    if score.user_id != user_id:
        return f"the score is of {score.user_id!r}, not of the record's key"
    if not all(0 <= number < 2**63 for number in (score.position.log, score.position.offset)):
        return "a position that no log has"
    return None


def command_of(record: Record) -> AlertCommand | BadLetter:
    """Read a record of `alert-command`."""
    if record.key is None:
        return BadLetter(record, "the record has no key, so its user is unknown")
    try:
        user_id, command = record.key.decode(), decode_command(record.value or b"")
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        return BadLetter(record, f"not an alert command: {error}")
    if command.user_id != user_id:
        return BadLetter(record, f"the command is of {command.user_id!r}, not of the record's key")
    return command


def alert_of(record: Record) -> ChurnAlert | BadLetter:
    """Read a record of `churn-alert`."""
    if record.key is None or record.value is None:
        return BadLetter(record, "the record has no key or no value")
    try:
        alert = decode_alert(record.value)
        user_id = record.key.decode()
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        return BadLetter(record, f"not a churn alert: {error}")
    if alert.user_id != user_id:
        return BadLetter(record, f"the alert is of {alert.user_id!r}, not of the record's key")
    return alert
