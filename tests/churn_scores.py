"""Churn scores for tests of whatever reads them."""

from __future__ import annotations

from typing import Any

from contracts.scores import Attributes, ChurnScore, Evidence, Position, Trigger, score_id
from contracts.times import DAY_MS, from_ms, to_ms

NOON = 1_700_000_000_000
"""When the users of these tests were last seen, epoch ms."""


def churn_score(
    probability: float,
    day: float = 1.0,
    *,
    user_id: str = "ada",
    offset: int | None = None,
    log: int = 1,
    trigger: Trigger = "silence",
    last_seen_day: float | None = 0.0,
    active_days: int = 9,
    usual_gap_hours: float | None = 20.0,
    cancelled: bool = False,
    previous: float | None = None,
) -> ChurnScore:
    """A score `day` days after NOON; its offset is the day unless given."""
    scored_at = NOON + round(day * DAY_MS)
    position = Position(log, int(day) if offset is None else offset, 0)
    return ChurnScore(
        score_id=score_id(user_id, position, scored_at, trigger, "m1"),
        user_id=user_id,
        prediction="1" if probability >= 0.5 else "0",
        confidence=max(probability, 1 - probability),
        churn_probability=probability,
        previous_probability=previous,
        scored_at=from_ms(scored_at),
        trigger=trigger,
        last_seen_at=None
        if last_seen_day is None
        else from_ms(NOON + round(last_seen_day * DAY_MS)),
        cancelled=cancelled,
        crossings=(),
        at_risk_at=None,
        horizon_days=14,
        model_version="m1",
        origin="simulated",
        evidence=Evidence(50, active_days, usual_gap_hours, ()),
        attributes=Attributes("oslo", None, None, "pro", 12.5),
        position=position,
    )


def published_at(score: ChurnScore) -> dict[str, Any]:
    """Arguments of a record that carries the score."""
    return {"key": score.user_id, "timestamp": to_ms(score.scored_at)}
