"""The laws of the fold, and what each kind of event means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import model.fold
from contracts.activity import FoldRules
from contracts.decay import ONE
from contracts.events import (
    ACTIVE,
    EVENT_ROW,
    NAMED_TYPES,
    NO_VALUE,
    PASSIVE,
    SNAPSHOT,
    TOMBSTONE,
)
from contracts.record import (
    BOOKKEEPING,
    CANCELLED,
    ERASED,
    FACTS,
    ID_WINDOW,
    LOGGED_IN,
    LOGGED_OUT,
    RING_DAYS,
    SEEN_BY_SNAPSHOT,
    blank_facts,
)
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, NEVER
from model.fold import fold
from tests.unit.model.fold_oracle import (
    RULES,
    START,
    USERS,
    fold_one_by_one,
    histories,
    nearly_full,
)

CANCELLATION = NAMED_TYPES.index("subscription_cancelled")
NOON = START + 12 * HOUR_MS
BEGINNINGS = st.sampled_from([blank_facts(USERS), nearly_full(USERS)])


def event(occurred_at: int = NOON, kind: int = ACTIVE, **fields: int) -> np.ndarray:
    """(1,) EVENT_ROW that states nothing but `fields`."""
    row = np.zeros(1, EVENT_ROW)
    row["signup_at"] = NEVER
    row["cents"] = NO_VALUE
    row["log_time"] = occurred_at
    for name, value in {"occurred_at": occurred_at, "kind": kind, **fields}.items():
        row[name] = value
    return row


def folded(*events: np.ndarray, rules: FoldRules = RULES) -> np.void:
    """Facts of one user after these events."""
    log = np.concatenate(events)
    return fold(blank_facts(1), log, np.zeros(len(log), np.int64), rules)[0]


@given(start=BEGINNINGS, history=histories())
def test_the_fold_equals_one_event_at_a_time(start, history):
    """
    Folding many users at once leaves the same bytes as a plain loop over the log.
    """
    events, user = history

    expected = fold_one_by_one(start, events, user, RULES)

    assert expected.tobytes() == fold(start, events, user, RULES).tobytes()


@given(start=BEGINNINGS, history=histories(kinds=[ACTIVE, ACTIVE, ACTIVE, PASSIVE]))
def test_long_runs_equal_one_event_at_a_time(start, history):
    """
    The same holds without snapshots and tombstones, where runs are long.
    """
    events, user = history

    expected = fold_one_by_one(start, events, user, RULES)

    assert expected.tobytes() == fold(start, events, user, RULES).tobytes()


@given(start=BEGINNINGS, history=histories(), cuts=st.sets(st.integers(0, 40), max_size=4))
def test_where_a_batch_is_cut_makes_no_difference(start, history, cuts):
    """
    Folding a history in pieces leaves the same bytes as folding it whole.
    """
    events, user = history

    in_pieces = start
    for piece in np.split(np.arange(len(events)), sorted(cuts)):
        in_pieces = fold(in_pieces, events[piece], user[piece], RULES)

    assert fold(start, events, user, RULES).tobytes() == in_pieces.tobytes()


@given(history=histories())
def test_users_do_not_touch_each_other(history):
    """
    A user's facts are those of their own events folded alone.
    """
    events, user = history

    together = fold(blank_facts(USERS), events, user, RULES)

    for who in range(USERS):
        alone = events[user == who]
        expected = fold(blank_facts(1), alone, np.zeros(len(alone), np.int64), RULES)
        assert expected[0].tobytes() == together[who].tobytes()


@given(history=histories())
def test_users_beyond_one_block_are_folded_alike(history):
    """
    Facts do not depend on how many users are folded at once.
    """
    events, user = history
    expected = fold(blank_facts(USERS), events, user, RULES)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.fold, "_BLOCK", 2)
        in_blocks = fold(blank_facts(USERS), events, user, RULES)

    assert expected.tobytes() == in_blocks.tobytes()


@given(history=histories())
def test_the_input_stays_as_it_was(history):
    """
    The fold returns new facts and leaves facts and events it was given alone.
    """
    events, user = history
    start, log = nearly_full(USERS), events.copy()

    fold(start, events, user, RULES)

    assert nearly_full(USERS).tobytes() == start.tobytes()
    assert log.tobytes() == events.tobytes()


def test_an_event_counts():
    """
    One active event is one event, one session, one active day, and its amounts.
    """
    facts = folded(event(pages=3, seconds=90, id=5, offset=8, log_number=2, cents=1250))

    assert (3, 90, 1, 1, 1) == tuple(
        facts[["pages", "seconds", "events", "sessions", "active_days"]].tolist()
    )
    assert (NOON, NOON) == (facts["first_seen"], facts["last_seen"])
    assert (2, 8, NOON) == (facts["log_number"], facts["offset"], facts["log_time"])
    assert (1250, 1250) == (facts["value_cents"], facts["purchase_cents"])
    assert [ONE] * 4 == facts["decayed_days"].tolist()
    assert 3 == facts["day_pages"][NOON // DAY_MS % RING_DAYS]


def test_a_session_opens_after_half_an_hour_and_a_millisecond():
    """
    Exactly thirty minutes of silence is still the same session.
    """
    half_hour = 30 * MINUTE_MS

    assert 1 == folded(event(), event(NOON + half_hour))["sessions"]
    assert 2 == folded(event(), event(NOON + half_hour + 1))["sessions"]


def test_gaps_are_measured_against_the_running_maximum():
    """
    A late event between two visits neither opens a session nor shortens the gap.
    """
    facts = folded(event(), event(NOON - HOUR_MS), event(NOON + 2 * HOUR_MS))

    assert (2, 1, 7200) == (facts["sessions"], facts["gaps"], facts["last_gap_seconds"])
    assert int(np.floor(256 * np.log2(7200))) == facts["gap_log2"]


def test_counters_saturate():
    """
    A counter at its greatest value stays there; it does not wrap.
    """
    start = nearly_full(1)
    log = np.concatenate([event(START - 9 + i, pages=9, seconds=9, id=i + 1) for i in range(5)])

    facts = fold(start, log, np.zeros(5, np.int64), RULES)[0]

    assert (2**32 - 1, 2**32 - 1) == (facts["pages"], facts["events"])
    assert 2**16 - 1 == facts["types"][0]
    assert [2**32 - 1] * 4 == facts["decayed_events"].tolist()


def test_an_event_older_than_the_ring_changes_totals_only():
    """
    It counts as an event with its pages, and moves neither ring nor decayed counts.
    """
    now = folded(event(id=1))
    later = folded(event(id=1), event(NOON - 28 * DAY_MS, pages=4, id=2))

    assert (2, 4) == (later["events"], later["pages"])
    for name in ("day_pages", "day_bits", "decayed_events", "decayed_days", "active_days"):
        assert now[name].tolist() == later[name].tolist()


def test_a_late_event_inside_the_ring_adds_what_is_left_of_it():
    """
    Three days late, it is worth half of one at a half-life of three days.
    """
    facts = folded(event(id=1), event(NOON - 3 * DAY_MS, id=2))

    assert ONE + ONE // 2 == facts["decayed_days"][0]
    assert 0b1001 == facts["day_bits"]
    assert 2 == facts["active_days"]


def test_an_id_counts_once_within_sixteen():
    """
    A repeated id is dropped until sixteen others have come after it.
    """
    others = [event(NOON + i, id=100 + i) for i in range(ID_WINDOW)]

    assert 1 == folded(event(id=7), event(id=7))["events"]
    assert ID_WINDOW == folded(event(id=7), *others[:-1], event(id=7))["events"]
    assert ID_WINDOW + 2 == folded(event(id=7), *others, event(id=7))["events"]


def test_a_dropped_duplicate_does_not_lengthen_the_window():
    """
    Repeats do not push remembered ids out.
    """
    repeats = [event(id=7) for _ in range(40)]

    assert 2 == folded(event(id=8), *repeats, event(id=8))["events"]


def test_a_dropped_duplicate_moves_the_position():
    """
    What counts nothing has still been read.
    """
    facts = folded(event(id=7, offset=1), event(NOON + 5, id=7, offset=2))

    assert (2, NOON + 5, NOON) == (facts["offset"], facts["log_time"], facts["last_seen"])


def test_a_passive_event_is_not_a_visit():
    """
    It leaves its money and statements behind, and last-seen where it was.
    """
    facts = folded(
        event(id=1), event(NOON + DAY_MS, PASSIVE, id=2, cents=-300, plan=9, pages=5, type_slot=6)
    )

    assert (1, 0, NOON) == (facts["events"], facts["pages"], facts["last_seen"])
    assert (-300, 0, 9, 1) == (
        facts["value_cents"], facts["purchase_cents"], facts["plan"], facts["types"][6],
    )  # fmt: skip


def test_the_last_statement_wins_and_the_earliest_signup():
    """
    Login and categories follow log order, whatever the events' own times say.
    """
    facts = folded(
        event(id=1, login=LOGGED_IN, location=3, signup_at=NOON - DAY_MS),
        event(NOON - HOUR_MS, id=2, login=LOGGED_OUT, location=4, signup_at=NOON),
        event(NOON + 1, id=3),
    )

    assert (LOGGED_OUT, 4, NOON - DAY_MS) == (
        facts["login"], facts["location"], facts["signup_at"],
    )  # fmt: skip


def test_a_cancellation_lasts_until_the_user_comes_back():
    """
    A later visit clears it; an event from before last-seen does not.
    """
    cancelled = [event(id=1), event(NOON + 1, PASSIVE, id=2, type_slot=CANCELLATION)]

    assert folded(*cancelled)["flags"] & CANCELLED
    assert folded(*cancelled, event(NOON - 1, id=3))["flags"] & CANCELLED
    assert not folded(*cancelled, event(NOON + 2, id=3))["flags"] & CANCELLED


def test_a_cancellation_counted_as_activity_stands():
    """
    Where cancelling counts as activity, it still cancels.
    """
    assert folded(event(type_slot=CANCELLATION))["flags"] & CANCELLED


def test_a_snapshot_states_totals():
    """
    Total = base + counted: the base makes up what was not counted, and never falls.
    """
    facts = folded(
        event(id=1, pages=10),
        event(NOON + 1, SNAPSHOT, id=2, pages=50),
        event(NOON + 2, SNAPSHOT, id=3, pages=20),
        event(NOON + 3, id=4, pages=5),
    )

    assert (40, 15) == (facts["pages_base"], facts["pages"])


def test_an_event_from_before_the_snapshot_comes_off_the_base():
    """
    What the snapshot already stated is not counted twice, and the base stops at 0.
    """
    stated = event(NOON, SNAPSHOT, id=1, pages=50, seconds=60)
    facts = folded(stated, event(NOON, id=2, pages=20, seconds=90))

    assert (30, 20) == (facts["pages_base"], facts["pages"])
    assert (0, 90) == (facts["seconds_base"], facts["seconds"])


def test_thirty_nightly_snapshots_leave_a_silent_user_as_they_were():
    """
    An export whose totals did not rise moves nothing but the place in the log.
    """
    visited = [
        event(NOON, id=1, pages=3, plan=7, login=LOGGED_IN),
        event(NOON + DAY_MS, SNAPSHOT, id=2, pages=90, seconds=600, plan=7, login=LOGGED_IN),
    ]
    nightly = [
        event(
            NOON + (2 + night) * DAY_MS, SNAPSHOT, id=10 + night, offset=10 + night,
            pages=90, seconds=600, plan=7, login=LOGGED_IN,
        )
        for night in range(30)
    ]  # fmt: skip

    before, after = folded(*visited), folded(*visited, *nightly)

    for name in set(FACTS.names) - set(BOOKKEEPING):
        assert before[name].tobytes() == after[name].tobytes(), name


def test_a_snapshot_that_rose_moves_last_seen_and_says_so():
    """
    It adds no session, gap, event or active day, and the gap after it is not counted.
    """
    rose = [event(id=1), event(NOON + 3 * DAY_MS, SNAPSHOT, id=2, pages=9)]
    seen, back = folded(*rose), folded(*rose, event(NOON + 5 * DAY_MS, id=3))

    assert NOON + 3 * DAY_MS == seen["last_seen"]
    assert seen["flags"] & SEEN_BY_SNAPSHOT
    assert (1, 1, 0, 1) == tuple(seen[["sessions", "events", "gaps", "active_days"]].tolist())
    assert ONE // 2 == seen["decayed_days"][0]
    assert (2, 0) == (back["sessions"], back["gaps"])
    assert not back["flags"] & SEEN_BY_SNAPSHOT


def test_a_tombstone_leaves_a_gravestone():
    """
    Nothing is left but the place in the log and the mark; later events start anew.
    """
    visits = [event(id=1, pages=4, offset=1), event(NOON, TOMBSTONE, offset=2)]
    gravestone = blank_facts(1)
    gravestone["flags"] = ERASED
    gravestone["offset"] = 2
    gravestone["log_time"] = NOON

    back = folded(*visits, event(NOON, id=1, pages=5, offset=3))

    assert gravestone.tobytes() == folded(*visits).tobytes()
    assert (1, 5, 0) == (back["events"], back["pages"], back["flags"])


@pytest.mark.parametrize("kind", [ACTIVE, PASSIVE, SNAPSHOT])
def test_who_comes_after_the_retention_starts_anew(kind):
    """
    One millisecond later than last-seen plus the retention, the old facts are gone.
    """
    due = NOON + RULES.retention_ms
    old = [event(id=1, plan=4)]

    assert 4 == folded(*old, event(due, kind, id=2))["plan"]
    assert 0 == folded(*old, event(due + 1, kind, id=2))["plan"]


def test_an_expiry_keeps_the_duplicate_window():
    """
    An id seen before the expiry is still a duplicate after it.
    """
    after = NOON + RULES.retention_ms + 1
    facts = folded(event(id=1), event(after, id=2), event(after + 1, id=1))

    assert (1, after) == (facts["events"], facts["last_seen"])


def test_a_passive_expiry_starts_last_seen_again():
    """
    After it the user was never seen, so an older visit counts as the first.
    """
    facts = folded(
        event(id=1),
        event(NOON + RULES.retention_ms + 1, PASSIVE, id=2),
        event(NOON - DAY_MS, id=3),
    )

    assert (NOON - DAY_MS, 1, 1) == (facts["last_seen"], facts["events"], facts["sessions"])


def test_no_events_change_nothing():
    """
    An empty batch returns the same bytes.
    """
    start = nearly_full(2)

    empty = fold(start, np.zeros(0, EVENT_ROW), np.zeros(0, np.int64), RULES)

    assert start.tobytes() == empty.tobytes()
