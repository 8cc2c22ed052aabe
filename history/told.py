"""A churn score as the history reads it: a third of its fields, in a third of the time."""

from __future__ import annotations

import msgspec

from contracts.scores import Moment, Position, Trigger


class ToldEvidence(msgspec.Struct, frozen=True):
    active_days: int
    usual_gap_hours: float | None


class Told(msgspec.Struct, frozen=True):
    """The same names as `contracts.scores.ChurnScore` has."""

    user_id: str
    churn_probability: float
    scored_at: Moment
    trigger: Trigger
    last_seen_at: Moment | None
    cancelled: bool
    horizon_days: int
    model_version: str
    origin: str
    evidence: ToldEvidence
    position: Position


_decoder = msgspec.json.Decoder(Told)


def decode_told(value: bytes) -> Told:
    """Read one score; raises msgspec.MsgspecError when it is none."""
    return _decoder.decode(value)
