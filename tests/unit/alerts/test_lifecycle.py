"""Waits, commands and several rules: what becomes of an episode between its first and last word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.episode import Episode, OpenEpisode, decode, encode
from alerts.fold import GRACE_MS, PolicyFold
from alerts.policy import due, judge, obey, tick
from alerts.rules import Holdout, Policy, Rule, Selection
from contracts.alerts import EVENT_ACTIONS, AlertKind, ChurnAlert
from contracts.commands import AlertCommand, CommandKind
from contracts.scores import ChurnScore, Trigger
from contracts.times import DAY_MS, HOUR_MS, from_ms, to_ms
from tests.churn_scores import NOON, churn_score

PATIENT = Policy((Rule(for_ms=2 * DAY_MS),))
RISING = Policy((Rule(severity="info", escalated_severity="critical"),))
PLAIN = Policy()


def day_ms(day: float) -> int:
    return NOON + round(day * DAY_MS)


def command(
    kind: CommandKind,
    alert: ChurnAlert,
    day: float,
    *,
    until: float | None = None,
    actor: str = "eve",
) -> AlertCommand:
    return AlertCommand(
        command_id=f"{kind}-{until}",  # as the gateway does: the same words, the same id
        user_id=alert.user_id,
        dedup_key=alert.dedup_key,
        kind=kind,
        until=None if until is None else from_ms(day_ms(until)),
        actor=actor,
        at=from_ms(day_ms(day)),
    )


def opened(policy: Policy = PLAIN, probability: float = 0.75) -> tuple[Episode, ChurnAlert]:
    """An episode that opened on day 1."""
    state, (alert,) = judge(None, churn_score(probability, 1), policy)
    assert "opened" == alert.kind
    return state, alert


def kinds(alerts: Iterable[ChurnAlert]) -> list[AlertKind]:
    return [alert.kind for alert in alerts]


# Waiting


def test_a_risk_that_does_not_last_is_not_told() -> None:
    """With `for`, a return before its end leaves no trace."""
    state, told = judge(None, churn_score(0.8, 1), PATIENT)
    assert ((), day_ms(3)) == (told, due(state, PATIENT))

    state, told = judge(state, churn_score(0.2, 2.9, trigger="activity"), PATIENT)

    assert ((), None) == (told, due(state, PATIENT))
    assert (state, ()) == tick(state, "ada", day_ms(30), PATIENT)


def test_a_wait_does_not_begin_again_with_every_score() -> None:
    """It counts from the first score that has the risk so high, and the last one is told."""
    state, _ = judge(None, churn_score(0.8, 1), PATIENT)
    state, told = judge(state, churn_score(0.85, 2.5), PATIENT)
    assert ((), day_ms(3)) == (told, due(state, PATIENT))

    _, (alert,) = tick(state, "ada", day_ms(3), PATIENT)

    assert 0.85 == alert.churn_probability


def test_a_risk_that_lasts_is_told_at_the_end_of_the_wait() -> None:
    """However late the clock is looked at, the alert occurs when the wait ended."""
    score = churn_score(0.8, 1)
    state, _ = judge(None, score, PATIENT)
    assert (state, ()) == tick(state, "ada", day_ms(3) - 1, PATIENT)

    state, (alert,) = tick(state, "ada", day_ms(9), PATIENT)

    assert ("opened", from_ms(day_ms(3)), from_ms(day_ms(3)), 0.8) == (
        alert.kind,
        alert.occurred_at,
        alert.opened_at,
        alert.churn_probability,
    )
    assert (score.position, score.evidence, score.attributes) == (
        alert.position,
        alert.evidence,
        alert.attributes,
    )


def test_a_late_clock_and_a_late_score_tell_the_same() -> None:
    """Whether the clock or the user's next score ends a wait, the alerts are equal."""
    state, _ = judge(None, churn_score(0.8, 1), PATIENT)
    back = churn_score(0.2, 4, trigger="activity")
    by_clock, first = tick(state, "ada", day_ms(3.5), PATIENT)
    by_clock, second = judge(by_clock, back, PATIENT)

    by_score, both = judge(state, back, PATIENT)

    assert ["opened", "resolved"] == kinds(both)
    assert (by_clock, (*first, *second)) == (by_score, both)


