"""The alert policy: when an episode opens, rises and ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.episode import Episode, decode, encode
from alerts.policy import judge
from alerts.rules import Policy, Rule
from contracts.alerts import AlertKind, ChurnAlert
from contracts.scores import ChurnScore, Crossing, Reason, Trigger
from contracts.times import DAY_MS, HOUR_MS, from_ms, to_ms
from tests.churn_scores import NOON, churn_score

RULE = Rule()
POLICY = Policy((RULE,))


def judged(
    scores: Iterable[ChurnScore], state: Episode | None = None, rule: Rule = RULE
) -> tuple[Episode | None, list[ChurnAlert]]:
    """Fold a history of one user's scores."""
    policy = Policy((rule,))
    alerts: list[ChurnAlert] = []
    for score in scores:
        state, told = judge(state, score, policy)
        alerts += told
    return state, alerts


def kinds(*scores: ChurnScore, rule: Rule = RULE) -> list[AlertKind]:
    return [alert.kind for alert in judged(scores, rule=rule)[1]]


# Opening


@pytest.mark.parametrize(
    ("probability", "expected"), [(0.7, ["opened"]), (0.699999, []), (0.6999996, ["opened"])]
)
def test_an_episode_opens_at_the_threshold(probability: float, expected: list[str]) -> None:
    """Six decimals at or above the threshold open, the next lower value does not."""
    assert expected == kinds(churn_score(probability))


@pytest.mark.parametrize(
    ("trigger", "expected"), [("silence", ["opened"]), ("model", ["opened"]), ("activity", [])]
)
def test_nothing_opens_within_a_session(trigger: Trigger, expected: list[str]) -> None:
    """A user who is here is not slipping away, whatever the model says."""
    assert expected == kinds(churn_score(0.9, trigger=trigger))


@pytest.mark.parametrize(("active_days", "expected"), [(3, ["opened"]), (2, [])])
def test_an_opening_needs_evidence(active_days: int, expected: list[str]) -> None:
    """Fewer than three active days are no habit that could be missed."""
    assert expected == kinds(churn_score(0.9, active_days=active_days))


@pytest.mark.parametrize(
    ("day", "usual_gap_hours", "expected"),
    [
        (1.0, None, ["opened"]),
        (1.0 - 1 / DAY_MS, None, []),
        (1.0, 5.0, ["opened"]),
        (1.0, 49.0, []),
        (2.0, 49.0, []),
        (49 / 24, 49.0, ["opened"]),
    ],
)
def test_a_user_is_waited_for(
    day: float, usual_gap_hours: float | None, expected: list[str]
) -> None:
    """A day of silence, or the user's usual gap where that is longer, opens; less does not."""
    assert expected == kinds(churn_score(0.9, day, usual_gap_hours=usual_gap_hours))


def test_a_rounded_gap_does_not_miss_its_moment() -> None:
    """A score made for the very end of the usual gap opens although hours are rounded up."""
    gap_ms = 30 * HOUR_MS + 1
    score = churn_score(0.9, gap_ms / DAY_MS, usual_gap_hours=round(gap_ms / HOUR_MS + 5e-5, 4))

    assert ["opened"] == kinds(score)


def test_a_user_never_seen_opens_nothing() -> None:
    """Without a last-seen time there is nobody to miss."""
    assert [] == kinds(churn_score(0.9, last_seen_day=None))


def test_the_opening_alert_says_what_the_score_said() -> None:
    """Probability, times, reasons, evidence, position are the score's; ids are hex digests."""
    score = msgspec.structs.replace(
        churn_score(0.8, 2.0, previous=0.6),
        reasons=(Reason("recency", 1.5, "no visit for 2 days; usually every day", 2.0, 1.0),),
    )

    _, (alert,) = judged([score])

    assert ("opened", "default", "ada", 0.8, 0.6, 0.7, "silence") == (
        alert.kind,
        alert.rule,
        alert.user_id,
        alert.churn_probability,
        alert.previous_probability,
        alert.threshold,
        alert.trigger,
    )
    assert (score.scored_at, score.scored_at) == (alert.occurred_at, alert.opened_at)
    assert (score.evidence, score.attributes, score.position) == (
        alert.evidence,
        alert.attributes,
        alert.position,
    )
    assert score.reasons == alert.reasons
    assert (32, 32) == (len(alert.dedup_key), len(alert.alert_id))


# Escalating


def test_a_jump_over_the_last_alert_escalates_once() -> None:
    """The step counts from the last alert of the episode, not from the last score."""
    history = [churn_score(p, day) for day, p in enumerate([0.7, 0.84, 0.85, 0.86], start=1)]

    _, alerts = judged(history)

    assert [("opened", 0.7, None), ("escalated", 0.85, 0.7)] == [
        (alert.kind, alert.churn_probability, alert.previous_probability) for alert in alerts
    ]
    assert 1 == len({alert.dedup_key for alert in alerts})
    assert {from_ms(NOON + DAY_MS)} == {alert.opened_at for alert in alerts}


