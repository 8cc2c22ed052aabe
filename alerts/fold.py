"""A policy folded over scores, commands and time, in the order of the log, in memory.

The worker folds a batch with it, whoever tries a policy on history folds all of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from msgspec.structs import replace

from alerts import policy as policies
from alerts import trial
from alerts.episode import Episode, Trial
from alerts.policy import Alerts
from alerts.rules import Policy
from alerts.top import Cuts, Tops
from contracts.commands import AlertCommand
from contracts.scores import ChurnScore
from contracts.times import MINUTE_MS, to_ms

GRACE_MS = MINUTE_MS
"""How long after its moment a wait ends for a user who sends nothing: a score of before that
moment may still be on its way, and should be judged first."""


class PolicyFold:
    """The episodes of some users, and all that moves them."""

    def __init__(
        self,
        policy: Policy,
        partitions: int = 1,
        episodes: dict[str, Episode | None] | None = None,
        tops: Tops | None = None,
    ) -> None:
        """partitions: over how many of these folds the users are spread, which share the N of
        `top N a day` equally. episodes: what is known of users before; the fold keeps it current.
        """
        self.policy = policy
        self.episodes: dict[str, Episode | None] = {} if episodes is None else episodes
        self.tops = tops or Tops()
        self.tried: list[tuple[str, trial.Change]] = []
        """What the holdout's experiment has learned from these users, by user."""
        self._share = 1 / partitions
        self._due: list[tuple[int, str]] = []
        for user_id, episode in self.episodes.items():
            if episode is not None and (episode.pending or episode.open is not None):
                self._watch(user_id)

    def score(self, score: ChurnScore, *, counted: bool = False) -> Alerts:
        """Judge a score; counted: the rules that ask for so many a day know it already."""
        before = self.episodes.get(score.user_id)
        cuts = self._cuts(before, score, counted=counted) if self.policy.tops else policies.NO_CUTS
        after, told = policies.judge(before, score, self.policy, cuts)
        if after.trial is not None:
            after = self._try(score.user_id, after, *trial.seen(after.trial, score))
        if told:
            after = self._alerted(score.user_id, after, told)
        self.episodes[score.user_id] = after
        if after.pending or after.open is not None:
            self._watch(score.user_id)
        return told

    def command(self, command: AlertCommand) -> Alerts:
        """Do what a person says."""
        before = self.episodes.get(command.user_id)
        after, told = policies.obey(before, command, self.policy)
        if after is not None:
            self.episodes[command.user_id] = after
            self._watch(command.user_id)
        return told

    def erase(self, user_id: str) -> None:
        """Forget a user."""
        before = self.episodes.get(user_id)
        if before is not None:
            self.tried += [(user_id, change) for change in trial.erased(before.trial)]
        self.episodes[user_id] = None

    def advance(self, clock_ms: int) -> list[Alerts]:
        """End the waits that are over by `clock_ms`, by user, the earliest first."""
        told = []
        while self._due and self._due[0][0] <= clock_ms:
            _, user_id = heapq.heappop(self._due)
            episode = self.episodes.get(user_id)
            if episode is None:
                continue
            # An entry may be of before: then nothing happens, and a newer one is in the heap.
            after, alerts = policies.tick(episode, user_id, clock_ms, self.policy)
            if alerts:
                self.episodes[user_id] = self._alerted(user_id, after, alerts)
                self._watch(user_id)
                told.append(alerts)
        return told

    def due(self, user_id: str) -> int | None:
        """When the user's next wait ends, None where there is none."""
        episode = self.episodes.get(user_id)
        return None if episode is None else policies.due(episode, self.policy)

    def _cuts(self, before: Episode | None, score: ChurnScore, *, counted: bool) -> Cuts:
        """Where the rules that ask for so many a day cut, before they count this score."""
        cuts = {}
        now = to_ms(score.scored_at)
        for rule in self.policy.tops:
            crossings = self.tops.of(rule.name)
            if not counted:
                crossings.watch(now)
            a_day = (rule.top or 0.0) * self._share
            cuts[rule.name] = crossings.cut(a_day, rule.opens_at(score), rule.resolves_below(score))
        if not counted:
            for rule, below, reached in policies.crossed(before, score, self.policy):
                self.tops.of(rule.name).count(below, reached)
        return cuts

    def _alerted(self, user_id: str, episode: Episode, told: Alerts) -> Episode:
        begun = trial.alerted(episode.trial, told, self.policy.holdout)
        return self._try(user_id, episode, *begun)

    def _try(
        self,
        user_id: str,
        episode: Episode,
        after: Trial | None,
        changes: tuple[trial.Change, ...],
    ) -> Episode:
        self.tried += [(user_id, change) for change in changes]
        return episode if after is episode.trial else replace(episode, trial=after)

    def _watch(self, user_id: str) -> None:
        moment = self.due(user_id)
        if moment is not None:
            heapq.heappush(self._due, (moment, user_id))


def fold(scores: Iterable[ChurnScore], policy: Policy) -> list[Alerts]:
    """The alerts of each score of one partition in log order; waits end by the scores' times."""
    folded = PolicyFold(policy)
    told = []
    for score in scores:
        ended = folded.advance(to_ms(score.scored_at) - GRACE_MS)
        told.append(tuple(alert for alerts in ended for alert in alerts) + folded.score(score))
    return told
