"""What a rebuilt user keeps of the one that served."""

from __future__ import annotations

import numpy as np

from contracts.activity import FoldRules
from contracts.record import (
    CURVE_STALE,
    ERASED,
    HAS_CURVE,
    HAS_SCORE,
    blank_facts,
    blank_records,
)
from contracts.times import BACKFILL_MS, HOUR_MS, NEVER
from scorer.carrying import carried

NOON = 1_750_000_000_000


def served() -> np.ndarray:
    """(1,) RECORD of a user scored in silence, with a timer."""
    record = blank_records(1)
    facts, outlook = record["facts"], record["outlook"]
    facts["offset"], facts["events"], facts["log_number"] = 7, 3, 1
    facts["last_seen"] = facts["first_seen"] = facts["log_time"] = NOON
    outlook["scored_at"], outlook["due"] = NOON + 9 * HOUR_MS, NOON + 20 * HOUR_MS
    outlook["probability"], outlook["state"] = 700_000, HAS_SCORE | HAS_CURVE
    outlook["home"] = 2
    return record


def test_equal_facts_keep_the_outlook_to_the_byte() -> None:
    """Nothing is to be told that was not told before."""
    before = served()

    after = carried(before["facts"], before, np.array([2]), None)

    assert before.tobytes() == after.tobytes()


def test_another_home_changes_nothing_else() -> None:
    """As after a rebuild for more partitions."""
    before = served()

    after = carried(before["facts"], before, np.array([5]), None)

    before["outlook"]["home"] = 5
    assert before.tobytes() == after.tobytes()


def test_other_facts_are_scored_again_behind_the_last_score() -> None:
    """The curve is stale; what was told stays told."""
    before = served()
    facts = before["facts"].copy()
    facts["events"] = 2

    outlook = carried(facts, before, np.array([2]), None)["outlook"]

    assert CURVE_STALE | HAS_CURVE | HAS_SCORE == outlook["state"][0]
    assert before["outlook"]["scored_at"] + 1 == outlook["due"][0]
    assert 700_000 == outlook["probability"][0]


def test_a_timer_that_is_due_earlier_stays() -> None:
    """Other facts do not put off what was to come anyway."""
    before = served()
    before["outlook"]["scored_at"], before["outlook"]["due"] = NOON, NOON + 5
    facts = before["facts"].copy()
    facts["events"] = 2

    assert NOON + 5 == carried(facts, before, np.array([2]), None)["outlook"]["due"][0]


def test_who_is_not_on_record_gets_a_timer() -> None:
    """An hour after the last record, like a backfill."""
    facts = served()["facts"]

    record = carried(facts, blank_records(1), np.array([1]), None)

    assert NOON + BACKFILL_MS == record["outlook"]["due"][0]
    assert 1 == record["outlook"]["home"][0]


def test_who_is_erased_or_only_known_by_totals_has_no_timer() -> None:
    """Whatever served before."""
    before = np.concatenate([served(), served()])
    facts = before["facts"].copy()
    facts["flags"][0] = ERASED
    facts[1] = blank_facts(1)[0]

    assert [NEVER] * 2 == carried(facts, before, np.array([2, 2]), None)["outlook"]["due"].tolist()


def test_another_retention_reaches_who_is_silent() -> None:
    """Their timer comes at its end; an earlier one stays."""
    before = np.concatenate([served(), served()])
    before["outlook"]["due"] = [NEVER, NOON + 20 * HOUR_MS]
    rules = FoldRules(retention_ms=30 * 24 * HOUR_MS)

    due = carried(before["facts"], before, np.array([2, 2]), rules)["outlook"]["due"]

    assert [NOON + 30 * 24 * HOUR_MS + 1, NOON + 20 * HOUR_MS] == due.tolist()