@pytest.mark.parametrize(
    ("day", "expected"),
    [(8.99, ["opened", "escalated"]), (9.0, ["opened", "escalated", "escalated"])],
)
def test_escalations_keep_the_cooldown(day: float, expected: list[str]) -> None:
    """A second escalation waits until a cooldown has passed since the first."""
    rule = Rule(threshold=0.5, resolve_below=0.3)

    assert expected == kinds(
        churn_score(0.5, 1), churn_score(0.7, 2), churn_score(0.95, day, offset=9), rule=rule
    )


def test_a_return_resolves_however_high_the_risk_stays() -> None:
    """A user who acts has come back; whether they leave again is the next episode's question."""
    assert ["opened", "resolved"] == kinds(
        churn_score(0.7, 1), churn_score(0.99, 2, trigger="activity")
    )


# Ending


@pytest.mark.parametrize("trigger", ["silence", "model"])
def test_falling_below_the_lower_threshold_resolves(trigger: Trigger) -> None:
    """A new model may end an episode too; at the lower threshold itself it goes on."""
    history = [
        churn_score(0.9, 1),
        churn_score(0.5, 2, trigger=trigger),
        churn_score(0.499999, 3, trigger=trigger),
        churn_score(0.1, 4, trigger=trigger),
    ]

    _, alerts = judged(history)

    assert ["opened", "resolved"] == [alert.kind for alert in alerts]
    assert (0.9, 0.499999) == (alerts[1].previous_probability, alerts[1].churn_probability)
    assert 1 == len({alert.dedup_key for alert in alerts})


def test_resolving_is_never_held_back() -> None:
    """Moments after the opening, well within the cooldown, a return resolves."""
    assert ["opened", "resolved"] == kinds(
        churn_score(0.9, 1), churn_score(0.1, 1.001, offset=2, trigger="activity")
    )


@pytest.mark.parametrize(
    ("day", "expected"), [(8.99, ["opened", "resolved"]), (9.0, ["opened", "resolved", "opened"])]
)
def test_opening_again_keeps_the_cooldown(day: float, expected: list[str]) -> None:
    """The next episode opens a cooldown after the last alert of the one before, under a new key."""
    history = [churn_score(0.9, 1), churn_score(0.1, 2), churn_score(0.9, day, offset=9)]

    _, alerts = judged(history)

    assert expected == [alert.kind for alert in alerts]
    assert expected.count("opened") == len({alert.dedup_key for alert in alerts})


def test_a_cancellation_ends_the_episode_as_churned() -> None:
    """Not as resolved, even where the risk fell; it is told once and opens nothing after."""
    _, alerts = judged(
        [
            churn_score(0.9, 1),
            churn_score(0.1, 2, cancelled=True, trigger="activity"),
            churn_score(0.95, 30, cancelled=True),
        ]
    )

    assert ["opened", "churned"] == [alert.kind for alert in alerts]
    assert 1 == len({alert.dedup_key for alert in alerts})


def test_a_cancellation_out_of_the_blue_is_told_once() -> None:
    """Without an open episode it is an episode of its own, again only after activity."""
    history = [
        churn_score(0.2, 1, cancelled=True, trigger="activity", previous=0.1),
        churn_score(0.9, 2, cancelled=True),
        churn_score(0.1, 3, trigger="activity"),
        churn_score(0.2, 4, cancelled=True, trigger="activity"),
    ]

    _, alerts = judged(history)

    assert [("churned", 0.1), ("churned", None)] == [
        (alert.kind, alert.previous_probability) for alert in alerts
    ]
    assert 2 == len({alert.dedup_key for alert in alerts})


# Order


@pytest.mark.parametrize(
    ("log", "offset", "day"), [(1, 5, 5.0), (1, 4, 9.0), (1, 5, 4.0), (0, 9, 9.0)]
)
def test_a_score_that_is_not_higher_changes_nothing(log: int, offset: int, day: float) -> None:
    """The order is log, then offset, then scored_at; repeats and late ones are passed over."""
    state, _ = judged([churn_score(0.9, 5.0)])

    after = judge(state, churn_score(0.1, day, log=log, offset=offset), POLICY)

    assert (state, ()) == after


@pytest.mark.parametrize(("log", "offset", "day"), [(1, 5, 5.1), (1, 6, 4.0), (2, 0, 0.0)])
def test_a_higher_score_counts(log: int, offset: int, day: float) -> None:
    """A later moment, a later offset or a newer log makes a score higher."""
    state, _ = judged([churn_score(0.9, 5.0)])

    _, (alert,) = judge(state, churn_score(0.1, day, log=log, offset=offset), POLICY)

    assert "resolved" == alert.kind


