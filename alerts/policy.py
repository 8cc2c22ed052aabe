"""When a churn score becomes an alert. Decisions 4 and 16 (`docs/decisions`) say why these rules.

An episode opens when a silent user's risk is at or above the threshold of the first rule that has
it so, may escalate, be acknowledged or snoozed, and ends once: `resolved` when the user comes back
or the risk falls below a lower threshold, `churned` when the subscription is cancelled. Time is
the scores' `scored_at`, the end of a wait, or when a command was given: always an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from alerts.episode import Episode, OpenEpisode, Pending, Said
from alerts.holdout import arm
from alerts.rules import Policy, Rule
from alerts.top import Cuts, at
from contracts.alerts import SEVERITIES, AlertKind, ChurnAlert, alert_id, dedup_key
from contracts.commands import AlertCommand
from contracts.ids import digest
from contracts.scores import DECIMALS, Attributes, ChurnScore, Evidence, Position
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, from_ms, to_ms

LEAST_SILENCE_MS = DAY_MS
"""Nobody is missed sooner, however often they usually come."""
ROUNDING_MS = MINUTE_MS
"""The usual gap travels in hours, rounded: a score made for its very end must not come too soon."""

Alerts = tuple[ChurnAlert, ...]
NO_CUTS: Final[Cuts] = {}


def judge(
    episode: Episode | None, score: ChurnScore, policy: Policy, cuts: Cuts = NO_CUTS
) -> tuple[Episode, Alerts]:
    """Return the state after `score` and the alerts it causes, in order.

    Waits that ended by `scored_at` end first. A score that is not higher in (log, offset,
    scored_at) than the last one changes nothing. cuts: of the rules that ask for so many a day;
    one that is missing leaves the rule's own threshold.
    """
    now = to_ms(score.scored_at)
    order = (score.position.log, score.position.offset, now)
    waited: Alerts = ()
    if episode is not None:
        if order <= (episode.log, episode.offset, episode.scored_at):
            return episode, ()
        episode, waited = tick(episode, score.user_id, now, policy)
    before = Episode(*order, None, None, churned=False) if episode is None else episode
    if score.cancelled:
        state, told = _cancelled(before, score, now, policy)
    elif before.open is not None:
        state, told = _goes_on(before, before.open, score, now, policy)
    else:
        state, told = _looked_at(before, score, now, policy, cuts)
    state = replace(
        state,
        log=order[0],
        offset=order[1],
        scored_at=now,
        churned=score.cancelled,
        said=Said.of(score) if state.open is not None or state.pending else None,
        reached=_reached(before, score, now, policy),
    )
    return state, (*waited, *told)


def due(episode: Episode, policy: Policy) -> int | None:
    """The moment `tick` is needed for, if no score comes before; None where there is none."""
    if episode.open is not None:
        return episode.open.snoozed_until
    if not episode.pending:
        return None
    return min((moment for moment, _ in _waits(episode, policy)), default=None)


def tick(episode: Episode, user_id: str, now_ms: int, policy: Policy) -> tuple[Episode, Alerts]:
    """End the waits that are over by `now_ms`: of a rule's `for`, of the cooldown, of a snooze.

    Each alert occurs at the moment its wait ended, however late it is noticed.
    """
    told: list[ChurnAlert] = []
    while (moment := due(episode, policy)) is not None and moment <= now_ms:
        said = episode.said or _unsaid(episode)
        score = said.score(user_id)
        current = episode.open
        if current is not None:
            rule = policy.rule(current.rule)
            after = replace(
                current,
                probability=_rounded(score.churn_probability),
                acknowledged_at=None,
                snoozed_until=None,
            )
            cause = digest(current.dedup_key.hex(), "escalated", "snooze", str(moment))
            told.append(_alert("escalated", after, current, score, moment, rule, policy, cause))
            episode = replace(episode, open=after, alerted_at=moment)
        else:
            name = min(
                (at_, i, name)
                for i, (at_, name) in enumerate(_waits(episode, policy))
                if at_ <= moment
            )[2]
            rule = policy.rule(name)
            opened = _opening(score, moment, rule, policy)
            told.append(_alert("opened", opened, None, score, moment, rule, policy))
            episode = replace(episode, open=opened, alerted_at=moment, pending=())
    return episode, tuple(told)


def obey(
    episode: Episode | None, command: AlertCommand, policy: Policy
) -> tuple[Episode | None, Alerts]:
    """Return the state after a person's command and the alert that tells of it, if any.

    A command about an episode that is not open, or given before one that counted, changes nothing;
    nor does one that says what is so already. Verdicts concern whoever reads the topic.
    """
    current = None if episode is None else episode.open
    given = to_ms(command.at)
    if (
        episode is None
        or current is None
        or current.dedup_key.hex() != command.dedup_key
        or (current.commanded_at is not None and given < current.commanded_at)
    ):
        return episode, ()
    kind: AlertKind
    if command.kind == "acknowledge" and current.acknowledged_at is None:
        kind = "acknowledged"
        after = replace(current, acknowledged_at=given, snoozed_until=None, commanded_at=given)
    elif command.kind == "snooze" and command.until is not None:
        until = to_ms(command.until)
        if until <= given or until == current.snoozed_until:
            return episode, ()
        kind = "snoozed"
        after = replace(current, snoozed_until=until, commanded_at=given)
    else:
        return episode, ()
    score = (episode.said or _unsaid(episode)).score(command.user_id)
    # The same words have the same command_id, and are news when the episode has changed since.
    cause = digest(command.dedup_key, kind, command.command_id, str(current.commanded_at))
    rule = policy.rule(current.rule)
    alert = _alert(kind, after, current, score, given, rule, policy, cause)
    alert = replace(
        alert,
        actor=command.actor,
        snoozed_until=None if after.snoozed_until is None else from_ms(after.snoozed_until),
    )
    return replace(episode, open=after), (alert,)


def crossed(
    episode: Episode | None, score: ChurnScore, policy: Policy
) -> Iterator[tuple[Rule, float, float]]:
    """What rules that ask for so many a day have to count: the rule, the risk counted before in
    this silence, and the risk now.

    episode: as it is before the score.
    """
    now = to_ms(score.scored_at)
    probability = _rounded(score.churn_probability)
    before = 0.0 if episode is None else episode.reached / 1e6
    order = (score.position.log, score.position.offset, now)
    repeat = episode is not None and order <= (episode.log, episode.offset, episode.scored_at)
    if repeat or score.cancelled or probability <= before or not _missed(score, now):
        return
    current = None if episode is None else episode.open
    alerted_at = None if episode is None else episode.alerted_at
    for rule in policy.tops:
        # Whom the rule has told of goes on to count: they would reach the higher levels, too.
        able = _cooled(alerted_at, now, rule) if current is None else current.rule == rule.name
        enough = score.evidence.active_days >= rule.least_active_days
        if able and enough and rule.selects(score):
            yield rule, before, probability


def _cancelled(
    state: Episode, score: ChurnScore, now: int, policy: Policy
) -> tuple[Episode, Alerts]:
    ended = replace(state, open=None, pending=())
    if state.churned:
        return ended, ()
    if state.open is not None:
        rule, known = policy.rule(state.open.rule), state.open
    else:
        # The cancellation of a user nobody was worried about is an episode of its own.
        selecting = next((rule for rule in policy.rules if rule.selects(score)), None)
        if selecting is None:
            return ended, ()
        rule, known = selecting, _opening(score, now, selecting, policy)
    alert = _alert("churned", known, state.open, score, now, rule, policy)
    return replace(ended, alerted_at=now), (alert,)


def _goes_on(
    state: Episode, current: OpenEpisode, score: ChurnScore, now: int, policy: Policy
) -> tuple[Episode, Alerts]:
    rule = policy.rule(current.rule)
    probability = _rounded(score.churn_probability)
    # Whoever acts has come back, however likely they are to leave again: that is the next episode.
    if score.trigger == "activity" or probability < rule.resolves_below(score):
        alert = _alert("resolved", current, current, score, now, rule, policy)
        return replace(state, open=None, alerted_at=now), (alert,)
    severity = rule.escalated_severity or current.severity
    if SEVERITIES.index(severity) < SEVERITIES.index(current.severity):
        severity = current.severity
    taken_on = current.acknowledged_at is not None and severity == current.severity
    if (
        current.snoozed_until is not None
        or taken_on
        or probability < _rounded(current.probability + rule.escalation_step)
        or not _cooled(current.escalated_at, now, rule)
    ):
        return state, ()
    after = replace(
        current, probability=probability, escalated_at=now, severity=severity, acknowledged_at=None
    )
    alert = _alert("escalated", after, current, score, now, rule, policy)
    return replace(state, open=after, alerted_at=now), (alert,)


def _looked_at(
    state: Episode, score: ChurnScore, now: int, policy: Policy, cuts: Cuts
) -> tuple[Episode, Alerts]:
    """A user without an episode: the first rule that may speak opens one, others go on waiting."""
    since = {pending.rule: pending.since for pending in state.pending}
    pending = []
    for rule in policy.rules:
        if not _holds(rule, score, now, cuts):
            continue
        began = since.get(rule.name, now)
        if _cooled(state.alerted_at, now, rule) and now - began >= rule.for_ms:
            opened = _opening(score, now, rule, policy)
            if rule.top is not None and rule.name in cuts:
                opened = replace(opened, threshold=_rounded(cuts[rule.name].level))
            alert = _alert("opened", opened, None, score, now, rule, policy)
            return replace(state, open=opened, alerted_at=now, pending=()), (alert,)
        if rule.for_ms or rule.looks_again:
            pending.append(Pending(rule.name, began))
    return (replace(state, pending=tuple(pending)) if pending or since else state), ()


def _holds(rule: Rule, score: ChurnScore, now: int, cuts: Cuts) -> bool:
    """Whether an episode should open, wait and cooldown aside."""
    probability = _rounded(score.churn_probability)
    if rule.top is None:
        risky = probability >= rule.opens_at(score)
    else:
        cut = cuts.get(rule.name) or at(rule.opens_at(score))
        occasion = f"{rule.name}:{score.user_id}:{score.position.place}:{now}"
        risky = cut.takes(probability, occasion)
    return (
        risky
        and score.evidence.active_days >= rule.least_active_days
        and _missed(score, now)
        and rule.selects(score)
    )


def _waits(episode: Episode, policy: Policy) -> Iterator[tuple[int, str]]:
    """When each pending rule may speak, in the policy's order; a rule that is gone never does."""
    since = {pending.rule: pending.since for pending in episode.pending}
    for rule in policy.rules:
        if rule.name in since:
            moment = since[rule.name] + rule.for_ms
            if episode.alerted_at is not None:
                moment = max(moment, episode.alerted_at + rule.cooldown_ms)
            yield moment, rule.name


