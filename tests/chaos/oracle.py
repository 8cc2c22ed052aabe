"""What must be true at the end, computed from what was on the wire and nothing else.

The log is folded one record at a time, whatever batches the scorers cut; all users take their n-th
step together, so that numpy does the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from msgspec.structs import replace

from alerts.episode import Episode
from alerts.policy import due, judge, tick
from alerts.rules import Policy
from contracts.activity import FoldRules
from contracts.alerts import ChurnAlert, decode_alert
from contracts.commands import AlertCommand
from contracts.events import (
    ACTIVE,
    PASSIVE,
    TOMBSTONE,
)
from contracts.ids import digest
from contracts.record import HAS_SCORE, blank_facts
from contracts.scores import ChurnScore
from contracts.times import BACKFILL_MS, HOUR_MS, NEVER, to_ms
from model.fold import fold
from scorer.messages import ScoringModel
from tests.chaos import deliveries, past, timelines
from tests.chaos.check import Check
from tests.chaos.commands import TRANSITION, commands_check, order_check, read_commands
from tests.chaos.past import Keeping, Kept
from tests.chaos.tap import Tapped
from tests.chaos.wire import Log, WireScore, read_log, read_scores
from tests.receivers import Taken

TOLERANCE: Final = 1.5e-6
"""Probabilities travel rounded to 6 decimals, so a last bit may move one by a whole step."""


@dataclass(frozen=True)
class Folded:
    """The log folded record by record."""

    facts: np.ndarray  # (users,) FACTS at the end
    probability: np.ndarray
    """(scores,) what the model says to the facts at each score's position at its moment; NaN where
    the log has no record of that user there."""
    told_from: np.ndarray
    """(users,) row of the last record a score must know of, -1 where none must."""
    counts: np.ndarray
    """(n,) whether each row of the log changed its user's record."""
    kept_twice: list[tuple[str, str]]
    """(user, places) of every id that counts more than once between two erasures."""


@dataclass(frozen=True)
class Wanted:
    """(n,) arrays: where in `Log.rows` each score on the wire says it stands, and when."""

    row: np.ndarray  # -1 where no such record is
    scored_at: np.ndarray


def fold_stepwise(log: Log, rules: FoldRules, model: ScoringModel, wanted: Wanted) -> Folded:
    """Fold every user's n-th record for n = 0, 1, ..., and ask the model where scores stand."""
    n, users = len(log.rows), len(log.user_ids)
    facts = blank_facts(users)
    probability = np.full(len(wanted.row), np.nan)
    told_from = np.full(users, -1)
    kept = np.zeros(n, bool)
    erasures = np.zeros(n, np.int64)

    step = _step_of_each(log.user, users)
    order = np.argsort(step, kind="stable")
    ends = np.searchsorted(step[order], np.arange(int(step.max(initial=-1)) + 2))
    by_row = np.argsort(wanted.row, kind="stable")
    rows_wanted = wanted.row[by_row]
    lives = np.zeros(users, np.int64)
    grid_end = int(model.grid_hours[-1]) * HOUR_MS
    for i in range(len(ends) - 1):
        here = order[ends[i] : ends[i + 1]]
        who = log.user[here]
        before = facts[who]
        after = fold(before, log.rows[here], np.arange(len(here)), rules)
        facts[who] = after
        kind = log.rows["kind"][here]
        counted = (before["ids_low"] != after["ids_low"]).any(axis=1)
        counted |= (before["ids_high"] != after["ids_high"]).any(axis=1)
        counted |= before["id_next"] != after["id_next"]
        kept[here] = counted & (kind != TOMBSTONE)
        lives[who] += kind == TOMBSTONE
        erasures[here] = lives[who]
        # Whatever a user does, and whatever else is told of them within the hour before the end of
        # the grid of silence, a score must come to know of.
        tells = kept[here] & ((kind == ACTIVE) | (kind == PASSIVE))
        tells &= (after["last_seen"] != NEVER) & (after["events"] > 0)
        tells &= after["log_time"] + BACKFILL_MS <= after["last_seen"] + grid_end
        told_from[who] = np.where(tells, here, told_from[who])
        told_from[who[kind == TOMBSTONE]] = -1
        _ask(model, after, here, wanted.scored_at, by_row, rows_wanted, probability)
    return Folded(facts, probability, told_from, kept, _kept_twice(log, kept, erasures))


def _step_of_each(user: np.ndarray, users: int) -> np.ndarray:
    """(n,) how many rows of the same user come before each row."""
    by_user = np.argsort(user, kind="stable")
    starts = np.searchsorted(user[by_user], np.arange(users))
    step = np.empty(len(user), np.int64)
    step[by_user] = np.arange(len(user)) - starts[user[by_user]]
    return step


