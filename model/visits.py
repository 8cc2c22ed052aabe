"""Folding a run of events without a snapshot among them: what users did, and what befell them.

Nearly everything is a sum, a minimum or a maximum against the running last-seen, and so a closed
formula over the run. Only decay rounds at each day the user moves on to; it alone is a loop, over
the r-th such day of every user at once.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from contracts.activity import FoldRules
from contracts.decay import ONE, decay, worth
from contracts.events import ACTIVE, NAMED_TYPES, NO_VALUE
from contracts.record import CANCELLED, RING_DAYS, SEEN_BY_SNAPSHOT, TYPE_SLOTS
from contracts.times import DAY_MS, NEVER, SESSION_GAP_MS
from model.expiry import expire
from model.gaps import log2_steps
from model.ring import add_to_ring, advance_ring
from model.rows import take
from model.statements import earlier, fold_statements

_CANCELLATION: Final = NAMED_TYPES.index("subscription_cancelled")
_TIME_BITS: Final = 42  # a millisecond before 2109


class _Run(NamedTuple):
    """Events of one run, grouped by user, in log order within a user."""

    events: np.ndarray  # (n,) EVENT_ROW
    at: np.ndarray  # (n,) row of the facts
    before: np.ndarray  # (n,) i8 ms: last-seen before the event
    after: np.ndarray  # (n,) i8 ms: and after it

    def where(self, chosen: np.ndarray) -> _Run:
        return _Run(take(self.events, chosen), *(part[chosen] for part in self[1:]))


def fold_visits(facts: np.ndarray, events: np.ndarray, at: np.ndarray, rules: FoldRules) -> None:
    """Fold a run into `facts`, in place.

    facts: (m,) FACTS; events: (n,) EVENT_ROW, kinds ACTIVE and PASSIVE; at: (n,) row of the facts,
    ascending, every row at least once.
    """
    run = _since_expiry(facts, events, at, rules)
    fold_statements(facts, run.events, run.at)
    _count_types(facts, run)
    _add_money(facts, run)
    _fold_cancellations(facts, run)
    active = run.events["kind"] == ACTIVE
    if not active.all():
        run = run.where(active)
    if not len(run.at):
        return
    _add_totals(facts, run)
    sessions = _fold_sessions(facts, run)
    _fold_days(facts, run, sessions)
    _move_last_seen(facts, run)


def _since_expiry(facts: np.ndarray, events: np.ndarray, at: np.ndarray, rules: FoldRules) -> _Run:
    """Blank users who came back after the retention, and drop what they did before that."""
    while True:
        active = events["kind"] == ACTIVE
        occurred_at = events["occurred_at"]
        before, after = _running_last_seen(facts["last_seen"], occurred_at, active, at)
        expired = (before != NEVER) & (occurred_at > before + rules.retention_ms)
        if not expired.any():
            return _Run(events, at, before, after)
        # An active event that expires its user becomes last-seen, as it would have anyway: the
        # running maximum is right past it. A passive one leaves last-seen at NEVER: the maximum
        # has to start again there.
        start = np.full(len(facts), -1)
        ended = np.flatnonzero(expired)
        start[at[ended]] = ended
        passive = np.flatnonzero(expired & ~active)[::-1]
        start[at[passive]] = passive
        expire(facts, np.flatnonzero(start >= 0))
        rest = np.arange(len(at)) >= start[at]
        events, at = take(events, rest), at[rest]


def _running_last_seen(
    last_seen: np.ndarray, occurred_at: np.ndarray, active: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) last-seen before and after each event."""
    first = np.flatnonzero(np.diff(at, prepend=-1))
    seen = np.where(active, occurred_at, NEVER)
    seen[first] = np.maximum(seen[first], last_seen)
    # One maximum for all users: a user's numbers lie above those of all users before.
    lane = at << _TIME_BITS
    after = np.maximum.accumulate(np.maximum(seen, -1) + 1 + lane) - lane - 1
    after[after < 0] = NEVER
    before = np.empty_like(after)
    before[1:] = after[:-1]
    before[first] = last_seen
    return before, after


def _count_types(facts: np.ndarray, run: _Run) -> None:
    slot = run.at * TYPE_SLOTS + run.events["type_slot"]
    counts = np.bincount(slot, minlength=len(facts) * TYPE_SLOTS).reshape(-1, TYPE_SLOTS)
    facts["types"] = np.minimum(facts["types"] + counts, np.iinfo(np.uint16).max)


def _add_money(facts: np.ndarray, run: _Run) -> None:
    stated = np.flatnonzero(run.events["cents"] != NO_VALUE)
    if not len(stated):
        return
    cents = run.events["cents"][stated]
    facts["value_cents"] += _sum(run.at[stated], cents, len(facts))
    facts["purchase_cents"] += _sum(run.at[stated], np.maximum(cents, 0), len(facts))


