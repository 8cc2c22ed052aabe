"""The churn alert as it travels on `churn-alert`."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from contracts.ids import digest
from contracts.scores import Attributes, Evidence, Moment, Position, Reason, Trigger
from contracts.topics import SCHEMA_VERSION

AlertKind = Literal["opened", "escalated", "acknowledged", "snoozed", "resolved", "churned"]
Severity = Literal["info", "warning", "critical"]
Arm = Literal["treated", "control"]

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""The mildest first."""

EVENT_ACTIONS: Final[dict[AlertKind, Literal["trigger", "acknowledge", "resolve"]]] = {
    "opened": "trigger",
    "escalated": "trigger",
    "acknowledged": "acknowledge",
    "snoozed": "acknowledge",
    "resolved": "resolve",
    "churned": "resolve",
}
"""`event_action` of PagerDuty's Events API v2, with `dedup_key` as it is."""


class ChurnAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One transition of an episode: a user slips away, slips further, comes back, or has left.

    A person may have taken the episode on (`acknowledged`) or put it off (`snoozed`). `dedup_key`
    names the episode, `alert_id` the transition; both are deterministic, so a repeat on the wire
    carries the same ids.
    """

    alert_id: str
    dedup_key: str
    kind: AlertKind
    rule: str
    user_id: str
    churn_probability: float
    previous_probability: float | None
    """At the episode's last alert, or at the score before the opening one."""
    threshold: float
    """The rung of the model's ladder the rule's threshold snapped to."""
    trigger: Trigger
    """Of the score it speaks of."""
    occurred_at: Moment
    """The causing score's `scored_at`; of a command when it was given, of a wait when it ended."""
    opened_at: Moment
    last_seen_at: Moment | None
    at_risk_at: Moment | None
    horizon_days: int
    model_version: str
    origin: str
    """What the model learned from: `simulator`, or the log's name and dates."""
    reasons: tuple[Reason, ...]
    """What raises the risk most; empty when the user has come back."""
    evidence: Evidence
    attributes: Attributes
    position: Position
    severity: Severity = "warning"
    channels: tuple[str, ...] = ()
    """Names of channels in the policy file that the rule speaks through."""
    arm: Arm = "treated"
    """`control`: held out of the experiment's treatment, to be told to nobody."""
    policy: str = ""
    """Digest of the policy that made it."""
    words: str = ""
    """The rule's own sentence, if it has one."""
    snoozed_until: Moment | None = None
    """Of `snoozed`: when the episode may speak again."""
    actor: str = ""
    """Who gave the command behind it, as they called themselves."""
    schema_version: int = SCHEMA_VERSION


def dedup_key(user_id: str, rule: str, opening: Position, opened_at_ms: int) -> str:
    """Names the episode: same user, rule and opening score, same key."""
    return digest(user_id, rule, opening.place, str(opened_at_ms))


def alert_id(key: str, kind: AlertKind, causing: Position, scored_at_ms: int) -> str:
    """Names the transition within the episode `key`.

    scored_at_ms: of a transition that no score caused, when it occurred.
    """
    return digest(key, kind, causing.place, str(scored_at_ms))


_decoder = msgspec.json.Decoder(ChurnAlert)
_encoder = msgspec.json.Encoder()


def decode_alert(value: bytes) -> ChurnAlert:
    """Read one alert; raises msgspec.MsgspecError when it is none."""
    return _decoder.decode(value)


def encode_alert(alert: ChurnAlert) -> bytes:
    """Return the alert as JSON bytes."""
    return _encoder.encode(alert)
