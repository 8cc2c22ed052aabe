"""What to do with a due delivery: every line of the table, and which comes first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.delivery import retry
from alerts.delivery.channels_config import Channel, Delivery, QuietHours
from alerts.delivery.plan import (
    ChannelState,
    Drop,
    Hold,
    Limits,
    Send,
    Slot,
    ToDigest,
    Wait,
    decide,
    overtaken,
)
from alerts.delivery.rows import row_of
from contracts.deliveries import Row
from contracts.times import DAY_MS, HOUR_MS, from_ms, to_ms
from tests.churn_alerts import churn_alert
from tests.churn_scores import NOON

ALWAYS = QuietHours.model_validate({"from": "00:00", "until": "00:00", "zone": "UTC"})
MIDNIGHT = to_ms(from_ms(NOON).replace(hour=0, minute=0, second=0, microsecond=0)) + DAY_MS


def channel(**more: Any) -> Channel:
    said = {"kind": "slack", "name": "crm", "url": "https://a.example", **more}
    return Delivery.model_validate({"channels": [said]}).channels[0]


def row(of: Any = "opened", **fields: Any) -> Row:
    return msgspec.structs.replace(row_of(churn_alert(of), "crm", NOON), **fields)


def decided(given_row: Row | None = None, **more: Any) -> Any:
    said: dict[str, Any] = {
        "channel": channel(),
        "state": ChannelState(),
        "limits": Limits(),
        "origin": "shop",
        "storm": False,
        "now_ms": NOON,
    } | more
    return decide(
        given_row or row(), said.pop("channel"), said.pop("state"), said.pop("limits"), **said
    )


def test_nothing_speaks_against_it() -> None:
    """Without quiet hours, caps or storms an alert is sent at once."""
    assert Send() == decided()


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"channel": None}, "dead"),
        ({"state": ChannelState(disabled="HTTP 410")}, "dead"),
        ({"origin": "simulator"}, "refused"),
    ],
)
def test_some_are_told_to_nobody(more: Any, state: str) -> None:
    """A channel that is gone or off, and the demo model where it is not wanted."""
    outcome = decided(**more)

    assert isinstance(outcome, Drop)
    assert state == outcome.state
    assert outcome.reason


def test_a_storm_holds_openings_and_lets_ends_through() -> None:
    """Openings and escalations are held; who was told of one hears how it ended."""
    held = [kind for kind in ("opened", "escalated", "resolved", "churned", "acknowledged")
            if decided(row(kind), storm=True) == Hold()]  # fmt: skip

    assert ["opened", "escalated"] == held


@pytest.mark.parametrize("place", ["rule", "channel"])
def test_quiet_hours_wait_until_they_end(place: str) -> None:
    """Of the rule or of the channel, whichever ends later."""
    more: dict[str, Any] = (
        {"limits": Limits(quiet_hours=ALWAYS)}
        if place == "rule"
        else {"channel": channel(quiet_hours=ALWAYS.model_dump(by_alias=True))}
    )

    assert Wait(MIDNIGHT, "quiet hours") == decided(**more)


def test_critical_alerts_pass_quiet_hours_that_let_them() -> None:
    """Only those, and only where the policy says so."""
    lets = QuietHours.model_validate({**ALWAYS.model_dump(by_alias=True), "critical_passes": True})
    critical, warning = row(severity="critical"), row()

    assert Send() == decided(critical, limits=Limits(quiet_hours=lets))
    assert isinstance(decided(warning, limits=Limits(quiet_hours=lets)), Wait)
    assert isinstance(decided(critical, limits=Limits(quiet_hours=ALWAYS)), Wait)


def test_an_incident_is_told_at_night_and_a_digest_is_not() -> None:
    """An incident says that the alerts themselves are not to be trusted."""
    quiet = channel(quiet_hours=ALWAYS.model_dump(by_alias=True))

    assert Send() == decided(row(kind="incident", label="incident"), channel=quiet, storm=True)
    assert isinstance(decided(row(kind="digest", label="digest"), channel=quiet), Wait)


def test_beyond_the_cap_alerts_go_to_the_digest_of_the_hour() -> None:
    """The rule's cap and the channel's both count, and neither counts ends."""
    full = ChannelState(told_in_hour=5, told_by_rule=5)
    hour = ToDigest((NOON // HOUR_MS + 1) * HOUR_MS)

    assert hour == decided(state=full, limits=Limits(max_per_hour=5))
    assert hour == decided(state=full, channel=channel(max_per_hour=5))
    assert Send() == decided(state=full, limits=Limits(max_per_hour=6))
    assert Send() == decided(row("resolved"), state=full, limits=Limits(max_per_hour=5))


def test_a_second_attempt_waits_for_its_slot_and_for_nothing_else() -> None:
    """What has begun to be told is not held back by quiet hours, caps or storms any more."""
    again = row(attempts=1)
    full = ChannelState(told_in_hour=99, next_slot=NOON)

    outcome = decided(
        again, state=full, limits=Limits(ALWAYS, 1), storm=True, channel=channel(max_per_hour=1)
    )

    assert Send() == outcome
    assert Slot(NOON + 1) == decided(again, state=ChannelState(next_slot=NOON + 1))


@given(
    st.booleans(), st.booleans(), st.integers(0, 3), st.sampled_from(["", "gone"]),
    st.sampled_from(["shop", "simulator"]), st.integers(0, 2), st.booleans(),
)  # fmt: skip
def test_nothing_is_sent_against_the_policy(  # noqa: PLR0917 - drawn by hypothesis
    storm: bool, quiet: bool, told: int, disabled: str, origin: str, attempts: int, slot: bool
) -> None:
    """Whatever is combined: a send means that nothing spoke against it."""
    state = ChannelState(disabled, NOON + slot, told, told)
    limits = Limits(ALWAYS if quiet else None, 2)

    outcome = decided(
        row(attempts=attempts), state=state, limits=limits, origin=origin, storm=storm
    )

    against = bool(disabled) or origin == "simulator" or slot
    if attempts == 0:
        against = against or storm or quiet or told >= 2
    assert (not against) == (outcome == Send())


def test_an_end_overtakes_what_nobody_was_told() -> None:
    """What was kept back goes; the end goes with it, unless it is a cancellation."""
    waiting, sent = row(due=NOON + 1), row("escalated", state="sent", attempts=1)
    end, gone = row("resolved"), row("churned")

    assert (True, [waiting]) == overtaken(end, [waiting])
    assert (False, [waiting]) == overtaken(end, [waiting, sent])
    assert (False, [waiting]) == overtaken(gone, [waiting])
    assert (False, []) == overtaken(end, [])
    assert (True, []) == overtaken(end, [row(state="discarded")])
    assert (False, []) == overtaken(end, [row(state="digested")])
    assert (False, ()) == overtaken(row("escalated"), [waiting])
    for state in ("held", "digest"):
        assert (True, [row(state=state)]) == overtaken(end, [row(state=state)])


def test_an_end_overtakes_nothing_that_may_have_been_told() -> None:
    """An opening that is due may have been sent by a dispatcher whose store then went back."""
    assert (False, []) == overtaken(row("resolved"), [row()])
    assert (False, [row(state="held")]) == overtaken(row("resolved"), [row(), row(state="held")])


@given(st.text(min_size=1), st.integers(1, 12), st.one_of(st.none(), st.integers(0, 2**40)))
def test_waits_grow_are_jittered_and_obey_the_receiver(
    row_id: str, attempts: int, retry_after: int | None
) -> None:
    """The schedule's wait, up to a fifth longer, or as long as the receiver asks, up to a day."""
    due = retry.next_attempt(row_id, attempts, NOON, retry_after)

    if attempts > len(retry.WAITS_MS):
        assert due is None
        return
    assert due is not None
    least = retry.WAITS_MS[attempts - 1]
    asked = min(retry_after or 0, retry.LONGEST_MS)
    assert max(least, asked) <= due - NOON <= max(least * 1.2 + 1, asked)
    assert due == retry.next_attempt(row_id, attempts, NOON, retry_after)
