"""Rows are drawn as scoring happens, and folded as scoring folds."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.activity import FoldRules
from contracts.events import ActivityEvent
from contracts.record import blank_facts
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, SESSION_GAP_MS
from model.dataset import (
    INSTANT,
    SESSION_END,
    SILENCE,
    STRATA,
    Moments,
    Window,
    draw_moments,
    draw_probes,
    facts_at,
    replay,
)
from model.event_log import EventLog, event_log
from model.fold import fold
from model.simulator import Population, simulate

RULES = FoldRules()
POPULATION = Population(users=150, days=90, seed=5)
START, END = POPULATION.start_ms, POPULATION.end_ms
WINDOW = Window(
    first=START + 20 * DAY_MS,
    last=END - 10 * DAY_MS,
    active=20 * DAY_MS,
    silence=30 * DAY_MS,
    horizon=10 * DAY_MS,
)


@pytest.fixture(scope="module")
def log() -> EventLog:
    return event_log(simulate(POPULATION), RULES)


@pytest.fixture(scope="module")
def moments(log) -> Moments:
    return draw_moments(log, WINDOW, 3_000, seed=1)


def visits(*happenings: tuple[str, str, int]) -> EventLog:
    """A log of (user, type, ms after START)."""
    return event_log(
        (
            ActivityEvent(user_id=user, type=kind, occurred_at=START + after)
            for user, kind, after in happenings
        ),
        RULES,
    )


def activity(log: EventLog, user: int) -> np.ndarray:
    return log.rows["occurred_at"][(log.user == user) & log.active]


def test_strata_come_in_equal_parts_and_in_time_order(moments):
    """
    Every stratum has the same number of rows, and rows are sorted by moment.
    """
    assert [1_000] * len(STRATA) == np.bincount(moments.stratum).tolist()
    assert (np.diff(moments.as_of) >= 0).all()


def test_a_label_says_whether_anything_follows_within_the_horizon(log, moments):
    """
    1 is no activity in (as_of, as_of + horizon], looked up by hand in the log.
    """
    for user, as_of, label in zip(moments.user, moments.as_of, moments.label, strict=True):
        seen = activity(log, user)
        followed = ((seen > as_of) & (seen <= as_of + WINDOW.horizon)).any()
        assert label == (not followed)


def test_every_row_is_a_moment_at_which_a_score_could_be_asked_for(log, moments):
    """
    Instants find an active user, session ends come half an hour after the last event, silences
    between an hour and the end of the grid; none lies outside the window.
    """
    assert ((moments.as_of >= WINDOW.first) & (moments.as_of <= WINDOW.last)).all()
    silent = np.array(
        [
            as_of - activity(log, user)[activity(log, user) <= as_of].max()
            for user, as_of in zip(moments.user, moments.as_of, strict=True)
        ]
    )

    assert (silent[moments.stratum == INSTANT] <= WINDOW.active).all()
    assert {SESSION_GAP_MS} == set(silent[moments.stratum == SESSION_END])
    drawn = silent[moments.stratum == SILENCE]
    assert HOUR_MS <= drawn.min() <= drawn.max() <= WINDOW.silence


def test_no_session_end_is_drawn_twice(moments):
    """
    Session ends are drawn without replacement.
    """
    ends = moments.stratum == SESSION_END
    pairs = set(zip(moments.user[ends], moments.as_of[ends], strict=True))

    assert ends.sum() == len(pairs)


def test_instants_see_what_cut_offs_see(log):
    """
    The churn rate over instants is that of all active users at cut-offs all over the window.
    """
    drawn = draw_moments(log, WINDOW, 12_000, seed=2)
    rate = drawn.label[drawn.stratum == INSTANT].mean()
    outcomes = []
    for cut_off in np.linspace(WINDOW.first, WINDOW.last, 60).astype(np.int64):
        for user in range(len(log.user_ids)):
            seen = activity(log, user)
            if ((seen > cut_off - WINDOW.active) & (seen <= cut_off)).any():
                later = (seen > cut_off) & (seen <= cut_off + WINDOW.horizon)
                outcomes.append(not later.any())

    assert rate == pytest.approx(np.mean(outcomes), abs=0.03)


def test_silences_are_log_uniform_for_those_who_stay_silent():
    """
    For users who never return, the middle of the drawn silences is the geometric one.
    """
    hermits = visits(*((f"u{i}", "page_view", i * HOUR_MS) for i in range(200)))
    window = Window(START, START + 60 * DAY_MS, DAY_MS, 30 * DAY_MS, DAY_MS)
    drawn = draw_moments(hermits, window, 600, seed=0)
    late = drawn.stratum == SILENCE
    silent = drawn.as_of[late] - START - drawn.user[late] * HOUR_MS

    middle = np.sqrt(HOUR_MS * window.silence)
    assert np.median(silent) == pytest.approx(middle, rel=0.35)


def test_what_a_company_does_is_no_activity():
    """
    An e-mail sent to a silent user neither ends the silence nor makes a session.
    """
    with_mail = visits(
        *((f"u{i}", "page_view", 0) for i in range(50)),
        *((f"u{i}", "email_sent", 5 * DAY_MS) for i in range(50)),
    )
    window = Window(START, START + 20 * DAY_MS, 20 * DAY_MS, 20 * DAY_MS, 10 * DAY_MS)
    drawn = draw_moments(with_mail, window, 150, seed=0)

    assert {1} == set(drawn.label)
    assert {START + SESSION_GAP_MS} == set(drawn.as_of[drawn.stratum == SESSION_END])


def test_a_return_exactly_at_the_horizon_is_no_churn():
    """
    The horizon's end belongs to it; a millisecond later does not.
    """
    horizon = 5 * DAY_MS
    for late, label in ((0, 0), (1, 1)):
        back = visits(
            ("ada", "page_view", 0), ("ada", "page_view", SESSION_GAP_MS + horizon + late)
        )
        window = Window(START, START + DAY_MS, DAY_MS, 10 * DAY_MS, horizon)
        drawn = draw_moments(back, window, 3, seed=0)
        assert [label] == drawn.label[drawn.stratum == SESSION_END].tolist()


def test_the_same_seed_draws_the_same_rows(log, moments):
    """
    Same log and seed, same digest; another seed, another digest.
    """
    few = draw_moments(log, WINDOW, 300, seed=1)
    again = draw_moments(log, WINDOW, 300, seed=1)
    other = draw_moments(log, WINDOW, 300, seed=2)
    digest = replay(log, few, RULES).digest

    assert digest == replay(log, again, RULES).digest
    assert digest != replay(log, other, RULES).digest


def test_facts_are_those_of_a_fold_up_to_the_moment(log, moments):
    """
    Replaying all users at once gives, at every moment, the bytes of folding that user's events up
    to then alone: nothing of the future is in them.
    """
    checked = 0
    for which, facts in facts_at(log, moments.user, moments.as_of, RULES):
        for index, found in zip(which[:40], facts[:40], strict=True):
            known = (log.user == moments.user[index]) & (
                log.rows["log_time"] <= moments.as_of[index]
            )
            alone = np.zeros(known.sum(), np.intp)
            expected = fold(blank_facts(1), log.rows[known], alone, RULES)
            assert expected.tobytes() == found.tobytes()
            checked += 1
    assert checked > 500


def test_an_event_at_the_very_moment_is_known():
    """
    "As of" includes the moment itself; an event a millisecond later is the future.
    """
    log = visits(("ada", "page_view", HOUR_MS), ("ada", "page_view", HOUR_MS + 1))
    as_of = START + HOUR_MS + np.array([-1, 0, 1])
    found = {
        int(which[0]): int(facts["events"][0])
        for which, facts in facts_at(log, np.zeros(3, int), as_of, RULES)
    }

    assert {0: 0, 1: 1, 2: 2} == found


def test_every_moment_is_answered_once(log, moments):
    """
    Two moments of one user at the same time are two rows.
    """
    user = np.array([3, 3, 0, 3])
    as_of = np.array([END, START, END, END])
    found = {int(i): facts for which, part in facts_at(log, user, as_of, RULES)
             for i, facts in zip(which, part, strict=True)}  # fmt: skip

    assert [0, 1, 2, 3] == sorted(found)
    assert found[0].tobytes() == found[3].tobytes()
    assert found[0].tobytes() != found[1].tobytes()


def test_a_log_without_long_silences_gives_fewer_rows_but_equal_parts():
    """
    The scarcest stratum decides how many rows there are.
    """
    few = visits(*(("ada", "page_view", i * 40 * MINUTE_MS) for i in range(10)))
    window = Window(START, START + DAY_MS, DAY_MS, DAY_MS, DAY_MS)
    drawn = draw_moments(few, window, 300, seed=0)

    assert [10, 10, 10] == np.bincount(drawn.stratum).tolist()


def test_nobody_is_asked_about_before_their_first_event_was_received() -> None:
    """
    A visit that the log got two days late is no row, and no fact, until then.
    """
    late = 2 * DAY_MS
    prompt = visits(*((f"u{i}", "page_view", d * DAY_MS) for i in range(9) for d in range(i + 1)))
    rows = prompt.rows.copy()
    rows["log_time"] = rows["occurred_at"] + late
    log = EventLog(prompt.user_ids, rows, prompt.user, "received_at")
    window = Window(START, START + 12 * DAY_MS, 9 * DAY_MS, 9 * DAY_MS, 3 * DAY_MS)

    for drawn in (draw_moments(log, window, 300, seed=0), draw_probes(log, window, 50, seed=0)):
        assert len(drawn)
        assert (drawn.as_of >= START + late).all()
        known = replay(log, drawn, RULES).features
        assert not np.isnan(known[:, 0]).any()