# Laws


@st.composite
def histories(draw: st.DrawFn) -> list[ChurnScore]:
    """One user's scores in order: silence, returns, cancellations, logs that start again."""
    scores = []
    log, offset, day, seen, cancelled = 1, 0, 0.0, 0.0, False
    for _ in range(draw(st.integers(0, 25))):
        day += draw(st.sampled_from([0.0, 0.01, 0.5, 1, 3, 8]))
        trigger: Trigger = draw(st.sampled_from(["activity", "silence", "silence", "model"]))
        step = 1 if trigger == "activity" else draw(st.sampled_from([0, 0, 1]))
        offset += step
        if draw(st.integers(0, 19)) == 0:
            log, offset = log + 1, 0
        if trigger == "activity":
            cancelled = draw(st.integers(0, 4)) == 0
            seen = seen if cancelled else day
        scores.append(
            churn_score(
                draw(st.sampled_from([0.1, 0.49, 0.5, 0.69, 0.7, 0.72, 0.85, 0.87, 0.99])),
                day,
                log=log,
                offset=offset,
                trigger=trigger,
                last_seen_day=seen,
                active_days=draw(st.sampled_from([2, 3, 9, 9, 9])),
                usual_gap_hours=draw(st.sampled_from([None, 5.0, 60.0])),
                cancelled=cancelled,
            )
        )
    return scores


@given(histories())
def test_episodes_begin_once_and_end_once(scores: list[ChurnScore]) -> None:
    """Between two openings lies an end; rises and ends speak of the episode that is open."""
    current: str | None = None
    ended: set[str] = set()
    for alert in judged(scores)[1]:
        if alert.kind == "opened":
            assert current is None
            current = alert.dedup_key
            assert current not in ended
        elif alert.kind == "escalated":
            assert current == alert.dedup_key
        else:
            assert alert.dedup_key == current or (current is None and alert.kind == "churned")
            assert alert.dedup_key not in ended
            ended.add(alert.dedup_key)
            current = None


@given(histories())
def test_every_transition_has_its_own_id(scores: list[ChurnScore]) -> None:
    """No two alerts share an alert_id."""
    ids = [alert.alert_id for alert in judged(scores)[1]]

    assert len(ids) == len(set(ids))


@given(histories(), st.data())
def test_repeats_change_nothing(scores: list[ChurnScore], data: st.DataObject) -> None:
    """Earlier scores that come again, anywhere and in any order, leave alerts and state alike."""
    with_repeats: list[ChurnScore] = []
    for score in scores:
        with_repeats.append(score)
        with_repeats += data.draw(st.lists(st.sampled_from(with_repeats), max_size=3))

    assert judged(scores) == judged(with_repeats)


@given(histories())
def test_the_stored_state_is_the_whole_state(scores: list[ChurnScore]) -> None:
    """Going through the stored bytes after every score changes neither alerts nor state."""
    state: Episode | None = None
    alerts: list[ChurnAlert] = []
    for score in scores:
        stored = None if state is None else encode(state)
        state, more = judged([score], None if stored is None else decode(stored))
        alerts += more

    assert judged(scores) == (state, alerts)


@given(histories())
def test_the_cooldown_holds(scores: list[ChurnScore]) -> None:
    """No opening within a cooldown of any alert before it, no two escalations within one."""
    alerts = judged(scores)[1]

    for earlier, later in pairwise(alerts):
        if later.kind == "opened":
            assert _ms_between(earlier, later) >= RULE.cooldown_ms
    escalations: Sequence[ChurnAlert] = [alert for alert in alerts if alert.kind == "escalated"]
    for earlier, later in pairwise(escalations):
        assert _ms_between(earlier, later) >= RULE.cooldown_ms


def _ms_between(earlier: ChurnAlert, later: ChurnAlert) -> int:
    return to_ms(later.occurred_at) - to_ms(earlier.occurred_at)


def test_a_threshold_snaps_to_the_nearest_rung_of_the_ladder() -> None:
    """Silence is scored at rungs only, so a threshold between two of them is the nearer one."""
    ladder = tuple(Crossing(level, None) for level in (0.5, 0.66, 0.8))
    reached = msgspec.structs.replace(churn_score(0.66), crossings=ladder)
    below = msgspec.structs.replace(churn_score(0.65), crossings=ladder)

    _, (alert,) = judge(None, reached, POLICY)
    _, none = judge(None, below, POLICY)

    assert ("opened", 0.66, ()) == (alert.kind, alert.threshold, none)
