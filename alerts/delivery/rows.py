"""What becomes a delivery: the row of an alert, of a digest, of an incident."""

from __future__ import annotations

import msgspec

from contracts.alerts import ChurnAlert, encode_alert
from contracts.deliveries import Kind, Row, row_id
from contracts.times import to_ms


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is no alert: a digest or an incident."""

    type: str
    title: str
    lines: tuple[str, ...]
    at: int
    """Epoch ms."""
    data: dict[str, object] = {}
    """What machines read."""


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
