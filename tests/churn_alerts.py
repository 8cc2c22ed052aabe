"""Churn alerts for tests of whatever reads them."""

from __future__ import annotations

from typing import Any

from contracts.alerts import AlertKind, Arm, ChurnAlert, Severity, alert_id, dedup_key
from contracts.scores import Attributes, Evidence, Position, Reason
from contracts.times import from_ms
from tests.churn_scores import NOON


def churn_alert(
    kind: AlertKind = "opened",
    *,
    user_id: str = "ada",
    at_ms: int = NOON,
    offset: int = 1,
    channels: tuple[str, ...] = ("crm",),
    arm: Arm = "treated",
    severity: Severity = "warning",
    origin: str = "shop 2026",
    model_version: str = "m1",
    device: str | None = None,
    **more: Any,
) -> ChurnAlert:
    """An alert of the user's one episode; its id follows from kind and offset."""
    place = Position(1, offset, 0)
    key = dedup_key(user_id, "default", Position(1, 1, 0), NOON)
    return ChurnAlert(
        alert_id=alert_id(key, kind, place, at_ms),
        dedup_key=key,
        kind=kind,
        rule="default",
        user_id=user_id,
        churn_probability=0.82,
        previous_probability=0.4,
        threshold=0.7,
        trigger="activity" if kind == "resolved" else "silence",
        occurred_at=from_ms(at_ms),
        opened_at=from_ms(NOON),
        last_seen_at=from_ms(NOON - 9 * 86_400_000),
        at_risk_at=None,
        horizon_days=14,
        model_version=model_version,
        origin=origin,
        reasons=()
        if kind == "resolved"
        else (Reason("recency", 1.2, "Away for 9 days, usually 20 hours"),),
        evidence=Evidence(50, 9, 20.0, ()),
        attributes=Attributes("oslo", None, device, "pro", 12.5),
        position=place,
        severity=severity,
        channels=channels,
        arm=arm,
        **more,
    )