def test_who_is_held_back_by_the_cooldown_is_looked_at_when_it_ends() -> None:
    """Where the rule asks for it, as the rules of a file do, without another score."""
    policy = Policy((Rule(looks_again=True),))
    state, _ = opened(policy)
    state, _ = judge(state, churn_score(0.2, 2, trigger="activity", last_seen_day=2.0), policy)
    state, held = judge(state, churn_score(0.9, 4, last_seen_day=2.0), policy)
    assert ((), day_ms(9)) == (held, due(state, policy))

    state, (alert,) = tick(state, "ada", day_ms(9), policy)

    assert ("opened", from_ms(day_ms(9))) == (alert.kind, alert.occurred_at)


def test_the_settings_rule_waits_for_nothing() -> None:
    """Without a file nothing is pending, and there is nothing to do for a clock."""
    state, _ = opened()
    state, _ = judge(state, churn_score(0.2, 2, trigger="activity", last_seen_day=2.0), PLAIN)
    state, _ = judge(state, churn_score(0.9, 4, last_seen_day=2.0), PLAIN)

    assert ((), None, None) == (state.pending, state.said, due(state, PLAIN))


# Several rules


PRO = Rule("pro", threshold=0.5, where=(Selection("plan", ("pro", "team")),), severity="critical")
RICH = Rule("rich", threshold=0.5, where=(Selection("value", at_least=100.0),))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((PRO, Rule()), "pro"),
        ((Rule(), PRO), "default"),
        ((RICH, Rule()), "default"),
        ((replace(PRO, for_ms=HOUR_MS), Rule()), "default"),
        ((replace(RICH, where=(Selection("value", at_least=12.5),)), Rule()), "rich"),
        ((replace(PRO, where=(Selection("device_type", ("phone",)),)), Rule()), "default"),
    ],
)
def test_the_first_rule_that_is_satisfied_opens(rules: tuple[Rule, ...], expected: str) -> None:
    """In the order of the file, by attributes, and without waiting for one that is not yet."""
    _, (alert,) = judge(None, churn_score(0.8), Policy(rules))

    assert expected == alert.rule


def test_a_user_has_one_episode() -> None:
    """What another rule would say of them is not said while it is open; it keeps its rule."""
    policy = Policy((replace(PRO, threshold=0.9), Rule(resolve_below=0.6)))
    state, first = judge(None, churn_score(0.7, 1), policy)

    state, second = judge(state, churn_score(0.95, 2), policy)
    _, third = judge(state, churn_score(0.55, 3), policy)

    alerts = [*first, *second, *third]
    assert [("opened", "default"), ("escalated", "default"), ("resolved", "default")] == [
        (alert.kind, alert.rule) for alert in alerts
    ]


def test_newcomers_have_a_rule_with_its_own_words() -> None:
    """A rule for few active days speaks of those whom the default rule passes over."""
    onboarding = Rule("onboarding", least_active_days=1, most_active_days=2, words="Show them.")
    policy = Policy((onboarding, Rule()))

    _, (new,) = judge(None, churn_score(0.8, active_days=2), policy)
    _, (old,) = judge(None, churn_score(0.8, active_days=3), policy)

    assert [("onboarding", "Show them."), ("default", "")] == [
        (alert.rule, alert.words) for alert in (new, old)
    ]


def test_a_cancellation_of_somebody_no_rule_selects_is_not_told() -> None:
    """Whom the policy is not about, it is not about when they leave."""
    gone = churn_score(0.2, cancelled=True, trigger="activity")

    assert ["churned"] == kinds(judge(None, gone, Policy((RICH, PRO)))[1])
    assert [] == kinds(judge(None, gone, Policy((RICH,)))[1])


def test_an_alert_names_the_policy_the_channels_and_the_arm() -> None:
    """Every transition says under which policy it was made, and whether anybody is to be told."""
    policy = Policy((Rule(channels=("crm",)),), holdout=Holdout(1.0, "autumn"))
    state, (first,) = judge(None, churn_score(0.8), policy)

    _, (last,) = judge(state, churn_score(0.1, 2), policy)

    for alert in (first, last):
        assert (policy.digest, ("crm",), "control") == (alert.policy, alert.channels, alert.arm)
    assert PLAIN.digest != policy.digest


def test_an_episode_keeps_its_arm() -> None:
    """A new epoch in the middle of an episode does not change who is told of its end."""
    state, first = opened(Policy(holdout=Holdout(1.0, "a")))

    _, (last,) = judge(state, churn_score(0.1, 2), Policy(holdout=Holdout(0.0, "b")))

    assert ("control", "control") == (first.arm, last.arm)