def _missed(score: ChurnScore, now: int) -> bool:
    """Whether the user has been away for a day and for as long as they usually are."""
    if score.trigger == "activity" or score.last_seen_at is None:
        return False
    usual_gap_ms = (score.evidence.usual_gap_hours or 0.0) * HOUR_MS
    silence_ms = now - to_ms(score.last_seen_at)
    return silence_ms >= max(LEAST_SILENCE_MS, usual_gap_ms - ROUNDING_MS)


def _reached(before: Episode, score: ChurnScore, now: int, policy: Policy) -> int:
    if not policy.tops or score.trigger == "activity":
        return 0
    if not _missed(score, now):
        return before.reached
    return max(before.reached, round(_rounded(score.churn_probability) * 1e6))


def _cooled(since: int | None, now: int, rule: Rule) -> bool:
    return since is None or now - since >= rule.cooldown_ms


def _opening(score: ChurnScore, now: int, rule: Rule, policy: Policy) -> OpenEpisode:
    key = dedup_key(score.user_id, rule.name, score.position, now)
    return OpenEpisode(
        bytes.fromhex(key),
        now,
        _rounded(score.churn_probability),
        None,
        rule=rule.name,
        severity=rule.severity,
        # Before anything that may keep the alert from being told.
        arm=arm(score.user_id, policy.holdout.epoch, policy.holdout.share),
    )