def _ask(  # noqa: PLR0917
    model: ScoringModel,
    after: np.ndarray,
    here: np.ndarray,
    scored_at: np.ndarray,
    by_row: np.ndarray,
    rows_wanted: np.ndarray,
    probability: np.ndarray,
) -> None:
    first = np.searchsorted(rows_wanted, here, "left")
    count = np.searchsorted(rows_wanted, here, "right") - first
    total = int(count.sum())
    if not total:
        return
    which = np.repeat(np.arange(len(here)), count)
    nth = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
    scores = by_row[first[which] + nth]
    probability[scores] = model.score(after[which], scored_at[scores])


def _kept_twice(log: Log, kept: np.ndarray, erasures: np.ndarray) -> list[tuple[str, str]]:
    """(user, places) of every id that counts more than once between two erasures."""
    rows = np.flatnonzero(kept)
    seen = np.stack([log.user[rows], erasures[rows], log.rows["id"][rows].astype(np.int64)])
    distinct, which, count = np.unique(seen, axis=1, return_inverse=True, return_counts=True)
    again: dict[int, list[str]] = {}
    for row_ in np.flatnonzero((count > 1)[which.reshape(-1)]):
        place = log.rows[["log_number", "offset"]][rows[row_]]
        again.setdefault(int(which.reshape(-1)[row_]), []).append(str(place))
    return [
        (log.user_ids[int(distinct[0, i])], " and ".join(places)) for i, places in again.items()
    ]


def wanted_of(scores: Sequence[ChurnScore], log: Log) -> Wanted:
    """Where in the log each score says it stands."""
    row_at = {
        (int(r["log_number"]), int(r["offset"]), int(u)): i
        for i, (r, u) in enumerate(zip(log.rows[["log_number", "offset"]], log.user, strict=True))
    }
    index = {user_id: i for i, user_id in enumerate(log.user_ids)}
    rows = [
        row_at.get((s.position.log, s.position.offset, index.get(s.user_id, -1)), -1)
        for s in scores
    ]
    moments = [to_ms(s.scored_at) for s in scores]
    return Wanted(np.array(rows, np.int64), np.array(moments, np.int64))


def alerts_of(
    scores: Iterable[WireScore], policy: Policy, clocks: Mapping[int, int]
) -> tuple[list[ChurnAlert], set[str]]:
    """The policy folded over the scores in the order of the wire, and waits that ended after them.

    clocks: how far the time of each partition of `churn-score` came, epoch ms. Also the users whose
    wait was over by the clock when a score from before its end came: which of both the worker saw
    first is the machine's.
    """
    episodes: dict[str, Episode] = {}
    partitions: dict[str, int] = {}
    reached: dict[int, int] = {}
    alerts: list[ChurnAlert] = []
    unsure: set[str] = set()
    for wire in scores:
        partition, before = wire.record.partition, reached.get(wire.record.partition, NEVER)
        reached[partition] = max(before, wire.record.timestamp)
        if wire.score is None:
            episodes.pop((wire.record.key or b"").decode(), None)
            continue
        user_id = wire.score.user_id
        partitions[user_id] = partition
        known = episodes.get(user_id)
        over = None if known is None else due(known, policy)
        if over is not None and to_ms(wire.score.scored_at) < over <= before:
            unsure.add(user_id)
        episodes[user_id], told = judge(known, wire.score, policy)
        alerts += told
    for user_id, episode in episodes.items():
        alerts += tick(episode, user_id, clocks[partitions[user_id]], policy)[1]
    return alerts, unsure


@dataclass(frozen=True)
class Evidence:
    """Everything the run brought to light."""

    activity: Sequence[Tapped]
    scores: Sequence[Tapped]
    alerts: Sequence[Tapped]
    dead_letters: Sequence[Tapped]
    records: dict[str, np.void]
    """(RECORD) by user: everything the store holds."""
    timers: dict[str, list[tuple[int, float]]]
    """Of each user in the index of timers: (partition, due)."""
    accepted_ids: Collection[str]
    accepted_places: Collection[tuple[int, int, int]]
    commands: Sequence[Tapped] = ()
    accepted_commands: Collection[str] = ()
    waiting_commands: int = 0
    """Commands that were read from the log and not done."""
    received: Sequence[Taken] = ()
    """What the receivers of both channels got, in order."""
    deliveries: Mapping[str, str] = field(default_factory=dict)
    """State of each delivery the store holds of the alerts on the wire, by its row's id."""
    kept: Kept = field(default_factory=Kept)
    """Trails, counts and timelines."""


