"""The alert policy in force, as the alerts worker tells it: nothing in it is secret."""

from __future__ import annotations

from datetime import datetime

import msgspec

from contracts.alerts import AlertKind, Severity


class QuietTime(msgspec.Struct, frozen=True, kw_only=True):
    """A time of day during which nobody is told anything."""

    begins: str
    ends: str
    zone: str
    days: tuple[str, ...]
    critical_passes: bool


class RuleInForce(msgspec.Struct, frozen=True, kw_only=True):
    """One rule: when it speaks, and through what."""

    name: str
    threshold: float | None
    """Risk from which an episode opens; snapped to the model's ladder. Null: the model says."""
    top_a_day: float | None
    """So many openings a day instead of a threshold, which then serves the first day."""
    resolve_below: float | None
    """Null: below five sevenths of the threshold."""
    escalation_step: float
    cooldown_days: float
    least_active_days: int
    most_active_days: int | None
    for_minutes: float
    """How long the risk must have been there."""
    severity: Severity
    escalated_severity: Severity | None
    where: tuple[str, ...]
    """Whom it watches, a condition each; empty: everybody."""
    channels: tuple[str, ...]
    max_per_hour: int | None
    quiet_hours: QuietTime | None
    words: str


class ChannelInForce(msgspec.Struct, frozen=True, kw_only=True):
    """A channel, without its address and its secrets."""

    name: str
    kind: str
    kinds: tuple[AlertKind, ...]
    """The transitions it is told."""
    rate_per_minute: int
    max_per_hour: int | None
    quiet_hours: QuietTime | None
    allow_private: bool
    allow_demo_model: bool


class HoldoutInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The experiment: the share of users told to nobody, and its name."""

    share: float
    epoch: str


class StormRules(msgspec.Struct, frozen=True, kw_only=True):
    """When so many alerts at once are held."""

    share: float
    window_minutes: int
    least_users: int
    on_clear: str
    channels: tuple[str, ...] | None
    """Who is told; null: every channel."""


class PolicyInForce(msgspec.Struct, frozen=True, kw_only=True):
    """What the alerts worker judges by."""

    digest: str
    """As alerts state it in `policy`."""
    told_at: datetime
    """When a worker last said so."""
    rules: tuple[RuleInForce, ...]
    holdout: HoldoutInForce
    channels: tuple[ChannelInForce, ...]
    storm: StormRules


_decoder = msgspec.json.Decoder(PolicyInForce)


def decode_policy(stored: bytes) -> PolicyInForce:
    """Read a stored policy; raises msgspec.MsgspecError when it is none."""
    return _decoder.decode(stored)


def encode_policy(policy: PolicyInForce) -> bytes:
    """Return the policy as JSON."""
    return msgspec.json.encode(policy)
