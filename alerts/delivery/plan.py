"""What to do with a delivery that is due. Pure: state and time are arguments.

Decisions are made in this order; the first that applies wins:

1. the channel is gone or switched off: dead
2. the demo model made it, and the channel does not want that: refused
3. the storm guard holds openings and escalations: held
4. quiet hours, of the rule or of the channel: wait until they end
5. more alerts within an hour than the rule or the channel allows: digest at the end of the hour
6. attempts faster than the channel's rate: wait for the next slot
7. send
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alerts.delivery.channels_config import Channel, QuietHours
from contracts.deliveries import OPEN_STATES, Row
from contracts.times import HOUR_MS, MINUTE_MS

CAPPED_KINDS = ("opened", "escalated")
"""Caps and storms are about openings: who was told of one is told how it ended."""
ENDINGS = ("resolved", "churned")
DEMO_ORIGIN = "simulator"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the alert's rule says of its delivery."""

    quiet_hours: QuietHours | None = None
    max_per_hour: int | None = None


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What is known of a channel at the moment."""

    disabled: str = ""
    """Why it is switched off; empty when it is not."""
    next_slot: int = 0
    """When its rate allows the next attempt, epoch ms."""
    told_in_hour: int = 0
    """Alerts told one by one within the last hour."""
    told_by_rule: int = 0
    """Those of the same rule."""


@dataclass(frozen=True, slots=True)
class Send:
    """Make an attempt."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing before `until`, epoch ms."""

    until: int
    reason: str


@dataclass(frozen=True, slots=True)
class Slot:
    """The channel's rate is used up until then; the row stays as it is."""

    until: int


@dataclass(frozen=True, slots=True)
class ToDigest:
    """Told in the digest of `at`, epoch ms."""

    at: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Until the storm is over."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Told to nobody."""

    state: str
    reason: str


Decision = Send | Wait | Slot | ToDigest | Hold | Drop


def decide(  # noqa: PLR0911 - one return for each line of the table above
    row: Row,
    channel: Channel | None,
    state: ChannelState,
    limits: Limits,
    *,
    origin: str,
    storm: bool,
    now_ms: int,
) -> Decision:
    """What to do with a due row. origin: of the model behind an alert, empty for a notice."""
    if channel is None:
        return Drop("dead", f"the policy has no channel {row.channel!r}")
    if state.disabled:
        return Drop("dead", state.disabled)
    if origin == DEMO_ORIGIN and not channel.allow_demo_model:
        return Drop(
            "refused",
            "made by the demo model, which has learned from a simulator; "
            "allow_demo_model lets the channel tell it",
        )
    first = row.attempts == 0
    counted = row.kind == "alert" and row.label in CAPPED_KINDS
    if first and counted and storm:
        return Hold()
    if first and (until := quiet_until(row, channel, limits, now_ms)) is not None:
        return Wait(until, "quiet hours")
    if first and counted and _full(channel, state, limits):
        return ToDigest(next_hour(now_ms))
    if state.next_slot > now_ms:
        return Slot(state.next_slot)
    return Send()


def quiet_until(row: Row, channel: Channel, limits: Limits, now_ms: int) -> int | None:
    """When the quiet hours that hold the row back are over, None when none do.

    An incident is told at any hour: it says that the alerts themselves are not to be trusted.
    """
    if row.kind == "incident":
        return None
    ends = [
        end
        for quiet in (channel.quiet_hours, limits.quiet_hours)
        if quiet is not None and not (quiet.critical_passes and row.severity == "critical")
        if (end := quiet.ends(now_ms)) is not None
    ]
    return max(ends, default=None)


def _full(channel: Channel, state: ChannelState, limits: Limits) -> bool:
    most, by_rule = channel.max_per_hour, limits.max_per_hour
    return (most is not None and state.told_in_hour >= most) or (
        by_rule is not None and state.told_by_rule >= by_rule
    )


def next_hour(now_ms: int) -> int:
    """The full hour after `now_ms`: digests come then."""
    return (now_ms // HOUR_MS + 1) * HOUR_MS


def next_slot(channel: Channel, now_ms: int) -> int:
    """When the channel's rate allows another attempt after one at `now_ms`."""
    return now_ms + -(-MINUTE_MS // channel.rate_per_minute)


def overtaken(ending: Row, earlier: Iterable[Row]) -> tuple[bool, Sequence[Row]]:
    """Whether an episode's end need not be told, and which of its alerts need not be any more.

    earlier: the episode's other alerts on the same channel. Somebody who came back before anyone
    was told that they were gone is no news. A cancellation is news in any case. Only what was kept
    back is known to be untold: a store that has gone back in time remembers no attempt of what it
    was about to send, and a receiver would wait for the end of what it was told of.
    """
    if ending.label not in ENDINGS or ending.attempts > 0:
        return False, ()
    others = [row for row in earlier if row.label in CAPPED_KINDS]
    untold = [row for row in others if _kept_back(row)]
    told = any(
        row.attempts > 0
        or row.state == "digested"
        or (row.state in OPEN_STATES and not _kept_back(row))
        for row in others
    )
    unneeded = bool(others) and not told and ending.label == "resolved"
    return unneeded, untold


def _kept_back(row: Row) -> bool:
    """Whether somebody decided not to tell it yet: a storm, a cap or quiet hours."""
    postponed = row.state == "waiting" and row.due > row.updated
    return row.attempts == 0 and (row.state in ("held", "digest") or postponed)