@dataclass
class Verdict:
    """The checks and what else is worth telling."""

    checks: list[Check]
    figures: dict[str, int]

    @property
    def differences(self) -> int:
        return sum(check.differences for check in self.checks)


def judge_run(  # noqa: PLR0917
    evidence: Evidence,
    rules: FoldRules,
    policy: Policy,
    model: ScoringModel,
    partitions: int,
    keeping: Keeping,
) -> Verdict:
    """Compare everything with everything."""
    log = read_log(evidence.activity, rules, partitions)
    wire = read_scores(evidence.scores)
    scores = [w.score for w in wire if w.score is not None]
    wanted = wanted_of(scores, log)
    folded = fold_stepwise(log, rules, model, wanted)
    told = read_alerts(evidence.alerts)
    commands = read_commands(evidence.commands)
    erased = {(w.record.key or b"").decode() for w in wire if w.score is None}
    received, states = evidence.received, evidence.deliveries
    clocks: dict[int, int] = {}
    for record in evidence.scores:
        clocks[record.partition] = max(clocks.get(record.partition, NEVER), record.timestamp)
    expected, unsure = alerts_of(wire, policy, clocks)
    checks = [
        facts_check(evidence, log, folded),
        once_check(log, folded),
        truth_check(scores, folded),
        last_score_check(evidence, log, wire, wanted, folded),
        alerts_check(
            [alert for alert in expected if alert.user_id not in unsure],
            [alert for alert in told if alert.user_id not in unsure],
            commands,
            scores,
        ),
        ledger_check(evidence, log),
        timers_check(evidence),
        dead_letter_check(evidence, log),
        repeats_check(scores),
        clock_check(scores, log, wanted),
        chain_check(scores),
        order_check(told),
        commands_check(
            commands, evidence.accepted_commands, evidence.waiting_commands, told, erased
        ),
        deliveries.told_check(told, received, states, erased),
        deliveries.received_check(told, received),
        deliveries.settled_check(told, states),
        *past.checks(evidence.scores, wire, evidence.kept, partitions, keeping),
        *timelines.checks(
            log,
            folded.counts,
            evidence.records,
            evidence.kept.timelines,
            rules,
            keeping.timeline_events,
        ),
    ]
    ids = Counter(score.score_id for score in scores)
    figures = {
        "records of activity": len(evidence.activity),
        "records away from home": log.away,
        "records sent home again": log.repeats,
        "records that are no events": len(log.bad),
        "users": len(log.user_ids),
        "scores": len(scores),
        "scores by silence": sum(score.trigger == "silence" for score in scores),
        "scores repeated on the wire": sum(ids.values()) - len(ids),
        "alerts": len({alert.alert_id for alert in told}),
        "alerts repeated on the wire": len(told) - len({alert.alert_id for alert in told}),
    }
    figures["users whose alerts are not compared"] = len(unsure)
    figures["commands"] = len({command.command_id for command in commands})
    figures["commands obeyed"] = len({a.alert_id for a in told if a.kind in TRANSITION.values()})
    figures |= deliveries.figures(told, received)
    for name, count in sorted(_unlike_repeats(scores).items()):
        figures[f"repeated scores with another {name}"] = count
    return Verdict(checks, figures)


def read_alerts(records: Iterable[Tapped]) -> list[ChurnAlert]:
    """Decode `churn-alert` in log order."""
    return [
        decode_alert(record.value or b"")
        for record in sorted(records, key=lambda r: (r.log, r.partition, r.offset))
    ]


def facts_check(evidence: Evidence, log: Log, folded: Folded) -> Check:
    """Stored facts against the offline fold."""
    check = Check("facts equal the offline fold, byte for byte")
    for i, user_id in enumerate(log.user_ids):
        if user_id not in evidence.records:
            check.expect(False, f"{user_id}: no record")
            continue
        stored, expected = evidence.records[user_id]["facts"], folded.facts[i]
        check.expect(
            bool(stored.tobytes() == expected.tobytes()),
            f"{user_id}: {_unlike(expected, stored)}",
        )
    for user_id in evidence.records.keys() - set(log.user_ids):
        check.differs(f"{user_id}: a record of somebody who is not in the log")
    return check


def _unlike(expected: np.void, stored: np.void) -> str:
    names = expected.dtype.names or ()
    return ", ".join(
        f"{name} {expected[name]} is stored as {stored[name]}"
        for name in names
        if not np.array_equal(expected[name], stored[name])
    )[:400]


