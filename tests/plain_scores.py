"""The churn score messages of a batch, plainly: a struct a score, through the encoder.

What `scorer.messages` writes has to be these bytes.
"""

from __future__ import annotations

import numpy as np

from contracts.record import CANCELLED, HAS_CURVE
from contracts.scores import (
    DECIMALS,
    Attributes,
    ChurnScore,
    Crossing,
    Evidence,
    Position,
    Reason,
    Trigger,
    encode_score,
    score_id,
)
from contracts.times import HOUR_MS, NEVER, from_ms, from_ms_or_none, to_ms
from contracts.topics import cloud_event_headers
from model.features import missing, usual_gap_ms
from model.silence import at_risk_at, crossings
from runtime.kafka import Message
from scorer.messages import MICRO, PUBLISHED_HEADER, ScoreWriter


def plain_messages(
    writer: ScoreWriter,
    user_ids: list[str],
    records: np.ndarray,
    previous: np.ndarray,
    triggers: list[Trigger],
    *,
    reasons: list[tuple[Reason, ...]],
    partition: int,
    published_at_ms: int,
) -> list[Message]:
    """As `ScoreWriter.messages`, the reasons given."""
    facts, outlook = records["facts"], records["outlook"]
    gaps, unstated = usual_gap_ms(facts), missing(facts)
    return [
        _message(
            _score(
                writer,
                user_id,
                facts[i],
                outlook[i],
                at_risk_at(
                    outlook["curve"],
                    writer.model.levels,
                    facts["last_seen"],
                    writer.alert_threshold,
                )[i],
                partition=partition,
                reasons=reasons[i],
                previous=None if np.isnan(previous[i]) else round(float(previous[i]), DECIMALS),
                trigger=triggers[i],
                usual_gap=None if np.isnan(gaps[i]) else round(float(gaps[i]) / HOUR_MS, 2),
                unstated=unstated[i],
            ),
            published_at_ms,
        )
        for i, user_id in enumerate(user_ids)
    ]


def _score(
    writer: ScoreWriter,
    user_id: str,
    facts: np.void,
    outlook: np.void,
    risk_at: int,
    *,
    partition: int,
    reasons: tuple[Reason, ...],
    previous: float | None,
    trigger: Trigger,
    usual_gap: float | None,
    unstated: tuple[str, ...],
) -> ChurnScore:
    probability = int(outlook["probability"]) / MICRO
    churns = probability >= writer.model.class_cutoff
    position = Position(int(facts["log_number"]), int(facts["offset"]), partition)
    scored_at = int(outlook["scored_at"])
    last_seen = int(facts["last_seen"])
    has_curve = bool(outlook["state"] & HAS_CURVE) and last_seen != NEVER
    curve = crossings(outlook["curve"], writer.model.levels, last_seen) if has_curve else []
    return ChurnScore(
        score_id=score_id(user_id, position, scored_at, trigger, writer.model.version),
        user_id=user_id,
        prediction="1" if churns else "0",
        confidence=round(probability if churns else 1 - probability, DECIMALS),
        churn_probability=probability,
        previous_probability=previous,
        scored_at=from_ms(scored_at),
        trigger=trigger,
        last_seen_at=from_ms_or_none(last_seen),
        cancelled=bool(facts["flags"] & CANCELLED),
        crossings=tuple(
            Crossing(round(level, DECIMALS), None if at is None else from_ms(at))
            for level, at in curve
        ),
        at_risk_at=from_ms_or_none(int(risk_at)) if has_curve else None,
        horizon_days=writer.model.horizon_days,
        model_version=writer.model.version,
        origin=writer.model.origin,
        alert_threshold=writer.rung,
        evidence=Evidence(
            events=int(facts["events"]),
            active_days=int(facts["active_days"]),
            usual_gap_hours=usual_gap,
            missing=unstated,
        ),
        attributes=Attributes(
            location=writer.name(int(facts["location"])),
            referral_source=writer.name(int(facts["referral_source"])),
            device_type=writer.name(int(facts["device_type"])),
            plan=writer.name(int(facts["plan"])),
            value=int(facts["value_cents"]) / 100,
        ),
        position=position,
        reasons=reasons,
    )


def _message(score: ChurnScore, published_at_ms: int) -> Message:
    """The score as a record: its Kafka timestamp is the moment scored, not the moment sent."""
    headers = cloud_event_headers(
        event_id=score.score_id,
        source="/ebbtide/scorer",
        kind="ebbtide.churn-score",
        time=score.scored_at.isoformat(),
    )
    headers.append((PUBLISHED_HEADER, from_ms(published_at_ms).isoformat().encode()))
    return Message(score.user_id.encode(), encode_score(score), to_ms(score.scored_at), headers)
