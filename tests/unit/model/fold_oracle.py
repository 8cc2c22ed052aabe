"""The fold once more, one event at a time with plain Python integers: slow and meant to be read.

Also the histories that tests draw: few users and ids, times close to every boundary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from contracts.activity import FoldRules
from contracts.decay import ONE, decay
from contracts.events import (
    ACTIVE,
    CATEGORIES,
    EVENT_ROW,
    NAMED_TYPES,
    NO_VALUE,
    PASSIVE,
    SNAPSHOT,
    TOMBSTONE,
)
from contracts.record import (
    CANCELLED,
    ERASED,
    FACTS,
    HALF_LIVES,
    RING_DAYS,
    SEEN_BY_SNAPSHOT,
    UNKNOWN,
    blank_facts,
)
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, NEVER, SESSION_GAP_MS

RULES = FoldRules(retention_ms=60 * DAY_MS)
CANCELLATION = NAMED_TYPES.index("subscription_cancelled")
U1, U2, U4 = 2**8 - 1, 2**16 - 1, 2**32 - 1

State = dict[str, Any]


def fold_one_by_one(
    facts: np.ndarray, events: np.ndarray, user: np.ndarray, rules: FoldRules
) -> np.ndarray:
    """Fold like `model.fold.fold`, one event after the other."""
    states = [_read(row) for row in facts]
    for event, index in zip(events, user, strict=True):
        states[index] = _step(
            states[index], dict(zip(EVENT_ROW.names, event.tolist(), strict=True)), rules
        )
    after = blank_facts(len(states))
    for index, state in enumerate(states):
        for name in FACTS.names:
            after[name][index] = state[name]
    return after


def _read(row: np.void) -> State:
    return {name: row[name].tolist() for name in FACTS.names}


def _blank(keeping: State, *names: str) -> State:
    return _read(blank_facts(1)[0]) | {name: keeping[name] for name in names}


def _step(s: State, e: State, rules: FoldRules) -> State:
    s["log_number"], s["offset"] = e["log_number"], e["offset"]
    s["log_time"] = max(s["log_time"], e["log_time"])
    if e["kind"] == TOMBSTONE:
        return _blank(s, "log_number", "offset", "log_time") | {"flags": ERASED}

    known = [high << 32 | low for high, low in zip(s["ids_high"], s["ids_low"], strict=True)]
    if e["id"] and e["id"] in known:
        return s
    s["ids_low"][s["id_next"]] = e["id"] & U4
    s["ids_high"][s["id_next"]] = e["id"] >> 32
    s["id_next"] = (s["id_next"] + 1) % len(known)
    s["flags"] &= ~ERASED

    if s["last_seen"] != NEVER and e["occurred_at"] > s["last_seen"] + rules.retention_ms:
        kept = ("log_number", "offset", "log_time", "id_next", "ids_low", "ids_high")
        s = _blank(s, *kept)

    for name in CATEGORIES:
        s[name] = e[name] or s[name]
    if e["login"] != UNKNOWN:
        s["login"] = e["login"]
    s["signup_at"] = _earlier(s["signup_at"], e["signup_at"])
    if e["kind"] == SNAPSHOT:
        _snapshot(s, e)
        return s
    slot = e["type_slot"]
    s["types"][slot] = min(s["types"][slot] + 1, U2)
    if e["cents"] != NO_VALUE:
        s["value_cents"] += e["cents"]
        s["purchase_cents"] += max(e["cents"], 0)
    if e["kind"] == ACTIVE:
        _visit(s, e)
    if slot == CANCELLATION:
        s["flags"] |= CANCELLED
    return s


def _earlier(known: int, claim: int) -> int:
    return max(known, claim) if NEVER in (known, claim) else min(known, claim)


def _snapshot(s: State, e: State) -> None:
    before = s["pages_base"], s["seconds_base"]
    for name in ("pages", "seconds"):
        s[name + "_base"] = max(s[name + "_base"], e[name] - s[name])
    s["snapshot_at"] = max(s["snapshot_at"], e["occurred_at"])
    rose = before != (s["pages_base"], s["seconds_base"])
    if rose and e["occurred_at"] > s["last_seen"]:
        _advance(s, e["occurred_at"])
        s["flags"] |= SEEN_BY_SNAPSHOT
        if s["first_seen"] == NEVER:
            s["first_seen"] = e["occurred_at"]


def _visit(s: State, e: State) -> None:
    now, day = e["occurred_at"], e["occurred_at"] // DAY_MS
    s["events"] = min(s["events"] + 1, U4)
    for name in ("pages", "seconds"):
        s[name] = min(s[name] + e[name], U4)
        if now <= s["snapshot_at"]:
            s[name + "_base"] = max(s[name + "_base"] - e[name], 0)
    s["first_seen"] = _earlier(s["first_seen"], now)

    opens = s["last_seen"] == NEVER or now > s["last_seen"] + SESSION_GAP_MS
    if opens:
        s["sessions"] = min(s["sessions"] + 1, U4)
        if s["last_seen"] != NEVER and not s["flags"] & SEEN_BY_SNAPSHOT:
            gap = (now - s["last_seen"]) // 1000
            # floor(256 * log2(gap)) = floor(log2(gap ** 256))
            steps = (gap**256).bit_length() - 1
            s["gaps"] = min(s["gaps"] + 1, U4)
            s["gap_seconds"] = min(s["gap_seconds"] + gap, U4)
            s["last_gap_seconds"] = gap
            s["gap_log2"] = min(s["gap_log2"] + steps, U4)
            s["gap_log2_squares"] += steps * steps
    if now > s["last_seen"]:
        _advance(s, now)
        s["flags"] &= ~(SEEN_BY_SNAPSHOT | CANCELLED)

    age = s["last_seen"] // DAY_MS - day
    if age >= RING_DAYS:
        return
    slot = day % RING_DAYS
    s["day_pages"][slot] = min(s["day_pages"][slot] + e["pages"], U2)
    s["day_seconds"][slot] = min(s["day_seconds"][slot] + e["seconds"], U2)
    s["day_sessions"][slot] = min(s["day_sessions"][slot] + opens, U1)
    _add(s["decayed_events"], age)
    if not s["day_bits"] >> age & 1:
        s["day_bits"] |= 1 << age
        s["active_days"] = min(s["active_days"] + 1, U4)
        _add(s["decayed_days"], age)


def _advance(s: State, now: int) -> None:
    if s["last_seen"] != NEVER:
        first, last = s["last_seen"] // DAY_MS + 1, now // DAY_MS
        for day in range(first, last + 1):
            for name in ("day_pages", "day_seconds", "day_sessions"):
                s[name][day % RING_DAYS] = 0
        days = last + 1 - first
        s["day_bits"] = s["day_bits"] << days & (1 << RING_DAYS) - 1
        for name in ("decayed_days", "decayed_events"):
            s[name] = _decay(s[name], days)
    s["last_seen"] = now


def _decay(values: list[int], days: int) -> list[int]:
    left: list[int] = decay(np.array([values], np.uint64), np.array([days]))[0].tolist()
    return left


def _add(values: list[int], age: int) -> None:
    worth = _decay([ONE] * len(HALF_LIVES), age)
    values[:] = [min(value + more, U4) for value, more in zip(values, worth, strict=True)]


START = 1_700_000_000_000 // DAY_MS * DAY_MS
USERS = 3

_STEPS = [
    0, 1, MINUTE_MS, SESSION_GAP_MS, SESSION_GAP_MS + 1, HOUR_MS, 7 * HOUR_MS, DAY_MS - 1, DAY_MS,
    DAY_MS + 1, 3 * DAY_MS, 13 * DAY_MS, 26 * DAY_MS, 27 * DAY_MS, 28 * DAY_MS, 29 * DAY_MS,
    RULES.retention_ms, RULES.retention_ms + 1, 200 * DAY_MS,
]  # fmt: skip
_AMOUNTS = st.sampled_from([0, 0, 1, 7, 300, 70_000, 2**31, 2**32 - 1])
_RARELY = st.sampled_from([0, 0, 0, 1, 2])
KINDS = [ACTIVE] * 6 + [PASSIVE] * 2 + [SNAPSHOT] * 2 + [TOMBSTONE]


@st.composite
def histories(
    draw: st.DrawFn, *, kinds: list[int] = KINDS, most: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) EVENT_ROW in log order and the (n,) users they belong to.

    Times mostly creep forward by steps next to a boundary and sometimes fall back by one.
    """
    n = draw(st.integers(0, most))
    events = np.zeros(n, EVENT_ROW)
    user = np.array(draw(st.lists(st.integers(0, USERS - 1), min_size=n, max_size=n)), np.int64)
    now = [START + draw(st.sampled_from([0, 5 * HOUR_MS, DAY_MS - 1]))] * USERS
    for i, who in enumerate(user.tolist()):
        step = draw(st.sampled_from(_STEPS))
        if draw(st.integers(0, 3)):
            now[who] += step
            occurred_at = now[who]
        else:
            occurred_at = now[who] - step
        events[i] = _event(draw, i, occurred_at, draw(st.sampled_from(kinds)))
    return events, user