def _alert(  # noqa: PLR0917
    kind: AlertKind,
    episode: OpenEpisode,
    before: OpenEpisode | None,
    score: ChurnScore,
    now: int,
    rule: Rule,
    policy: Policy,
    id_: str | None = None,
) -> ChurnAlert:
    key = episode.dedup_key.hex()
    return ChurnAlert(
        alert_id=id_ or alert_id(key, kind, score.position, now),
        dedup_key=key,
        kind=kind,
        rule=episode.rule or rule.name,
        user_id=score.user_id,
        churn_probability=_rounded(score.churn_probability),
        previous_probability=score.previous_probability if before is None else before.probability,
        threshold=rule.opens_at(score) if episode.threshold is None else episode.threshold,
        trigger=score.trigger,
        occurred_at=from_ms(now),
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
        severity=episode.severity,
        channels=rule.channels,
        arm=episode.arm,
        policy=policy.digest,
        words=rule.words,
    )


def _unsaid(episode: Episode) -> Said:
    """What is known of the last score where an older release opened the episode."""
    probability = 0.0 if episode.open is None else episode.open.probability
    unknown = ChurnScore(
        score_id="",
        user_id="",
        prediction="1",
        confidence=probability,
        churn_probability=probability,
        previous_probability=None,
        scored_at=from_ms(episode.scored_at),
        trigger="silence",
        last_seen_at=None,
        cancelled=False,
        crossings=(),
        at_risk_at=None,
        horizon_days=0,
        model_version="",
        origin="",
        evidence=Evidence(0, 0, None, ()),
        attributes=Attributes(None, None, None, None, 0.0),
        position=Position(episode.log, episode.offset, 0),
    )
    return Said.of(unknown)


def _rounded(probability: float) -> float:
    return round(probability, DECIMALS)
