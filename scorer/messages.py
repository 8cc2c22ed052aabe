"""The churn score messages of a batch, built from arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contracts.record import CANCELLED, HAS_CURVE, HAS_SCORE
from contracts.scores import Position, Reason, Trigger, score_id
from contracts.times import DAY_MS, HOUR_MS, NEVER, from_ms
from contracts.topics import SCHEMA_VERSION, CloudEvents
from model.features import missing, usual_gap_ms
from model.silence import SilentModel, at_risk_at
from runtime.kafka import Message
from scorer.score_text import bare_moments, crossings, json_text, moments, numbers, repeated

MICRO = 1_000_000
PUBLISHED_HEADER = "ebbtide-published-at"
_ENVELOPE = CloudEvents("/ebbtide/scorer", "ebbtide.churn-score")


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
    @property
    def alert_threshold(self) -> float | None: ...


Explain = Callable[[np.ndarray, np.ndarray], list[tuple[Reason, ...]] | None]
"""(n,) FACTS and (n,) epoch ms to what raises each user's risk; None when nobody can tell."""


def unexplained(_facts: np.ndarray, _as_of: np.ndarray) -> None:
    """For models whose log-odds are no sum."""


@dataclass(frozen=True, slots=True)
class ScoreWriter:
    """Turns records with a fresh outlook into messages for `churn-score`."""

    model: ScoringModel
    alert_threshold: float
    name: Callable[[int], str | None]
    explain: Explain = unexplained
    least_active_days: int = 0
    """Active days an alert needs; below it no score carries reasons."""

    def messages(
        self,
        user_ids: list[str],
        records: np.ndarray,
        previous: np.ndarray,
        triggers: list[Trigger],
        *,
        homes: Sequence[int],
        published_at_ms: int,
    ) -> list[Message]:
        """One score per user, with the moment scored (not the moment sent) as Kafka timestamp.

        records: (n,) RECORD whose outlook holds the new score; previous: (n,) the probabilities
        before as `previous_probability` gives them; homes: (n,) partitions.
        """
        model, facts, outlook = self.model, records["facts"], records["outlook"]
        levels, curve, last_seen = model.levels, outlook["curve"], facts["last_seen"]
        # NEVER stands for "no curve" below.
        curve_from = np.where(outlook["state"] & HAS_CURVE != 0, last_seen, NEVER)
        risk_at = at_risk_at(curve, levels, curve_from, self.alert_threshold)
        risk_at[curve_from == NEVER] = NEVER
        published = (PUBLISHED_HEADER, from_ms(published_at_ms).isoformat().encode())
        model_told = (
            f'"horizon_days":{model.horizon_days},"model_version":{json_text(model.version)},'
            f'"origin":{json_text(model.origin)},"alert_threshold":{json_text(self.rung)}'
        )
        found = []
        for (
            user_id,
            trigger,
            at,
            scored,
            log,
            offset,
            verdict,
            before,
            last_seen_at,
            cancelled,
            rungs,
            at_risk,
            evidence,
            attributes,
            reasons,
            partition,
        ) in zip(
            user_ids,
            triggers,
            outlook["scored_at"].tolist(),
            bare_moments(outlook["scored_at"]),
            facts["log_number"].tolist(),
            facts["offset"].tolist(),
            self._verdicts(outlook),
            numbers(previous),
            moments(last_seen),
            numbers(facts["flags"] & CANCELLED != 0),
            crossings(levels, curve, curve_from),
            moments(risk_at),
            _evidence(facts),
            self._attributes(facts),
            self._reasons(facts, outlook, triggers),
            homes,
            strict=True,
        ):
            position = Position(log, offset, partition)
            event_id = score_id(user_id, position, at, trigger, model.version)
            value = (
                f'{{"score_id":"{event_id}","user_id":{json_text(user_id)},{verdict},'
                f'"previous_probability":{before},"scored_at":"{scored}Z","trigger":"{trigger}",'
                f'"last_seen_at":{last_seen_at},"cancelled":{cancelled},"crossings":[{rungs}],'
                f'"at_risk_at":{at_risk},{model_told},'
                f'"evidence":{evidence},"attributes":{attributes},'
                f'"position":{{"log":{log},"offset":{offset},"partition":{partition}}},'
                f'"reasons":{json_text(reasons) if reasons else "[]"},'
                f'"schema_version":{SCHEMA_VERSION}}}'
            )
            headers = _ENVELOPE.headers(event_id, scored + "+00:00")
            headers.append(published)
            found.append(Message(user_id.encode(), value.encode(), at, headers))
        return found

    @property
    def rung(self) -> float:
        """The rung of the ladder next to the alert threshold."""
        levels = self.model.levels
        return float(levels[np.abs(levels - self.alert_threshold).argmin()])

    def _verdicts(self, outlook: np.ndarray) -> list[str]:
        """Prediction, the confidence in it, and the probability."""
        millionths = outlook["probability"].astype(np.int64)
        churns = millionths / MICRO >= self.model.class_cutoff
        confidence = np.where(churns, millionths, MICRO - millionths) / MICRO
        return [
            f'"prediction":"{prediction}","confidence":{sure},"churn_probability":{probability}'
            for prediction, sure, probability in zip(
                churns.astype(int).tolist(),
                numbers(confidence),
                numbers(millionths / MICRO),
                strict=True,
            )
        ]

    def _attributes(self, facts: np.ndarray) -> list[str]:
        names = [
            repeated(facts[field].tolist(), self.name)
            for field in ("location", "referral_source", "device_type", "plan")
        ]
        value = numbers([cents / 100 for cents in facts["value_cents"].tolist()])
        return [
            f'{{"location":{location},"referral_source":{referral_source},'
            f'"device_type":{device_type},"plan":{plan},"value":{money}}}'
            for location, referral_source, device_type, plan, money in zip(
                *names, value, strict=True
            )
        ]

    def _reasons(
        self, facts: np.ndarray, outlook: np.ndarray, triggers: list[Trigger]
    ) -> list[tuple[Reason, ...]]:
        """Reasons where an alert may come of the score: telling all would cost a third of them.

        That is a cancellation, or a user of enough active days who is silent for a day and whose
        risk is at or above the rung of the alert threshold. The alerts worker cannot ask a model.
        """
        silent = outlook["scored_at"] - facts["last_seen"] >= DAY_MS
        missed = silent & (np.array(triggers, "U") != "activity")
        risky = outlook["probability"] >= min(self.rung, self.alert_threshold) * MICRO
        enough = facts["active_days"] >= self.least_active_days
        told: list[tuple[Reason, ...]] = [()] * len(facts)
        which = np.flatnonzero(missed & risky & enough | (facts["flags"] & CANCELLED != 0))
        if len(which):
            found = self.explain(facts[which], outlook["scored_at"][which])
            for i, reasons in zip(which, found or (), strict=found is not None):
                told[i] = reasons
        return told


def _evidence(facts: np.ndarray) -> list[str]:
    # Not np.round: it rounds some halves the other way.
    gaps = [round(hours, 2) for hours in (usual_gap_ms(facts) / HOUR_MS).tolist()]
    return [
        f'{{"events":{events},"active_days":{days},"usual_gap_hours":{gap},"missing":{unstated}}}'
        for events, days, gap, unstated in zip(
            numbers(facts["events"]),
            numbers(facts["active_days"]),
            numbers(gaps),
            repeated(missing(facts)),
            strict=True,
        )
    ]


def previous_probability(records: np.ndarray) -> np.ndarray:
    """(n,) probability of each user's last score, NaN where there was none."""
    outlook = records["outlook"]
    scored = (outlook["state"] & HAS_SCORE) != 0
    return np.where(scored, outlook["probability"] / MICRO, np.nan)