# Commands


def test_acknowledging_tells_who_and_is_done_once() -> None:
    """The alert repeats what was known; the same again changes nothing."""
    state, alert = opened()

    after, (told,) = obey(state, command("acknowledge", alert, 2), PLAIN)

    assert ("acknowledged", "eve", alert.dedup_key, from_ms(day_ms(2))) == (
        told.kind,
        told.actor,
        told.dedup_key,
        told.occurred_at,
    )
    assert (alert.position, alert.churn_probability) == (told.position, told.churn_probability)
    assert (after, ()) == obey(after, command("acknowledge", alert, 3), PLAIN)


@pytest.mark.parametrize(("policy", "expected"), [(PLAIN, []), (RISING, ["escalated"])])
def test_who_has_acknowledged_hears_of_a_rise_in_severity_only(
    policy: Policy, expected: list[str]
) -> None:
    """A rising risk alone is not news to somebody who has taken the episode on."""
    state, alert = opened(policy)
    after, _ = obey(state, command("acknowledge", alert, 2), policy)
    assert after is not None

    _, told = judge(after, churn_score(0.95, 3), policy)

    assert expected == kinds(told)
    assert all("critical" == alert.severity for alert in told)


def test_acknowledging_again_after_a_rise_is_news() -> None:
    """The same words about an episode that has got worse are another transition."""
    state, alert = opened(RISING)
    state, (first,) = obey(state, command("acknowledge", alert, 2), RISING)
    state, (risen,) = judge(state, churn_score(0.95, 10), RISING)

    _, (again,) = obey(state, command("acknowledge", alert, 11), RISING)

    assert ["acknowledged", "escalated", "acknowledged"] == kinds((first, risen, again))
    assert first.alert_id != again.alert_id


def test_an_end_is_told_whoever_acknowledged_or_snoozed() -> None:
    """Resolved and churned are never held back."""
    for kind, until in (("acknowledge", None), ("snooze", 9.0)):
        state, alert = opened()
        after, _ = obey(state, command(kind, alert, 2, until=until), PLAIN)  # type: ignore[arg-type]

        assert ["resolved"] == kinds(judge(after, churn_score(0.1, 3), PLAIN)[1])
        assert ["churned"] == kinds(judge(after, churn_score(0.9, 3, cancelled=True), PLAIN)[1])


def test_a_snoozed_episode_is_silent_and_then_speaks_again() -> None:
    """Nothing escalates until the end of the snooze; then the risk of that day is told."""
    state, alert = opened(RISING)
    snoozed, (told,) = obey(state, command("snooze", alert, 2, until=5), RISING)
    assert snoozed is not None
    assert ("snoozed", from_ms(day_ms(5))) == (told.kind, told.snoozed_until)

    snoozed, silence = judge(snoozed, churn_score(0.95, 4), RISING)
    assert ((), day_ms(5)) == (silence, due(snoozed, RISING))
    awake, (again,) = tick(snoozed, "ada", day_ms(5), RISING)

    assert ("escalated", 0.95, from_ms(day_ms(5)), None) == (
        again.kind,
        again.churn_probability,
        again.occurred_at,
        again.snoozed_until,
    )
    assert due(awake, RISING) is None
    assert ["acknowledged"] == kinds(obey(awake, command("acknowledge", alert, 6), RISING)[1])


def test_who_acknowledges_a_snoozed_episode_is_not_woken() -> None:
    """They have it in hand."""
    state, alert = opened()
    snoozed, _ = obey(state, command("snooze", alert, 2, until=5), PLAIN)

    after, told = obey(snoozed, command("acknowledge", alert, 3), PLAIN)

    assert after is not None
    assert (["acknowledged"], None) == (kinds(told), due(after, PLAIN))


@pytest.mark.parametrize(
    "said",
    [
        ("snooze", 2.0, 2.0),
        ("snooze", 2.0, None),
        ("verdict", 2.0, None),
        ("snooze", 1.4, 9.0),
        ("acknowledge", 1.4, None),
    ],
)
def test_commands_that_say_nothing_new_change_nothing(
    said: tuple[CommandKind, float, float | None],
) -> None:
    """A snooze into the past, a verdict, a command older than one that counted."""
    kind, day, until = said
    state, alert = opened()
    snoozed, _ = obey(state, command("snooze", alert, 1.5, until=3), PLAIN)

    assert (snoozed, ()) == obey(snoozed, command(kind, alert, day, until=until), PLAIN)


