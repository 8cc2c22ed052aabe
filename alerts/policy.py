"""When a churn score becomes an alert. Decision 4 (`docs/decisions`) says why these rules.

An episode opens when a silent user's risk is at or above the threshold, may escalate, and ends
once: `resolved` when the user comes back or the risk falls below a lower threshold, `churned` when
the subscription is cancelled. Time is the scores' `scored_at`, so the same scores give the same
alerts whenever they are read.
"""

from __future__ import annotations

from dataclasses import dataclass

from alerts.episode import Episode, OpenEpisode
from contracts.alerts import AlertKind, ChurnAlert, alert_id, dedup_key
from contracts.scores import DECIMALS, ChurnScore
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, from_ms, to_ms

LEAST_SILENCE_MS = DAY_MS
"""Nobody is missed sooner, however often they usually come."""
ROUNDING_MS = MINUTE_MS
"""The usual gap travels in hours, rounded: a score made for its very end must not come too soon."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Thresholds of one alert rule."""

    name: str = "default"
    threshold: float = 0.7
    """An episode opens at or above this probability, snapped to the model's ladder."""
    resolve_below: float = 0.5
    escalation_step: float = 0.15
    """Rise over the episode's last alert that is worth another one."""
    cooldown_ms: int = 7 * DAY_MS
    """Least time from a user's last alert to the next opening, and between two escalations."""
    least_active_days: int = 3
    """Active days behind a score before it may open an episode."""


def judge(
    episode: Episode | None, score: ChurnScore, rule: Rule
) -> tuple[Episode | None, ChurnAlert | None]:
    """Return the state after `score` and the alert it causes, if any.

    A score that is not higher in (log, offset, scored_at) than the last one changes nothing.
    """
    scored_at = to_ms(score.scored_at)
    order = (score.position.log, score.position.offset, scored_at)
    if episode is not None and order <= (episode.log, episode.offset, episode.scored_at):
        return episode, None
    kind = _kind(episode, score, scored_at, rule)
    before = None if episode is None else episode.open
    after = _open_after(before, kind, score, scored_at, rule)
    alerted_at = None if episode is None else episode.alerted_at
    state = Episode(
        *order,
        alerted_at=alerted_at if kind is None else scored_at,
        open=after if kind in (None, "opened", "escalated") else None,
        churned=score.cancelled,
    )
    if kind is None:
        return state, None
    # The cancellation of a user nobody was worried about is an episode of its own.
    known = after or _opening(score, scored_at, rule)
    return state, _alert(kind, known, before, score, rule)


def _kind(
    episode: Episode | None, score: ChurnScore, scored_at: int, rule: Rule
) -> AlertKind | None:
    """Which transition the score causes."""
    probability = _rounded(score.churn_probability)
    if score.cancelled:
        return None if episode is not None and episode.churned else "churned"
    current = None if episode is None else episode.open
    if current is None:
        opens = (
            probability >= on_ladder(rule.threshold, score)
            and score.evidence.active_days >= rule.least_active_days
            and _missed(score, scored_at)
            and _cooled(None if episode is None else episode.alerted_at, scored_at, rule)
        )
        return "opened" if opens else None
    # Whoever acts has come back, however likely they are to leave again: that is the next episode.
    if score.trigger == "activity" or probability < rule.resolve_below:
        return "resolved"
    escalates = probability >= _rounded(current.probability + rule.escalation_step) and _cooled(
        current.escalated_at, scored_at, rule
    )
    return "escalated" if escalates else None


def on_ladder(threshold: float, score: ChurnScore) -> float:
    """The rung of the score's ladder nearest to `threshold`: silence is scored at rungs only."""
    rungs = [crossing.level for crossing in score.crossings]
    return min(rungs, key=lambda rung: abs(rung - threshold), default=threshold)


def _missed(score: ChurnScore, scored_at: int) -> bool:
    """Whether the user has been away for a day and for as long as they usually are."""
    if score.trigger == "activity" or score.last_seen_at is None:
        return False
    usual_gap_ms = (score.evidence.usual_gap_hours or 0.0) * HOUR_MS
    silence_ms = scored_at - to_ms(score.last_seen_at)
    return silence_ms >= max(LEAST_SILENCE_MS, usual_gap_ms - ROUNDING_MS)


def _cooled(since: int | None, scored_at: int, rule: Rule) -> bool:
    return since is None or scored_at - since >= rule.cooldown_ms


def _open_after(
    before: OpenEpisode | None,
    kind: AlertKind | None,
    score: ChurnScore,
    scored_at: int,
    rule: Rule,
) -> OpenEpisode | None:
    """The episode the alert speaks of, or the one that goes on without an alert."""
    if kind == "opened":
        return _opening(score, scored_at, rule)
    if kind == "escalated" and before is not None:
        return OpenEpisode(
            before.dedup_key, before.opened_at, _rounded(score.churn_probability), scored_at
        )
    return before


def _opening(score: ChurnScore, scored_at: int, rule: Rule) -> OpenEpisode:
    key = dedup_key(score.user_id, rule.name, score.position, scored_at)
    return OpenEpisode(bytes.fromhex(key), scored_at, _rounded(score.churn_probability), None)


def _alert(
    kind: AlertKind,
    episode: OpenEpisode,
    before: OpenEpisode | None,
    score: ChurnScore,
    rule: Rule,
) -> ChurnAlert:
    key = episode.dedup_key.hex()
    return ChurnAlert(
        alert_id=alert_id(key, kind, score.position, to_ms(score.scored_at)),
        dedup_key=key,
        kind=kind,
        rule=rule.name,
        user_id=score.user_id,
        churn_probability=_rounded(score.churn_probability),
        previous_probability=score.previous_probability if before is None else before.probability,
        threshold=on_ladder(rule.threshold, score),
        trigger=score.trigger,
        occurred_at=score.scored_at,
        opened_at=from_ms(episode.opened_at),
        last_seen_at=score.last_seen_at,
        at_risk_at=score.at_risk_at,
        horizon_days=score.horizon_days,
        model_version=score.model_version,
        origin=score.origin,
        reasons=score.reasons,
        evidence=score.evidence,
        attributes=score.attributes,
        position=score.position,
    )


def _rounded(probability: float) -> float:
    return round(probability, DECIMALS)