def once_check(log: Log, folded: Folded) -> Check:
    """No id counts twice."""
    check = Check("every event counts once, by its id", cases=len(log.rows))
    for user_id, places in folded.kept_twice:
        check.differs(f"{user_id} at {places}")
    return check


def truth_check(scores: Sequence[ChurnScore], folded: Folded) -> Check:
    """Every score that was ever on the wire is true as of its position."""
    check = Check("every score on the wire equals model(facts at its position, scored_at)")
    check.cases = len(scores)
    said = np.array([score.churn_probability for score in scores])
    wrong = np.flatnonzero(~(np.abs(said - folded.probability) <= TOLERANCE))
    for i in wrong.tolist():
        score = scores[i]
        check.differs(
            f"{score.user_id} at {score.position.place} {score.trigger} {score.scored_at}: "
            f"{said[i]} instead of {folded.probability[i]:.6f}"
        )
    return check


def last_score_check(
    evidence: Evidence, log: Log, wire: Sequence[WireScore], wanted: Wanted, folded: Folded
) -> Check:
    """Who has changed has a score that knows it, and the record's own score was on the wire."""
    check = Check("each user's highest score knows all they did, and the record holds it")
    highest: dict[str, tuple[tuple[int, int, int], int]] = {}
    published: dict[str, set[tuple[int, int]]] = {}
    at = 0
    for w in wire:
        if w.score is None:
            continue
        score, row_ = w.score, int(wanted.row[at])
        moment = int(wanted.scored_at[at])
        at += 1
        order = (score.position.log, score.position.offset, moment)
        if score.user_id not in highest or order > highest[score.user_id][0]:
            highest[score.user_id] = (order, row_)
        published.setdefault(score.user_id, set()).add(
            (moment, round(score.churn_probability * 1e6))
        )
    for i, user_id in enumerate(log.user_ids):
        record = evidence.records.get(user_id)
        if record is None:
            continue
        facts, outlook = record["facts"], record["outlook"]
        position = (int(facts["log_number"]), int(facts["offset"]))
        order, row_ = highest.get(user_id, ((0, -1, 0), -1))
        must = int(folded.told_from[i])
        check.expect(
            must == -1 or row_ >= must,
            f"{user_id}: the highest score {order} does not know of "
            f"offset {int(log.rows['offset'][must])}",
        )
        if order[:2] > position:
            check.differs(f"{user_id}: a score {order} beyond the record's {position}")
        if outlook["state"] & HAS_SCORE:
            own = (int(outlook["scored_at"]), int(outlook["probability"]))
            if own not in published.get(user_id, ()):
                check.differs(f"{user_id}: the record's score {own} was never published")
            if must != -1 and own[0] > order[2]:
                check.differs(f"{user_id}: the record's score {own} is later than {order}")
        elif must != -1:
            check.differs(f"{user_id}: no score in the record")
    return check


def clock_check(scores: Sequence[ChurnScore], log: Log, wanted: Wanted) -> Check:
    """A silence is told only up to the moment that the log had reached before its user's return."""
    check = Check("nobody is called silent for a time in which their return lay unread")
    next_row = np.full(len(log.user), -1)
    by_user = np.argsort(log.user, kind="stable")
    same = log.user[by_user[1:]] == log.user[by_user[:-1]]
    next_row[by_user[:-1][same]] = by_user[1:][same]
    for score, row_, moment in zip(scores, wanted.row, wanted.scored_at, strict=True):
        if score.trigger == "activity" or row_ == -1:
            continue
        after = next_row[row_]
        check.expect(
            after == -1 or moment <= log.clock[after],
            f"{score.user_id} at {score.position.place}: silent until {score.scored_at}",
        )
    return check


def chain_check(scores: Sequence[ChurnScore]) -> Check:
    """A score names the probability before it, so a score that was saved and never sent shows."""
    check = Check("the score before each score was on the wire, too")
    told: dict[str, set[float]] = {}
    for score in scores:
        told.setdefault(score.user_id, set()).add(score.churn_probability)
    for score in scores:
        if score.previous_probability is not None:
            check.expect(
                score.previous_probability in told[score.user_id],
                f"{score.user_id} at {score.position.place}: {score.previous_probability} before",
            )
    return check


