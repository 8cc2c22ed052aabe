"""Whether a worker gets on with its partitions: what it knows of each, and the verdict.

Time here is seconds during which the worker's event loop ran (`runtime.clock.Awake`), so that a
machine that was suspended is not mistaken for a worker that hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Stage = Literal["opening", "fetching", "checking", "handling", "sweeping", "held", "retrying"]

PUBLISHING: tuple[Stage, ...] = ("handling", "sweeping")
"""Where something may have been published that was not saved yet."""
ANSWER_FACTOR = 10
"""How much longer a worker waits for a dependency that answers, but with no."""


class Stalled(Exception):
    """The worker gets nowhere although what it needs is there: start it again.

    got_on: whether it had got on since it was last started, so that starting it again may help.
    """

    def __init__(self, reason: str, *, got_on: bool) -> None:
        super().__init__(reason)
        self.got_on = got_on


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one partition at one moment."""

    partition: int
    stage: Stage
    """Where its loop is."""
    stage_since: float
    moved_at: float
    """When a batch was last saved, or a fetch last said that nothing is unread."""
    moves: int
    """How often that was, since the partition was assigned."""
    refusal: str | None
    """What Kafka or Redis last answered instead of working, None after progress."""
    refused_at: float


class Progress:
    """Kept by the loop over one partition."""

    def __init__(self, partition: int, now: Callable[[], float]) -> None:
        self._partition = partition
        self._now = now
        self._stage: Stage = "opening"
        self._stage_since = self._moved_at = self._refused_at = now()
        self._moves = 0
        self._refusal: str | None = None

    def enters(self, stage: Stage) -> None:
        """The loop goes about something else."""
        if stage != self._stage:
            self._stage, self._stage_since = stage, self._now()

    def moves(self) -> None:
        """A batch was saved, or nothing is unread."""
        self._moved_at, self._refusal = self._now(), None
        self._moves += 1

    def is_refused(self, reason: str) -> None:
        """A dependency answered, but not with what was asked."""
        self._refusal, self._refused_at = reason, self._now()

    def seen(self) -> Seen:
        """All of it, as of now."""
        return Seen(
            self._partition,
            self._stage,
            self._stage_since,
            self._moved_at,
            self._moves,
            self._refusal,
            self._refused_at,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds of no progress."""

    stall: float
    joining: float
    """A rebalance rightly takes as long as the slowest member may."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A verdict: what does not move, and for how long."""

    reason: str
    partitions: tuple[Seen, ...]

    @property
    def got_on(self) -> bool:
        """Whether all that stands still had moved before."""
        return bool(self.partitions) and all(seen.moves for seen in self.partitions)


def judge(
    partitions: Sequence[Seen],
    joining_since: float | None,
    now: float,
    limits: Limits,
    excused_until: float = 0.0,
) -> Stall | None:
    """Whether a worker stands still, None if not.

    joining_since: when it began to join its group, None when it is a member. excused_until: time
    before this does not count, since Kafka or Redis was away. A partition that waits
    for a person never counts. One whose Redis or Kafka keeps answering with a refusal is given ten
    times as long: a restart seldom helps, but clients have been seen to refuse for ever by
    themselves. Whether the dependencies answer at all is for the caller to find out.
    """
    if joining_since is not None and now - max(joining_since, excused_until) > limits.joining:
        return Stall(f"joining the consumer group for {now - joining_since:.0f} s", ())
    still = [seen for seen in partitions if _stands_still(seen, now, limits.stall, excused_until)]
    if not still:
        return None
    longest = max(now - seen.moved_at for seen in still)
    where = ", ".join(f"{seen.partition} ({seen.stage})" for seen in still)
    return Stall(f"no progress for {longest:.0f} s on partition {where}", tuple(still))


def _stands_still(seen: Seen, now: float, limit: float, excused_until: float) -> bool:
    if seen.stage == "held":
        return False
    answered = seen.refusal is not None and now - seen.refused_at <= limit
    still_for = now - max(seen.moved_at, excused_until)
    return still_for > (limit * ANSWER_FACTOR if answered else limit)
