"""The churn score messages of a batch, built from arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contracts.partition import home
from contracts.record import CANCELLED, HAS_CURVE, HAS_SCORE
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
from contracts.times import DAY_MS, HOUR_MS, NEVER, from_ms, from_ms_or_none, to_ms
from contracts.topics import cloud_event_headers
from model.features import missing, usual_gap_ms
from model.silence import SilentModel, at_risk_at, crossings
from runtime.kafka import Message

MICRO = 1_000_000
PUBLISHED_HEADER = "ebbtide-published-at"


class ScoringModel(SilentModel, Protocol):
    """What of a model the scorer needs."""

    @property
    def version(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def horizon_days(self) -> int: ...
    @property
    def class_cutoff(self) -> float: ...
    @property
    def hash(self) -> int: ...


Explain = Callable[[np.ndarray, np.ndarray], list[tuple[Reason, ...]] | None]
"""(n,) FACTS and (n,) epoch ms to what raises each user's risk; None when nobody can tell."""


def unexplained(_facts: np.ndarray, _as_of: np.ndarray) -> None:
    """For models whose log-odds are no sum."""


@dataclass(frozen=True, slots=True)
class ScoreWriter:
    """Turns records with a fresh outlook into messages for `churn-score`."""

    model: ScoringModel
    partitions: int
    alert_threshold: float
    name: Callable[[int], str | None]
    explain: Explain = unexplained
    least_active_days: int = 0
    """Active days an alert needs; below it no score carries reasons."""

    def scores(
        self,
        user_ids: list[str],
        records: np.ndarray,
        previous: np.ndarray,
        triggers: list[Trigger],
    ) -> list[ChurnScore]:
        """One score per user.

        records: (n,) RECORD whose outlook holds the new score; previous: (n,) the probabilities
        before, NaN where there was none.
        """
        facts, outlook = records["facts"], records["outlook"]
        gaps = usual_gap_ms(facts)
        unstated = missing(facts)
        has_curve = (outlook["state"] & HAS_CURVE) != 0
        risk_at = np.where(
            has_curve,
            at_risk_at(
                outlook["curve"], self.model.levels, facts["last_seen"], self.alert_threshold
            ),
            NEVER,
        )
        reasons = self._reasons(facts, outlook, triggers)
        return [
            self._score(
                user_id,
                facts[i],
                outlook[i],
                reasons=reasons[i],
                previous=None if np.isnan(previous[i]) else round(float(previous[i]), DECIMALS),
                trigger=triggers[i],
                usual_gap=None if np.isnan(gaps[i]) else round(float(gaps[i]) / HOUR_MS, 2),
                unstated=unstated[i],
                has_curve=bool(has_curve[i]),
                risk_at=int(risk_at[i]),
            )
            for i, user_id in enumerate(user_ids)
        ]

    def _reasons(
        self, facts: np.ndarray, outlook: np.ndarray, triggers: list[Trigger]
    ) -> list[tuple[Reason, ...]]:
        """Reasons where an alert may come of the score: telling all would cost a third of them.

        That is a cancellation, or a user of enough active days who is silent for a day and whose
        risk is at or above the rung of the alert threshold. The alerts worker cannot ask a model.
        """
        rung = self.model.levels[np.abs(self.model.levels - self.alert_threshold).argmin()]
        silent = outlook["scored_at"] - facts["last_seen"] >= DAY_MS
        missed = silent & (np.array(triggers, "U") != "activity")
        risky = outlook["probability"] >= min(rung, self.alert_threshold) * MICRO
        enough = facts["active_days"] >= self.least_active_days
        told: list[tuple[Reason, ...]] = [()] * len(facts)
        which = np.flatnonzero(missed & risky & enough | (facts["flags"] & CANCELLED != 0))
        if len(which):
            found = self.explain(facts[which], outlook["scored_at"][which])
            for i, reasons in zip(which, found or (), strict=found is not None):
                told[i] = reasons
        return told

    def _score(
        self,
        user_id: str,
        facts: np.void,
        outlook: np.void,
        *,
        reasons: tuple[Reason, ...],
        previous: float | None,
        trigger: Trigger,
        usual_gap: float | None,
        unstated: tuple[str, ...],
        has_curve: bool,
        risk_at: int,
    ) -> ChurnScore:
        probability = int(outlook["probability"]) / MICRO
        churns = probability >= self.model.class_cutoff
        position = Position(
            int(facts["log_number"]), int(facts["offset"]), home(user_id, self.partitions)
        )
        scored_at = int(outlook["scored_at"])
        last_seen = int(facts["last_seen"])
        curve = (
            crossings(outlook["curve"], self.model.levels, last_seen)
            if has_curve and last_seen != NEVER
            else []
        )
        return ChurnScore(
            score_id=score_id(user_id, position, scored_at, trigger, self.model.version),
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
            at_risk_at=from_ms_or_none(risk_at),
            horizon_days=self.model.horizon_days,
            model_version=self.model.version,
            origin=self.model.origin,
            evidence=Evidence(
                events=int(facts["events"]),
                active_days=int(facts["active_days"]),
                usual_gap_hours=usual_gap,
                missing=unstated,
            ),
            attributes=Attributes(
                location=self.name(int(facts["location"])),
                referral_source=self.name(int(facts["referral_source"])),
                device_type=self.name(int(facts["device_type"])),
                plan=self.name(int(facts["plan"])),
                value=int(facts["value_cents"]) / 100,
            ),
            position=position,
            reasons=reasons,
        )


def message(score: ChurnScore, published_at_ms: int) -> Message:
    """The score as a record: its Kafka timestamp is the moment scored, not the moment sent."""
    headers = cloud_event_headers(
        event_id=score.score_id,
        source="/ebbtide/scorer",
        kind="ebbtide.churn-score",
        time=score.scored_at.isoformat(),
    )
    headers.append((PUBLISHED_HEADER, from_ms(published_at_ms).isoformat().encode()))
    return Message(score.user_id.encode(), encode_score(score), to_ms(score.scored_at), headers)


def previous_probability(records: np.ndarray) -> np.ndarray:
    """(n,) probability of each user's last score, NaN where there was none."""
    outlook = records["outlook"]
    scored = (outlook["state"] & HAS_SCORE) != 0
    return np.where(scored, outlook["probability"] / MICRO, np.nan)
