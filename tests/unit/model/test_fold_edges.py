"""The fold at its edges: what drawn histories reach too rarely."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.events import EVENT_ROW, SNAPSHOT
from contracts.record import ID_WINDOW, SEEN_BY_SNAPSHOT, blank_facts
from contracts.times import DAY_MS, HOUR_MS
from model.fold import fold
from model.gaps import OCTAVE, log2_steps
from tests.unit.model.fold_oracle import RULES, START
from tests.unit.model.test_fold import event, folded

NOON = START + 12 * HOUR_MS
BIG_ID = 0xABCD_0000_0001


def folded_apart(*batches: np.ndarray) -> np.void:
    """Facts of one user after batches of one event each."""
    facts = blank_facts(1)
    for batch in batches:
        facts = fold(facts, batch, np.zeros(len(batch), np.intp), RULES)
    return facts[0]


def test_a_snapshot_from_before_the_last_visit_does_not_turn_time_back():
    """
    Its totals rose and count, but last-seen stays with the visit, and so do ring and decay.
    """
    visit = [event(id=1)]
    export = event(NOON - 3 * DAY_MS, SNAPSHOT, id=2, pages=50)

    before, after = folded(*visit), folded(*visit, export)

    assert (50, NOON) == (after["pages_base"], after["last_seen"])
    assert not after["flags"] & SEEN_BY_SNAPSHOT
    for name in ("day_bits", "decayed_days", "decayed_events", "day_sessions", "first_seen"):
        assert before[name].tolist() == after[name].tolist(), name


def test_an_id_is_remembered_with_all_its_bits():
    """
    A stored id is known again in the next batch; one that shares half of it is another.
    """
    again = folded_apart(event(id=BIG_ID), event(NOON + 1, id=BIG_ID))
    same_low = folded_apart(event(id=BIG_ID), event(NOON + 1, id=BIG_ID ^ (1 << 40)))
    same_high = folded_apart(event(id=BIG_ID), event(NOON + 1, id=BIG_ID ^ (1 << 20)))

    assert [1, 2, 2] == [int(facts["events"]) for facts in (again, same_low, same_high)]


@pytest.mark.parametrize("slot", range(ID_WINDOW))
def test_every_slot_of_the_stored_window_is_searched(slot):
    """
    In whichever slot an id was stored by an earlier batch, it is a duplicate in the next.
    """
    window = [event(NOON + i, id=BIG_ID + i) for i in range(ID_WINDOW)]

    facts = folded_apart(*window, event(NOON + HOUR_MS, id=BIG_ID + slot))

    assert ID_WINDOW == facts["events"]


@pytest.mark.parametrize("seconds", [0, 1, 2, 3, 4, 1800, 1801, 86_400, 2**31, 2**32 - 1])
def test_logarithms_of_gaps_are_exact(seconds):
    """
    floor(256 * log2) as Python's integers say, at powers of two as well; 0 counts as 1.
    """
    expected = (max(seconds, 1) ** OCTAVE).bit_length() - 1

    assert [expected] == log2_steps(np.array([seconds])).tolist()


def test_decay_is_applied_when_an_event_arrives_and_never_between():
    """
    Empty batches and reads in between leave the counts; the next event decays them once.
    """
    empty = np.zeros(0, EVENT_ROW)
    at_once = folded_apart(event(id=1), event(NOON + 7 * DAY_MS, id=2))
    between = folded_apart(event(id=1), empty, empty, event(NOON + 7 * DAY_MS, id=2))

    assert at_once.tobytes() == between.tobytes()
