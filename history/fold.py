"""What scores do to trails and counts. Pure: values in, values out, time is an argument.

Scores are folded one after another in the order of their log, so where a batch is cut makes no
difference. Of each user those that are not higher in (log number, offset, scored_at) than the one
known count for nothing: repeats, and what a scorer said too late.
"""

from __future__ import annotations

from zlib import crc32

from contracts import history
from contracts.bands import band_of, cell_of, standing_of
from contracts.history import Day, Order, Trail
from contracts.scores import TRIGGERS
from contracts.times import DAY_MS, NEVER, to_ms
from history.tally import Tally
from history.told import Told

OPEN_KEPT = 31
"""Standings of one user whose outcome is open. Silence is scored at rungs, so more come of many
models only; the oldest then leaves its cohort."""

_TRIGGER = {trigger: number for number, trigger in enumerate(TRIGGERS)}
_LAST_POINTS_SHARE = 4


def scored(trail: Trail | None, told: Told, tally: Tally, points: int, clock: int) -> Trail | None:
    """The trail after a score, with the user moved in the tally; None if the score is not news.

    points: how many a trail keeps. A quarter of them are the last ones, all of them; before those
    stay the highest and the last of each UTC day. clock: how far time has come in the log of
    scores, this one included, epoch ms.
    """
    scored_at = to_ms(told.scored_at)
    order = Order(told.position.log, told.position.offset, scored_at)
    if trail is not None and order <= trail.order:
        return None
    last_seen = NEVER if told.last_seen_at is None else to_ms(told.last_seen_at)
    standing = standing_of(told.origin, told.cancelled, told.evidence.usual_gap_hours)
    cell = cell_of(band_of(told.churn_probability), standing)
    model = crc32(told.model_version.encode())
    if trail is not None and expired(trail, tally):
        trail = None  # what they do now starts anew
    if trail is None:
        after = Trail(order, last_seen, told.evidence.active_days, model, 0, cell)
    else:
        tally.move(seen_day(trail), trail.cell, -1)
        number = trail.model_number
        after = Trail(
            order,
            last_seen,
            told.evidence.active_days,
            model,
            number if model == trail.model else history.next_model(number),
            cell,
            still_open(trail, last_seen, told.evidence.active_days, scored_at, tally),
            trail.days,
            trail.last,
        )
    if not expired(after, tally):
        tally.move(seen_day(after), cell, 1)
    day = Day(scored_at // DAY_MS, told.horizon_days, cell)
    if clock < ended(day):
        _stand(after.open, day, tally)
    else:
        # Told when more than the day was read. Who came back meanwhile was scored for that alone.
        tally.cohort(day, late=1)
    if points:
        millionths = round(told.churn_probability * history.MICRO)
        after.last += history.pack_point(
            scored_at, millionths, _TRIGGER[told.trigger], standing, after.model_number
        )
    _thin(after, points)
    return after


def erased(trail: Trail, tally: Tally, clock: int) -> None:
    """Take an erased user out of the tally, and out of the cohorts that are not mature yet."""
    if expired(trail, tally):
        return
    tally.move(seen_day(trail), trail.cell, -1)
    for day in trail.open:
        if mature_at(day) > clock:
            tally.cohort(day, users=-1)


def expired(trail: Trail, tally: Tally) -> bool:
    """Whether the user's time has run out, and they are in no count any more."""
    return seen_day(trail) <= tally.gone


def seen_day(trail: Trail) -> int:
    """The UTC day on which the user was last seen; of one who never was, the last score's."""
    moment = trail.order.scored_at if trail.last_seen == NEVER else trail.last_seen
    return moment // DAY_MS


def ended(day: Day) -> int:
    """The midnight that ends a standing's day, epoch ms."""
    return (day.day + 1) * DAY_MS


def mature_at(day: Day) -> int:
    """When it is certain whether the user stayed away for the horizon, epoch ms."""
    return ended(day) + day.horizon * DAY_MS


def still_open(trail: Trail, last_seen: int, active_days: int, now: int, tally: Tally) -> list[Day]:
    """The standings whose outcome the next score leaves open; the others are settled in the tally.

    A score tells the latest activity only. On how many days there was any is in its evidence: if
    more than one is new, a return that seems too late may hide an earlier one: what became of the
    standing is unknown.
    """
    if last_seen <= trail.last_seen:
        # Silent still: what is mature has stayed away, and the cohorts say so already.
        return [day for day in trail.open if mature_at(day) > now]
    certain = active_days == trail.active_days + 1 or active_days == trail.active_days
    open_ = []
    for day in trail.open:
        if last_seen < ended(day):
            if mature_at(day) > now:
                open_.append(day)
        elif last_seen < mature_at(day):
            tally.cohort(day, returned=1)
        elif not certain:
            tally.cohort(day, unknown=1)
    return open_


def _stand(open_: list[Day], day: Day, tally: Tally) -> None:
    """Stand there when the day ends, unless a later score of the day says otherwise."""
    if open_ and day.day < open_[-1].day:
        return
    if open_ and day.day == open_[-1].day:
        before = open_.pop()
        tally.cohort(before, users=-1)
    open_.append(day)
    tally.cohort(day, users=1)
    if len(open_) > OPEN_KEPT:
        tally.cohort(open_.pop(0), users=-1)


def _thin(trail: Trail, points: int) -> None:
    """Let the points that are too many go."""
    last = -(-points // _LAST_POINTS_SHARE)
    size = history.POINT_BYTES
    while len(trail.last) > last * size:
        leaving, trail.last = trail.last[:size], trail.last[size:]
        trail.days = history.thinned(trail.days, leaving, points - last)
