"""The churn score as it travels on `churn-score`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from contracts.ids import digest
from contracts.topics import SCHEMA_VERSION

Trigger = Literal["activity", "silence", "model"]
TRIGGERS: Final[tuple[Trigger, ...]] = ("activity", "silence", "model")

DECIMALS: Final = 6
"""Probabilities are rounded to this before any comparison."""


class Position(msgspec.Struct, frozen=True, order=True):
    """The last record a score knows of; (log, offset) orders one user's scores."""

    log: int
    offset: int
    partition: int

    @property
    def place(self) -> str:
        """log:partition:offset"""
        return f"{self.log}:{self.partition}:{self.offset}"


Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Crossing(msgspec.Struct, frozen=True):
    """When risk reaches a rung of the model's ladder if the user stays silent, None for never."""

    level: float
    at: Moment | None


class Evidence(msgspec.Struct, frozen=True):
    """How much behaviour stands behind a score, and which inputs nobody ever stated."""

    events: int
    active_days: int
    usual_gap_hours: float | None
    missing: tuple[str, ...]


class Attributes(msgspec.Struct, frozen=True):
    """What is known of the user besides behaviour; names are as normalised, or None."""

    location: str | None
    referral_source: str | None
    device_type: str | None
    plan: str | None
    value: float


Concept = Literal["recency", "frequency", "trend", "tenure", "money", "context"]


class Reason(msgspec.Struct, frozen=True):
    """What one side of a user's behaviour does to their risk, in log-odds and in words.

    `value` is the user's, `usual` their own past's and `typical` the middle of the moments the
    model learned from; null where there is none. Units: recency days, frequency active days of the
    last 28, trend active days a week, tenure days, money money.
    """

    concept: Concept
    contribution: float
    """Log-odds; above 0 raises the risk."""
    text: str
    value: float | None = None
    usual: float | None = None
    typical: float | None = None


class Explanation(msgspec.Struct, frozen=True):
    """A score taken apart: base plus contributions is the log-odds of the probability."""

    base: float
    """Log-odds before anything is known of the user."""
    reasons: tuple[Reason, ...]
    """Every concept, the largest contribution first, whichever way it points."""


class ChurnScore(msgspec.Struct, frozen=True, kw_only=True):
    """The probability that a user does nothing within the horizon, as of `scored_at`.

    `scored_at` is a moment of the data: the log time of the last event, or the due moment of a
    silence timer. Order one user's scores by (position.log, position.offset, scored_at) and
    ignore what is not higher.
    """

    score_id: str
    user_id: str
    prediction: Literal["0", "1"]
    confidence: float
    """Probability of the predicted class."""
    churn_probability: float
    previous_probability: float | None
    scored_at: Moment
    trigger: Trigger
    last_seen_at: Moment | None
    cancelled: bool
    """The subscription was cancelled, with no activity since."""
    crossings: tuple[Crossing, ...]
    """The silence curve: every rung of the model's ladder with the time risk reaches it.

    Empty before the user's first session has ended. During a session it is the last session's
    curve moved to the new last-seen.
    """
    at_risk_at: Moment | None
    """When the risk reaches `alert_threshold` if the user stays silent."""
    horizon_days: int
    model_version: str
    origin: str
    """What the model learned from: `simulator`, or the log's name and dates."""
    alert_threshold: float | None = None
    """The rung of the ladder at which alerts open, unless a rule has a threshold of its own; null
    in scores of releases that did not tell."""
    evidence: Evidence
    attributes: Attributes
    position: Position
    reasons: tuple[Reason, ...] = ()
    """What raises the risk most, the strongest first; only of scores an alert may come from."""
    schema_version: int = SCHEMA_VERSION


def score_id(
    user_id: str, position: Position, scored_at_ms: int, trigger: str, model_version: str
) -> str:
    """Deterministic: the same id always stands for the same content."""
    return digest(user_id, position.place, str(scored_at_ms), trigger, model_version)


_decoder = msgspec.json.Decoder(ChurnScore)
_encoder = msgspec.json.Encoder()


def decode_score(value: bytes) -> ChurnScore:
    """Read one score; raises msgspec.MsgspecError when it is none."""
    return _decoder.decode(value)


def encode_score(score: ChurnScore) -> bytes:
    """Return the score as JSON bytes."""
    return _encoder.encode(score)
