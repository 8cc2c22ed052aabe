"""One row for each message and channel, as it lies in Redis: what is told, what became of it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from contracts.errors import Misconfigured

VERSION: Final = 1

State = Literal[
    "waiting", "held", "digest", "sent", "dead", "control", "refused", "overtaken", "discarded",
    "digested",
]  # fmt: skip
"""waiting: for its first or next attempt. held: by the storm guard. digest: for the next digest.
sent: acknowledged by the channel. dead: given up. control: of the holdout, told to nobody.
refused: from the demo model, which the channel does not want. overtaken: the user came back before
they were told of. discarded: by a person. digested: told in a digest."""

STATES: Final[tuple[State, ...]] = (
    "dead", "waiting", "held", "digest", "sent", "digested", "refused", "control", "overtaken",
    "discarded",
)  # fmt: skip
"""What somebody should look at first."""

OPEN_STATES: Final[tuple[State, ...]] = ("waiting", "held", "digest")
"""Those something still happens to."""

Kind = Literal["alert", "digest", "incident"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery. `row_id` is the message and the channel, so both are known from it."""

    row_id: str
    message_id: str
    """The alert's id, or that of a digest or incident: the receiver's idempotency key."""
    channel: str
    kind: Kind
    content: bytes
    """The alert as JSON, or a `Notice` as JSON."""
    user_id: str = ""
    dedup_key: str = ""
    rule: str = ""
    label: str = ""
    """The kind of alert, for lists."""
    severity: str = ""
    state: State
    reason: str = ""
    """Of the last failure, or why nothing is told."""
    attempts: int = 0
    repeats: int = 0
    """Attempts made although it is unknown what became of the one before."""
    under_way: bool = False
    """An attempt has begun and nothing is known of its end."""
    due: int
    """Of the next attempt or decision, epoch ms."""
    created: int
    updated: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Row)


def encode(row: Row) -> bytes:
    """Return a version byte and the row as msgpack."""
    return bytes([VERSION]) + _encoder.encode(row)


def decode(stored: bytes) -> Row:
    """Read what `encode` wrote; raises Misconfigured for any other version."""
    if not stored or stored[0] != VERSION:
        raise Misconfigured(
            f"Redis holds a delivery of version {stored[0] if stored else None}, this release "
            f"reads {VERSION}: run the release that wrote it, or a newer one"
        )
    return _decoder.decode(memoryview(stored)[1:])


def row_id(message_id: str, channel: str) -> str:
    """Names the delivery of a message to a channel."""
    return f"{message_id}:{channel}"


def channel_of(row_id: str) -> str:
    """The channel a row's id names."""
    return row_id.rpartition(":")[2]