def alerts_check(
    expected: Sequence[ChurnAlert],
    told: Sequence[ChurnAlert],
    commands: Sequence[AlertCommand] = (),
    scores: Sequence[ChurnScore] = (),
) -> Check:
    """Alerts on the wire against the policy, repeats of an id aside.

    Between which two scores a command was obeyed is the machine's, and a rollback may do it again
    elsewhere. Nothing depends on it but whether the episode escalates, so of these episodes the
    escalations need a cause and are not compared, and an end's risk before it is not either.
    """
    check = Check("alerts equal the policy folded over the scores on the wire")
    commanded = {command.dedup_key for command in commands}
    causes = {(s.user_id, s.position, s.scored_at) for s in scores} if commanded else set()
    by_id: dict[str, ChurnAlert] = {}
    for alert in told:
        if alert.kind in TRANSITION.values():
            continue  # see `commands_check`
        if alert.dedup_key in commanded and alert.kind == "escalated":
            moment = str(to_ms(alert.occurred_at))
            check.expect(
                (alert.user_id, alert.position, alert.occurred_at) in causes
                or alert.alert_id == digest(alert.dedup_key, "escalated", "snooze", moment),
                f"without a cause: {alert}",
            )
            continue
        comparable = _comparable(alert, commanded)
        known = by_id.setdefault(alert.alert_id, comparable)
        if known != comparable:
            check.differs(f"{alert.user_id}: two alerts under the id {alert.alert_id}")
    wanted = {
        alert.alert_id: _comparable(alert, commanded)
        for alert in expected
        if not (alert.dedup_key in commanded and alert.kind == "escalated")
    }
    check.cases += len(wanted)
    for id_, alert in wanted.items():
        if id_ not in by_id:
            check.differs(f"missing: {alert.user_id} {alert.kind} {alert.occurred_at}")
        elif by_id[id_] != alert:
            check.differs(f"other content: {by_id[id_]} instead of {alert}")
    for id_, alert in by_id.items():
        if id_ not in wanted:
            check.differs(f"nobody should be told: {alert.user_id} {alert.kind} {alert.position}")
    return check


def _comparable(alert: ChurnAlert, commanded: Collection[str]) -> ChurnAlert:
    if alert.dedup_key in commanded and alert.kind != "opened":
        return replace(alert, previous_probability=None)
    return alert


def ledger_check(evidence: Evidence, log: Log) -> Check:
    """Everything a server said it has is at its user's home."""
    check = Check("every accepted event is in the log, at its user's home")
    for event_id in evidence.accepted_ids:
        check.expect(event_id in log.ids_at_home, f"{event_id} is missing")
    for event_id in log.ids_away:
        check.expect(event_id in log.ids_at_home, f"{event_id} lies away from home only")
    there = {(r.log, r.partition, r.offset) for r in evidence.activity}
    for place in evidence.accepted_places:
        check.expect(place in there, f"{place} is missing")
    return check


def timers_check(evidence: Evidence) -> Check:
    """The index says what the records say."""
    check = Check("the timer index equals the records' due times")
    for user_id, record in evidence.records.items():
        due, home_ = int(record["outlook"]["due"]), int(record["outlook"]["home"])
        expected = [] if due == NEVER else [(home_, float(due))]
        found = evidence.timers.get(user_id, [])
        check.expect(found == expected, f"{user_id}: {found} instead of {expected}")
    for user_id in evidence.timers.keys() - evidence.records.keys():
        check.differs(f"{user_id}: a timer without a record")
    return check


def dead_letter_check(evidence: Evidence, log: Log) -> Check:
    """What is no event is parked with its bytes; nothing else is."""
    check = Check("every record that is no event is in the dead letters, and nothing else")
    parked = {(letter.key, letter.value) for letter in evidence.dead_letters}
    bad = {(record.key, record.value) for record in log.bad}
    for letter in bad:
        check.expect(letter in parked, f"not parked: {str(letter)[:200]}")
    for letter in parked - bad:
        check.differs(f"parked, though an event: {str(letter)[:200]}")
    return check


def repeats_check(scores: Sequence[ChurnScore]) -> Check:
    """Scores under one id say the same; what depends on where batches were cut may differ."""
    check = Check("scores of the same id tell the same risk of the same moment")
    first: dict[str, ChurnScore] = {}
    for score in scores:
        known = first.setdefault(score.score_id, score)
        if known is not score:
            same = (known.user_id, known.position, known.scored_at, known.churn_probability) == (
                score.user_id, score.position, score.scored_at, score.churn_probability,
            )  # fmt: skip
            check.expect(same, f"{known} and {score}")
    return check


def _unlike_repeats(scores: Sequence[ChurnScore]) -> Counter[str]:
    """Fields in which scores of the same id differ: how often."""
    first: dict[str, ChurnScore] = {}
    return Counter(
        name
        for score in scores
        for name in score.__struct_fields__
        if getattr(first.setdefault(score.score_id, score), name) != getattr(score, name)
    )