def test_a_command_for_an_episode_that_is_over_changes_nothing() -> None:
    """Nor one for another episode, or for a user nobody knows."""
    state, alert = opened()
    over, _ = judge(state, churn_score(0.1, 2), PLAIN)
    acknowledge = command("acknowledge", alert, 3)

    assert (over, ()) == obey(over, acknowledge, PLAIN)
    assert (None, ()) == obey(None, acknowledge, PLAIN)
    other = replace_key(state)
    assert (other, ()) == obey(other, acknowledge, PLAIN)


def replace_key(state: Episode) -> Episode:
    assert state.open is not None
    return msgspec.structs.replace(
        state, open=msgspec.structs.replace(state.open, dedup_key=bytes(16))
    )


def test_an_episode_of_an_older_release_can_be_acknowledged() -> None:
    """What that release did not keep of the score is told as unknown."""
    old = Episode(1, 4, NOON, NOON, OpenEpisode(bytes(16), NOON, 0.8, None), churned=False)
    alert = opened()[1]
    about = AlertCommand(
        command_id="c", user_id="ada", dedup_key=bytes(16).hex(), kind="acknowledge",
        at=alert.occurred_at,
    )  # fmt: skip

    _, (told,) = obey(old, about, PLAIN)

    assert ("acknowledged", "default", 0.8, "") == (
        told.kind,
        told.rule,
        told.churn_probability,
        told.model_version,
    )


# Laws


POLICIES = {
    "plain": PLAIN,
    "patient": PATIENT,
    "rising": RISING,
    "mixed": Policy(
        (
            replace(PRO, for_ms=3 * DAY_MS, threshold=0.85, escalated_severity="critical"),
            Rule("soon", 0.7, for_ms=DAY_MS, cooldown_ms=2 * DAY_MS, looks_again=True),
            Rule("late", 0.5, looks_again=True, cooldown_ms=5 * DAY_MS),
        )
    ),
}

Step = ChurnScore | tuple[CommandKind, float, float] | float


@st.composite
def stories(draw: st.DrawFn) -> list[Step]:
    """One user's scores, commands (kind, day, snoozed for) and looks at the clock, in order."""
    steps: list[Step] = []
    offset, day, seen = 0, 0.0, 0.0
    for _ in range(draw(st.integers(0, 25))):
        day += draw(st.sampled_from([0.01, 0.5, 1, 3]))
        what = draw(st.sampled_from(["score", "score", "score", "command", "clock"]))
        if what == "clock":
            steps.append(day)
        elif what == "command":
            kind: CommandKind = draw(st.sampled_from(["acknowledge", "snooze", "verdict"]))
            steps.append((kind, day, draw(st.sampled_from([0.25, 2.0, 6.0]))))
        else:
            trigger: Trigger = draw(st.sampled_from(["activity", "silence", "silence", "silence"]))
            offset += trigger == "activity"
            cancelled = trigger == "activity" and draw(st.integers(0, 4)) == 0
            seen = day if trigger == "activity" and not cancelled else seen
            steps.append(
                churn_score(
                    draw(st.sampled_from([0.1, 0.5, 0.7, 0.72, 0.87, 0.99])),
                    day,
                    offset=offset,
                    trigger=trigger,
                    last_seen_day=seen,
                    cancelled=cancelled,
                )
            )
    return steps


def told(
    steps: Iterable[Step], policy: Policy, *, clock: bool = True, twice: bool = False
) -> tuple[Episode | None, list[ChurnAlert]]:
    """Live through a story; clock: looks at it are taken; twice: everything comes again."""
    state: Episode | None = None
    alerts: list[ChurnAlert] = []
    for step in steps:
        for _ in range(2 if twice else 1):
            more: tuple[ChurnAlert, ...] = ()
            if isinstance(step, ChurnScore):
                state, more = judge(state, step, policy)
            elif isinstance(step, tuple):
                kind, day, length = step
                about = next((a for a in reversed(alerts) if a.kind == "opened"), None)
                if about is not None:
                    order = command(kind, about, day, until=day + length)
                    state, more = obey(state, order, policy)
            elif clock and state is not None:
                state, more = tick(state, "ada", day_ms(step), policy)
            alerts += more
        if state is not None:
            assert state == decode(encode(state))
    return state, alerts


policies = st.sampled_from(sorted(POLICIES))


