"""The counterfactual: what this user would have to do, as they usually do it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from contracts.events import NAMED_TYPES
from contracts.record import blank_facts
from contracts.times import DAY_MS, MINUTE_MS, SESSION_GAP_MS
from model.comeback import MOST_SESSIONS, WITHIN_MS, comeback
from tests.unit.model.people import NOON, RULES, facts_of, visits


class Asked:
    """A model made of a rule; remembers the facts it was asked about."""

    def __init__(self, risk: Callable[[np.ndarray], np.ndarray]) -> None:
        self.risk = risk
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        self.asked.append((facts, as_of))
        return self.risk(facts)


def every_other_day(visit_minutes: int = 4) -> np.ndarray:
    """(1,) FACTS: ten sessions of three events, 9 pages and 12 minutes."""
    starts = [NOON + 2 * day * DAY_MS for day in range(10)]
    return facts_of(
        visits(*(at + i * visit_minutes * MINUTE_MS for at in starts for i in range(3)))
    )


def more_sessions_than(least: int) -> Asked:
    return Asked(lambda facts: np.where(facts["sessions"] > least, 0.4, 0.9))


@pytest.mark.parametrize("needed", [1, 2, 4])
def test_the_least_number_of_sessions_is_found(needed: int) -> None:
    """A model that wants so many sessions more gets exactly so many."""
    facts = every_other_day()
    as_of = int(facts["last_seen"][0]) + 9 * DAY_MS

    found = comeback(more_sessions_than(9 + needed), facts, as_of, 0.5, RULES)

    assert (needed, 0.4) == (found.sessions, found.probability)
    assert (9, 12.0) == (found.pages, found.minutes)
    assert found.every_days == pytest.approx(2, abs=0.02)


def test_what_happens_is_ordinary() -> None:
    """The sessions are this user's: pages, minutes, events and pauses stay what they were."""
    facts = every_other_day()
    as_of = int(facts["last_seen"][0]) + 2 * DAY_MS
    model = more_sessions_than(99)

    comeback(model, facts, as_of, 0.5, RULES)

    futures, moments = model.asked[-1]
    extra = futures["sessions"] - facts["sessions"]
    assert list(range(1, len(futures) + 1)) == extra.tolist()
    assert (futures["pages"] - facts["pages"] == 9 * extra).all()
    assert (futures["seconds"] - facts["seconds"] == 720 * extra).all()
    assert (futures["events"] - facts["events"] == 3 * extra).all()
    pauses = futures["last_gap_seconds"].tolist()
    assert 2 * DAY_MS // 1000 == pauses[0]
    assert [int(facts["last_gap_seconds"][0])] * 3 == pytest.approx(pauses[1:], rel=0.001)
    assert (moments == futures["last_seen"] + SESSION_GAP_MS).all()
    assert futures["last_seen"].max() <= as_of + WITHIN_MS


def test_buyers_buy() -> None:
    """An ordinary session of who buys at every second visit or more often is a purchase, of what
    theirs are worth."""
    every_second_day = [NOON + 2 * day * DAY_MS for day in range(10)]
    bought = {"cents": 2000, "type_slot": NAMED_TYPES.index("purchase")}
    facts = facts_of(visits(*every_second_day, pages=0, seconds=0, **bought))
    model = more_sessions_than(11)

    found = comeback(model, facts, int(facts["last_seen"][0]) + 3 * DAY_MS, 0.5, RULES)

    futures, _ = model.asked[-1]
    extra = futures["sessions"] - facts["sessions"]
    assert (futures["value_cents"] - facts["value_cents"] == 2000 * extra).all()
    assert (1, 20.0) == (found.purchases, found.value)
    assert (
        "2 visits as usual (1 purchase of 20.00 each, every 2 days) would bring the risk to 0.40"
        == found.text
    )


def test_what_is_unknown_is_left_out_of_the_sentence() -> None:
    """No pages where the log has none; no rhythm where there is none."""
    facts = facts_of(visits(NOON, pages=0, seconds=0))

    found = comeback(more_sessions_than(2), facts, NOON + 3 * DAY_MS, 0.5, RULES)

    assert "2 visits as usual (a day apart) would bring the risk to 0.40" == found.text


def test_when_nothing_within_a_week_suffices_it_says_so() -> None:
    """Every two days there are four visits in a week; five would be no answer."""
    facts = every_other_day()
    as_of = int(facts["last_seen"][0]) + 9 * DAY_MS

    found = comeback(more_sessions_than(14), facts, as_of, 0.5, RULES)

    assert (None, None) == (found.sessions, found.probability)
    assert "no plausible activity within a week suffices" == found.text


def test_who_is_below_needs_nothing() -> None:
    """At the threshold is not below it; below it is."""
    facts = every_other_day()
    as_of = int(facts["last_seen"][0]) + DAY_MS
    model = more_sessions_than(9)

    assert 0 == comeback(model, facts, as_of, 0.41, RULES).sessions
    assert 0 != comeback(model, facts, as_of, 0.4, RULES).sessions


def test_the_facts_stay_as_they_were() -> None:
    """What would happen has not happened."""
    facts = every_other_day()
    before = facts.tobytes()

    comeback(more_sessions_than(12), facts, int(facts["last_seen"][0]), 0.5, RULES)

    assert before == facts.tobytes()


@pytest.mark.parametrize("facts", [blank_facts(1), facts_of(visits(NOON))], ids=["never", "once"])
def test_who_has_no_rhythm_comes_daily(facts: np.ndarray) -> None:
    """Without two gaps a day is taken for usual, and a page view for a session."""
    model = more_sessions_than(99)

    found = comeback(model, facts, NOON + 3 * DAY_MS, 0.5, RULES)

    futures, _ = model.asked[-1]
    assert (MOST_SESSIONS, 1.0) == (len(futures), found.every_days)


def test_restless_users_still_make_sessions() -> None:
    """Pauses hardly longer than a session, or hundreds of events in one, do not run together."""
    pause = SESSION_GAP_MS + MINUTE_MS
    restless = facts_of(visits(*(NOON + i * pause for i in range(20))))
    busy = facts_of(visits(*(NOON + i * MINUTE_MS for i in range(3000))))
    both = facts_of(
        visits(*(NOON + i * (2 * pause) + j * 3 * MINUTE_MS for i in range(9) for j in range(10)))
    )
    for facts in (restless, busy, both):
        model = more_sessions_than(99)

        comeback(model, facts, int(facts["last_seen"][0]), 0.5, RULES)

        futures, _ = model.asked[-1]
        extra = futures["sessions"] - facts["sessions"]
        assert list(range(1, MOST_SESSIONS + 1)) == extra.tolist()


def test_the_sentence_says_what_to_hope_for() -> None:
    """How many visits, how long, how often, and where that leads."""
    facts = every_other_day()
    as_of = int(facts["last_seen"][0]) + 9 * DAY_MS

    texts = [comeback(more_sessions_than(9 + k), facts, as_of, 0.5, RULES).text for k in range(3)]

    assert [
        "the risk is low enough already",
        "1 visit as usual (9 pages and 12 minutes each) would bring the risk to 0.40",
        "2 visits as usual (9 pages and 12 minutes each, every 2 days) "
        "would bring the risk to 0.40",
    ] == texts