def _fold_cancellations(facts: np.ndarray, run: _Run) -> None:
    """Cancelled is who cancelled and did nothing since; the last of the two in log order wins."""
    forward = np.flatnonzero(run.after > run.before)
    cancelled = np.flatnonzero(run.events["type_slot"] == _CANCELLATION)
    returned_last = np.full(len(facts), -1)
    returned_last[run.at[forward]] = forward
    cancelled_last = np.full(len(facts), -1)
    cancelled_last[run.at[cancelled]] = cancelled
    flags = facts["flags"]
    flags = np.where(returned_last > cancelled_last, flags & ~np.uint8(CANCELLED), flags)
    says = (cancelled_last >= 0) & (cancelled_last >= returned_last)
    facts["flags"] = np.where(says, flags | np.uint8(CANCELLED), flags)


def _add_totals(facts: np.ndarray, run: _Run) -> None:
    events, at, users = run.events, run.at, len(facts)
    _count_up(facts, "events", np.bincount(at, minlength=users))
    # What a snapshot already stated is counted now, so it leaves the base.
    stated = events["occurred_at"] <= facts["snapshot_at"][at]
    for name in ("pages", "seconds"):
        amount = events[name].astype(np.int64)
        _count_up(facts, name, _sum(at, amount, users))
        if stated.any():
            base = facts[f"{name}_base"].astype(np.int64)
            facts[f"{name}_base"] = np.maximum(base - _sum(at, amount * stated, users), 0)
    earlier(facts, "first_seen", at, events["occurred_at"])


def _fold_sessions(facts: np.ndarray, run: _Run) -> np.ndarray:
    """Count sessions and the gaps before them; return (s,) the events that open one."""
    opens = np.flatnonzero(
        (run.before == NEVER) | (run.events["occurred_at"] > run.before + SESSION_GAP_MS)
    )
    at, users = run.at[opens], len(facts)
    _count_up(facts, "sessions", np.bincount(at, minlength=users))
    # Last-seen as a snapshot left it is the time of an export: no visit ended there.
    exported = (facts["flags"][at] & SEEN_BY_SNAPSHOT != 0) & (
        run.before[opens] == facts["last_seen"][at]
    )
    ends_gap = (run.before[opens] != NEVER) & ~exported
    gaps, at = opens[ends_gap], at[ends_gap]
    if len(gaps):
        seconds = (run.events["occurred_at"][gaps] - run.before[gaps]) // 1000
        steps = log2_steps(seconds)
        _count_up(facts, "gaps", np.bincount(at, minlength=users))
        _count_up(facts, "gap_seconds", _sum(at, seconds, users))
        _count_up(facts, "gap_log2", _sum(at, steps, users))
        facts["gap_log2_squares"] += _sum(at, steps * steps, users)
        facts["last_gap_seconds"][at] = seconds  # of repeated indices the last one stays
    return opens