@given(stories(), policies)
def test_transitions_follow_each_other_legally(steps: list[Step], name: str) -> None:
    """Opened first and once, one end, nothing after it; a churn may stand alone."""
    current: str | None = None
    seen: set[str] = set()
    for alert in told(steps, POLICIES[name])[1]:
        action = EVENT_ACTIONS[alert.kind]
        if alert.kind == "opened":
            assert current is None
            assert alert.dedup_key not in seen
            current = alert.dedup_key
        elif alert.kind == "churned" and current is None:
            assert alert.dedup_key not in seen
        else:
            assert alert.dedup_key == current
        seen.add(alert.dedup_key)
        if action == "resolve":
            current = None


@given(stories(), policies)
def test_everything_twice_is_everything_once(steps: list[Step], name: str) -> None:
    """Scores, commands and looks at the clock that come again change nothing, ids included."""
    assert told(steps, POLICIES[name]) == told(steps, POLICIES[name], twice=True)


@given(stories(), policies)
def test_every_transition_has_its_own_id(steps: list[Step], name: str) -> None:
    """No two alerts share one."""
    ids = [alert.alert_id for alert in told(steps, POLICIES[name])[1]]

    assert len(ids) == len(set(ids))


@given(stories(), policies)
def test_when_the_clock_is_looked_at_makes_no_difference(steps: list[Step], name: str) -> None:
    """As long as no command comes between, alerts are the same however seldom somebody looks."""
    scores = [step for step in steps if not isinstance(step, tuple)]
    last = next((to_ms(s.scored_at) for s in reversed(scores) if isinstance(s, ChurnScore)), NOON)

    often, seldom = (told(scores, POLICIES[name], clock=clock)[1] for clock in (True, False))

    assert seldom == [
        alert for alert in often if alert in seldom or to_ms(alert.occurred_at) <= last
    ]


@given(stories(), policies)
def test_the_cooldown_and_the_wait_are_kept(steps: list[Step], name: str) -> None:
    """An opening comes a cooldown after any alert but those of commands, and after its wait."""
    policy = POLICIES[name]
    alerts = told(steps, policy)[1]
    by_policy = [a for a in alerts if a.kind not in ("acknowledged", "snoozed")]
    for earlier, later in pairwise(by_policy):
        if later.kind == "opened":
            since = to_ms(later.occurred_at) - to_ms(earlier.occurred_at)
            assert since >= policy.rule(later.rule).cooldown_ms
    for alert in alerts:
        if alert.kind == "opened":
            wait = policy.rule(alert.rule).for_ms
            began = to_ms(alert.occurred_at) - wait
            threshold = policy.rule(alert.rule).threshold or alert.threshold
            during = [
                step
                for step in steps
                if isinstance(step, ChurnScore)
                and began < to_ms(step.scored_at) < to_ms(alert.occurred_at)
            ]
            assert all(step.churn_probability >= threshold for step in during)


@given(stories(), policies)
def test_a_snooze_is_silent(steps: list[Step], name: str) -> None:
    """Between a snooze and its end only an end, or another command, is told."""
    until = None
    for alert in told(steps, POLICIES[name])[1]:
        if alert.kind == "escalated":
            assert until is None or to_ms(alert.occurred_at) >= until
            until = None
        elif alert.kind == "snoozed":
            assert alert.snoozed_until is not None
            until = to_ms(alert.snoozed_until)
        else:
            until = None


@given(stories(), policies, st.data())
def test_a_fold_over_many_users_is_a_fold_over_each(
    steps: list[Step], name: str, data: st.DataObject
) -> None:
    """Two users' scores interleaved, with time passing between, give each the alerts of alone."""
    scores = [step for step in steps if isinstance(step, ChurnScore)]
    others = [msgspec.structs.replace(score, user_id="bob") for score in scores]
    mixed = sorted([*scores, *others], key=lambda s: (s.scored_at, data.draw(st.booleans())))
    fold = PolicyFold(POLICIES[name])
    alerts: list[ChurnAlert] = []
    for score in mixed:
        for ended in fold.advance(to_ms(score.scored_at) - GRACE_MS):
            alerts += ended
        alerts += fold.score(score)

    last = max((to_ms(score.scored_at) for score in scores), default=NOON)
    alone = [a for a in told(scores, POLICIES[name])[1] if to_ms(a.occurred_at) <= last]
    assert alone == [alert for alert in alerts if alert.user_id == "ada"]