def _event(draw: st.DrawFn, i: int, occurred_at: int, kind: int) -> tuple[int, ...]:
    claim = draw(st.sampled_from([NEVER, NEVER, NEVER, occurred_at, START - 90 * DAY_MS, -1]))
    cents = draw(st.sampled_from([NO_VALUE, NO_VALUE, 0, 1999, -500]))
    new_id = (i + 1) * 0x1_0000_0001
    row = {
        "occurred_at": occurred_at,
        "log_time": START + draw(st.integers(0, 3)) * DAY_MS,
        "offset": 10 * i,
        "id": draw(st.sampled_from([new_id] * 5 + [1, 2**32 + 1, 0])),
        "signup_at": claim,
        "cents": cents,
        "log_number": 1 + i // 30,
        "pages": draw(_AMOUNTS),
        "seconds": draw(_AMOUNTS),
        "location": draw(_RARELY),
        "referral_source": draw(_RARELY),
        "device_type": draw(_RARELY),
        "plan": draw(_RARELY),
        "kind": kind,
        "type_slot": draw(st.sampled_from([0, 0, 5, CANCELLATION, 15])),
        "login": draw(_RARELY),
        "pad": 0,
    }
    if kind == TOMBSTONE:
        row |= {"id": 0, "signup_at": NEVER, "cents": NO_VALUE}
    return tuple(row.values())


def nearly_full(n: int) -> np.ndarray:
    """(n,) FACTS of busy users whose counters are about to saturate."""
    facts = blank_facts(n)
    facts["first_seen"] = START - 300 * DAY_MS
    facts["last_seen"] = START - HOUR_MS
    facts["day_bits"] = 0b1011
    for name in (
        "pages", "pages_base", "seconds", "seconds_base", "events", "active_days", "sessions",
        "gaps", "gap_seconds", "gap_log2", "decayed_days", "decayed_events",
    ):  # fmt: skip
        facts[name] = U4 - 2
    facts["types"] = U2 - 1
    facts["day_pages"] = U2 - 1
    facts["day_seconds"] = U2 - 1
    facts["day_sessions"] = U1 - 1
    return facts