def _fold_days(facts: np.ndarray, run: _Run, sessions: np.ndarray) -> None:
    """Ring, active days and decayed counts."""
    at = run.at
    day = run.events["occurred_at"] // DAY_MS
    last_day = np.where(run.after == run.events["occurred_at"], day, run.after // DAY_MS)
    age = last_day - day

    first = np.flatnonzero(np.diff(at, prepend=-1))
    rows = at[first]
    seen = facts["last_seen"][rows]
    old_day = np.full(len(facts), 0)
    old_day[rows] = np.where(seen == NEVER, last_day[first], seen // DAY_MS)
    new_day = old_day.copy()
    new_day[at] = last_day
    step = np.diff(last_day, prepend=0)
    step[first] = last_day[first] - old_day[rows]

    in_ring = np.flatnonzero(age < RING_DAYS)
    new = in_ring[_first_of_day(facts, at[in_ring], day[in_ring], age[in_ring], old_day)]
    _count_up(facts, "active_days", np.bincount(at[new], minlength=len(facts)))
    _decay_and_add(facts, at, step, age, in_ring=in_ring, new=new)

    advance_ring(facts, old_day, new_day - old_day)
    left = new[day[new] > new_day[at[new]] - RING_DAYS]
    bits = facts["day_bits"].astype(np.int64)
    np.add.at(bits, at[left], np.int64(1) << (new_day[at[left]] - day[left]))
    facts["day_bits"] = bits

    left = in_ring[day[in_ring] > new_day[at[in_ring]] - RING_DAYS]
    for name in ("pages", "seconds"):
        amount = run.events[name][left].astype(np.int64)
        add_to_ring(facts, f"day_{name}", at[left], day[left] % RING_DAYS, amount)
    left = sessions[day[sessions] > new_day[at[sessions]] - RING_DAYS]
    ones = np.ones(len(left), np.int64)
    add_to_ring(facts, "day_sessions", at[left], day[left] % RING_DAYS, ones)


def _first_of_day(
    facts: np.ndarray, at: np.ndarray, day: np.ndarray, age: np.ndarray, old_day: np.ndarray
) -> np.ndarray:
    """(k,) whether each event inside the ring is the user's first of its day."""
    changed = np.ones(len(at), np.bool_)
    changed[1:] = (day[1:] != day[:-1]) | (at[1:] != at[:-1])
    old_age = old_day[at] - day
    bits = facts["day_bits"][at].astype(np.int64)
    known = (old_age >= 0) & (bits >> np.clip(old_age, 0, 63) & 1 != 0)
    fresh: np.ndarray = changed & ~known
    if age.any():
        # Late events go back to days of before: the same day may come up more than once.
        among = np.flatnonzero(fresh)
        key = at[among] << 32 | day[among]
        again = np.ones(len(among), np.bool_)
        again[np.unique(key, return_index=True)[1]] = False
        fresh[among[again]] = False
    return fresh


def _decay_and_add(
    facts: np.ndarray,
    at: np.ndarray,
    step: np.ndarray,
    age: np.ndarray,
    *,
    in_ring: np.ndarray,
    new: np.ndarray,
) -> None:
    """Walk each user's days: decay by the days skipped, then add what happened until the next.

    step: (n,) days that last-seen moved with each event; in_ring, new: events that count, and
    those that begin an active day.
    """
    begins = np.diff(at, prepend=-1) != 0
    starts = np.flatnonzero(begins | (step > 0))
    stretch = np.zeros(len(at), np.int64)
    stretch[starts] = 1
    stretch = np.cumsum(stretch) - 1
    gained = np.stack(
        [_worths(stretch, age, chosen, len(starts)) for chosen in (new, in_ring)], axis=1
    )  # (stretches, days or events, half-lives)

    whose, days = at[starts], step[starts]
    opening = np.flatnonzero(begins[starts])
    turn = np.arange(len(starts)) - np.repeat(opening, np.diff(np.append(opening, len(starts))))
    order = np.argsort(turn, kind="stable")
    ends = np.cumsum(np.bincount(turn))
    left = np.stack([facts["decayed_days"], facts["decayed_events"]], axis=1).astype(np.uint64)
    for chosen in np.split(order, ends[:-1]):
        rows = whose[chosen]
        old = left[rows].reshape(2 * len(rows), -1)
        decayed = decay(old, np.repeat(days[chosen], 2)).reshape(len(rows), 2, -1)
        left[rows] = np.minimum(decayed + gained[chosen], np.uint64(0xFFFF_FFFF))
    facts["decayed_days"] = left[:, 0]
    facts["decayed_events"] = left[:, 1]


def _worths(stretch: np.ndarray, age: np.ndarray, chosen: np.ndarray, stretches: int) -> np.ndarray:
    """(stretches, half-lives) u8: what the chosen events are worth at their arrival."""
    late = chosen[age[chosen] > 0]
    on_time = chosen[age[chosen] == 0] if len(late) else chosen
    counts = np.bincount(stretch[on_time], minlength=stretches).astype(np.uint64)
    table = worth(np.arange(RING_DAYS))
    total = np.repeat(counts[:, None] * np.uint64(ONE), table.shape[1], axis=1)
    if len(late):
        for column in range(table.shape[1]):
            np.add.at(total[:, column], stretch[late], table[age[late], column])
    return total


def _move_last_seen(facts: np.ndarray, run: _Run) -> None:
    last = np.flatnonzero(np.diff(run.at, append=-1))
    rows, seen = run.at[last], run.after[last]
    forward = seen > facts["last_seen"][rows]
    facts["last_seen"][rows] = seen
    facts["flags"][rows[forward]] &= ~np.uint8(SEEN_BY_SNAPSHOT)


def _count_up(facts: np.ndarray, name: str, amount: np.ndarray) -> None:
    """Add non-negative amounts (m,) to counter `name`, in place; it saturates."""
    total = facts[name].astype(np.int64) + amount
    facts[name] = np.minimum(total, np.iinfo(facts[name].dtype).max)


def _sum(at: np.ndarray, amounts: np.ndarray, users: int) -> np.ndarray:
    """(users,) i8 sum of amounts (n,) per user."""
    total = np.zeros(users, np.int64)
    np.add.at(total, at, amounts)
    return total
