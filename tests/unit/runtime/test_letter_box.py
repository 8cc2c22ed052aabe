"""What a letter becomes when it goes back, by the topic it came from."""

from __future__ import annotations

import pytest

from contracts.activity import FoldRules
from contracts.commands import AlertCommand, encode_command
from contracts.errors import BadRecord
from contracts.times import from_ms
from contracts.topics import COMMANDS
from runtime.letter_box import message_of
from runtime.letters import Letter, Original


def letter(value: bytes) -> Letter:
    original = Original(b"ada", value, (), 1_700_000_000_000)
    return Letter(0, 3, COMMANDS, "1:0:5", "not an alert command", original)


def test_a_command_goes_back_when_it_is_one() -> None:
    """Corrected it is sent under its user's key; as it came it is refused again."""
    command = AlertCommand(
        command_id="c", user_id="ada", dedup_key="0" * 32, kind="acknowledge", at=from_ms(0)
    )

    message = message_of(letter(b"{"), FoldRules(), value=encode_command(command))

    assert (b"ada", encode_command(command)) == (message.key, message.value)
    with pytest.raises(BadRecord, match="not an alert command"):
        message_of(letter(b"{"), FoldRules())
