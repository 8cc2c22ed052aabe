"""What the policy remembers of one user, and how it is stored."""

from __future__ import annotations

from typing import Final

import msgspec

from contracts.alerts import Arm, Severity
from contracts.errors import Misconfigured
from contracts.scores import (
    Attributes,
    ChurnScore,
    Crossing,
    Evidence,
    Position,
    Reason,
    Trigger,
)
from contracts.times import from_ms, to_ms

VERSION: Final = 2
_READABLE: Final = (1, VERSION)
"""What version 1 lacks has defaults, at the end."""


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What an alert that no score causes repeats of the user's last score. Times in epoch ms."""

    probability: float
    previous: float | None
    scored_at: int
    trigger: Trigger
    last_seen_at: int | None
    at_risk_at: int | None
    rungs: tuple[float, ...]
    horizon_days: int
    model_version: str
    origin: str
    reasons: tuple[tuple[str, float, str, float | None, float | None, float | None], ...]
    evidence: tuple[int, int, float | None, tuple[str, ...]]
    attributes: tuple[str | None, str | None, str | None, str | None, float]
    position: tuple[int, int, int]
    alert_threshold: float | None = None

    @classmethod
    def of(cls, score: ChurnScore) -> Said:
        """What to keep of a score."""
        return cls(
            score.churn_probability,
            score.previous_probability,
            to_ms(score.scored_at),
            score.trigger,
            None if score.last_seen_at is None else to_ms(score.last_seen_at),
            None if score.at_risk_at is None else to_ms(score.at_risk_at),
            tuple(crossing.level for crossing in score.crossings),
            score.horizon_days,
            score.model_version,
            score.origin,
            tuple(msgspec.structs.astuple(reason) for reason in score.reasons),
            msgspec.structs.astuple(score.evidence),
            msgspec.structs.astuple(score.attributes),
            msgspec.structs.astuple(score.position),
            score.alert_threshold,
        )

    def score(self, user_id: str) -> ChurnScore:
        """The score again, as far as a policy or an alert needs it: it has no id and no times of
        crossings."""
        stays = 1 - self.probability
        return ChurnScore(
            score_id="",
            user_id=user_id,
            prediction="1" if self.probability >= stays else "0",
            confidence=max(self.probability, stays),
            churn_probability=self.probability,
            previous_probability=self.previous,
            scored_at=from_ms(self.scored_at),
            trigger=self.trigger,
            last_seen_at=None if self.last_seen_at is None else from_ms(self.last_seen_at),
            cancelled=False,
            crossings=tuple(Crossing(level, None) for level in self.rungs),
            at_risk_at=None if self.at_risk_at is None else from_ms(self.at_risk_at),
            horizon_days=self.horizon_days,
            model_version=self.model_version,
            origin=self.origin,
            alert_threshold=self.alert_threshold,
            evidence=Evidence(*self.evidence),
            attributes=Attributes(*self.attributes),
            position=Position(*self.position),
            reasons=tuple(Reason(*reason) for reason in self.reasons),  # type: ignore[arg-type]
        )


class Pending(msgspec.Struct, frozen=True, array_like=True):
    """A rule whose conditions hold, but that may not speak yet."""

    rule: str
    since: int
    """Since when they hold, epoch ms."""


class OpenEpisode(msgspec.Struct, frozen=True, array_like=True):
    """An episode between its opening and its end. Times in epoch ms."""

    dedup_key: bytes
    opened_at: int
    probability: float
    """At the episode's last alert."""
    escalated_at: int | None
    """When it last escalated."""
    rule: str = ""
    """Empty: opened by a release that knew one rule only."""
    severity: Severity = "warning"
    arm: Arm = "treated"
    acknowledged_at: int | None = None
    """When somebody took it on."""
    snoozed_until: int | None = None
    commanded_at: int | None = None
    """When the last command was given that counted: an older one comes too late."""
    threshold: float | None = None
    """Where the rule's own threshold is not what opened it: the cut of `top N a day`."""


class Trial(msgspec.Struct, frozen=True, array_like=True):
    """A user's part in the holdout's experiment: their first alert in it, and what followed."""

    epoch: str
    rule: str
    arm: Arm
    at: int
    """When the alert occurred, epoch ms."""
    horizon_days: int
    back: bool = False
    """The user has done something since."""
    retained: bool = False
    """They did so within the horizon."""


class Episode(msgspec.Struct, frozen=True, array_like=True):
    """A user's last score and last alert, and the episode that is open, if any."""

    log: int
    offset: int
    scored_at: int
    """(log, offset, scored_at in epoch ms) is the order of the last score seen."""
    alerted_at: int | None
    """When the user's last alert occurred, epoch ms; what people command does not count."""
    open: OpenEpisode | None
    churned: bool
    """The cancellation was told; cleared by activity."""
    pending: tuple[Pending, ...] = ()
    """Rules that may speak later, without a score; only while no episode is open."""
    said: Said | None = None
    """The last score, kept while an episode is open or a rule pending."""
    reached: int = 0
    """Of rules that ask for so many a day: the highest risk counted in this silence, millionths."""
    trial: Trial | None = None
    """Only under a policy that holds users out, or did."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Episode)


def encode(episode: Episode) -> bytes:
    """Return a version byte and the fields as msgpack: 20 bytes of a user nobody worries about."""
    return bytes([VERSION]) + _encoder.encode(episode)


def decode(stored: bytes) -> Episode:
    """Read what `encode` wrote, or version 1; raises Misconfigured for any other version."""
    version = stored[0] if stored else None
    if version not in _READABLE:
        raise Misconfigured(
            f"Redis holds an alert episode of version {version}, this release reads up to "
            f"{VERSION}: it was written by another release; run that one or a newer one"
        )
    try:
        return _decoder.decode(memoryview(stored)[1:])
    except msgspec.MsgspecError as error:
        raise Misconfigured(
            f"Redis holds an alert episode that cannot be read ({error}): restore Redis from a "
            "copy, or delete the key to forget the episode"
        ) from error
