"""One row for each message and channel: what is to be told, and what became of it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from contracts.alerts import ChurnAlert, encode_alert
from contracts.errors import Misconfigured
from contracts.times import to_ms

VERSION: Final = 1

State = Literal[
    "waiting", "held", "digest", "sent", "dead", "control", "refused", "overtaken", "discarded",
    "digested",
]  # fmt: skip
"""waiting: for its first or next attempt. held: by the storm guard. digest: for the next digest.
sent: acknowledged by the channel. dead: given up. control: of the holdout, told to nobody.
refused: from the demo model, which the channel does not want. overtaken: the user came back before
they were told of. discarded: by a person. digested: told in a digest."""

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


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is no alert: a digest or an incident."""

    type: str
    title: str
    lines: tuple[str, ...]
    at: int
    """Epoch ms."""
    data: dict[str, object] = {}
    """What machines read."""


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


def row_of(alert: ChurnAlert, channel: str, now_ms: int) -> Row:
    """The row of an alert that has just come, due at once."""
    return Row(
        row_id=row_id(alert.alert_id, channel),
        message_id=alert.alert_id,
        channel=channel,
        kind="alert",
        content=encode_alert(alert),
        user_id=alert.user_id,
        dedup_key=alert.dedup_key,
        rule=alert.rule,
        label=alert.kind,
        severity=alert.severity,
        state="waiting",
        due=now_ms,
        created=now_ms,
        updated=now_ms,
    )


def notice_row(notice: Notice, message_id: str, channel: str, kind: Kind, now_ms: int) -> Row:
    """The row of a digest or an incident, due at once."""
    return Row(
        row_id=row_id(message_id, channel),
        message_id=message_id,
        channel=channel,
        kind=kind,
        content=msgspec.json.encode(notice),
        label=kind,
        state="waiting",
        due=now_ms,
        created=now_ms,
        updated=now_ms,
    )


def crossing_of(alert: ChurnAlert) -> tuple[bytes, float]:
    """What the storm guard keeps of an opening: member and score of a sorted set."""
    crossing = Crossing(
        alert.dedup_key,
        alert.model_version,
        alert.attributes.location,
        alert.attributes.referral_source,
        alert.attributes.device_type,
        alert.attributes.plan,
    )
    return msgspec.msgpack.encode(crossing), float(to_ms(alert.occurred_at))


class Crossing(msgspec.Struct, frozen=True, array_like=True):
    """One opened episode as the storm guard sees it."""

    dedup_key: str
    model_version: str
    location: str | None = None
    referral_source: str | None = None
    device_type: str | None = None
    plan: str | None = None


def crossing(member: bytes) -> Crossing:
    """Read what `crossing_of` wrote."""
    return msgspec.msgpack.decode(member, type=Crossing)
