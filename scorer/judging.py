"""What batches of events come to: new records, and the scores to tell.

Users do not touch each other, so the batches of partitions that come here at the same time are
folded, scored and written as one: some hundred calls of numpy cost as much for one user as for a
hundred.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Final

import numpy as np

from contracts.activity import FoldRules
from contracts.events import EVENT_ROW, TOMBSTONE
from contracts.record import HAS_CURVE, HAS_SCORE, LAPSED, blank_outlook, blank_records
from contracts.scores import TRIGGERS, Trigger
from model.fold import fold
from model.rows import joined, take
from runtime.clock import wall_ms
from runtime.kafka import Message
from runtime.metrics import WorkerMetrics
from runtime.together import Together
from scorer.decisions import Decisions, decide
from scorer.messages import MICRO, ScoreWriter, ScoringModel, previous_probability
from scorer.reading import Reading

EVENTS_TOGETHER: Final = 1_000
"""Of batches that are judged as one; more would make the first wait for no gain."""
ACTIVITY_TRIGGER: Final = TRIGGERS.index("activity")
_NO_CURVE: Final = 0xFF ^ HAS_CURVE
_NOT_LAPSED: Final = 0xFF ^ LAPSED


@dataclass(frozen=True, slots=True)
class Case:
    """A batch of one partition."""

    partition: int
    reading: Reading
    before: np.ndarray
    """(n,) RECORD of `reading.user_ids` as they were loaded."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a case comes to."""

    after: np.ndarray
    """(n,) RECORD."""
    erased: np.ndarray
    """(n,) bool: a tombstone, everything but the gravestone goes."""
    tombstones: list[Message]
    """Of whom was erased, whether or not they have come back: told before the scores."""
    scores: list[Message]
    arrived: int | None
    """Log time of the earliest event that is scored, None without any."""


class Judge:
    """Folds, scores and writes."""

    def __init__(
        self, model: ScoringModel, rules: FoldRules, writer: ScoreWriter, metrics: WorkerMetrics
    ) -> None:
        self.model = model
        self.rules = rules
        self.writer = writer
        self._metrics = metrics
        self._cases = Together(
            self._judged, size=lambda case: len(case.reading.rows), most=EVENTS_TOGETHER
        )

    async def judge(self, case: Case) -> Verdict:
        """What becomes of the case, judged with those that come at the same time."""
        return await self._cases.ask(case)

    async def _judged(self, cases: Sequence[Case]) -> list[Verdict]:
        ends = list(accumulate((len(case.reading.user_ids) for case in cases), initial=0))
        with self._stage("fold"):
            before = joined([case.before for case in cases])
            rows = np.array([row for case in cases for row in case.reading.rows], EVENT_ROW)
            users = [np.add(case.reading.user, at) for case, at in zip(cases, ends, strict=False)]
            user = np.concatenate(users)
            facts = fold(before["facts"], rows, user, self.rules)
            # Whoever is back in the same batch starts anew, without the score of before.
            forgotten = np.unique(user[rows["kind"] == TOMBSTONE])
            before[forgotten] = blank_records(len(forgotten))
            decisions = decide(before, facts, rows, user)
        with self._stage("score"):
            homes = np.repeat([case.partition for case in cases], np.diff(ends))
            after = self._scored(before, facts, decisions, homes)
        with self._stage("write"):
            names = list(chain.from_iterable(case.reading.user_ids for case in cases))
            scored = np.flatnonzero(decisions.score_now)
            scores = self.written(names, after, before, scored)
        told = np.searchsorted(scored, ends).tolist()
        gone = np.searchsorted(forgotten, ends).tolist()
        log_times = after["facts"]["log_time"]
        return [
            Verdict(
                after[begin:end],
                decisions.erased[begin:end],
                [
                    Message(names[i].encode(), None, int(log_times[i]))
                    for i in forgotten[gone[n] : gone[n + 1]].tolist()
                ],
                scores[told[n] : told[n + 1]],
                min(log_times[scored[told[n] : told[n + 1]]].tolist(), default=None),
            )
            for n, (begin, end) in enumerate(pairwise(ends))
        ]

    def _scored(
        self, before: np.ndarray, facts: np.ndarray, decisions: Decisions, homes: np.ndarray
    ) -> np.ndarray:
        """(n,) RECORD after the batch: new facts, timers, and activity scores where due."""
        after = before.copy()
        after["facts"] = facts
        outlook = after["outlook"]
        outlook["due"] = decisions.due
        outlook["state"] = decisions.state
        outlook["home"] = homes
        now = np.flatnonzero(decisions.score_now)
        if len(now):
            # Another model's curve reads on another ladder.
            outlook["state"][now[outlook["model"][now] != self.model.hash]] &= _NO_CURVE
            facts_now = take(facts, now)
            triggers = np.full(len(now), ACTIVITY_TRIGGER)
            self.put_scores(outlook, now, facts_now, facts_now["log_time"], triggers)
        erased = np.flatnonzero(decisions.erased)
        outlook[erased] = blank_outlook(len(erased))
        return after

    def put_scores(
        self,
        outlook: np.ndarray,
        index: np.ndarray,
        facts: np.ndarray,
        moments: np.ndarray,
        triggers: np.ndarray,
    ) -> None:
        """Score (m,) FACTS as of the moments into (n,) OUTLOOK at `index`."""
        outlook["probability"][index] = np.rint(self.model.score(facts, moments) * MICRO)
        outlook["scored_at"][index] = moments
        outlook["model"][index] = self.model.hash
        outlook["trigger"][index] = triggers
        outlook["state"][index] = outlook["state"][index] & _NOT_LAPSED | HAS_SCORE

    def written(
        self, user_ids: Sequence[str], after: np.ndarray, before: np.ndarray, scored: np.ndarray
    ) -> list[Message]:
        """The messages that tell the scores of those users of (n,) RECORD that `scored` names."""
        if not len(scored):
            return []
        records = take(after, scored)
        triggers: list[Trigger] = [TRIGGERS[t] for t in records["outlook"]["trigger"].tolist()]
        return self.writer.messages(
            [user_ids[i] for i in scored.tolist()],
            records,
            previous_probability(before)[scored],
            triggers,
            homes=records["outlook"]["home"].tolist(),
            published_at_ms=wall_ms(),
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._metrics.stage_seconds.labels(name).observe(time.perf_counter() - started)
