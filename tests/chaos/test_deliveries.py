"""The oracle notices what receivers did not get, should not have got, and what people said."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook

from contracts.alerts import ChurnAlert
from contracts.commands import AlertCommand
from contracts.deliveries import row_id
from tests.chaos import channels
from tests.chaos.channels import KINDS, SLACK, WEBHOOK
from tests.chaos.commands import commands_check, order_check
from tests.chaos.deliveries import body, figures, received_check, settled_check, told_check
from tests.churn_alerts import churn_alert
from tests.receivers import Taken

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
ADA, BOB = churn_alert(user_id="ada"), churn_alert(user_id="bob")
HELD_OUT = churn_alert(user_id="cyd", arm="control")


@pytest.fixture(autouse=True)
def _nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "refused_once", lambda _: False)


def at_webhook(alert: ChurnAlert, **more: Any) -> Taken:
    said = body(alert, WEBHOOK)
    headers = {
        "webhook-id": alert.alert_id,
        "webhook-timestamp": str(int(MOMENT.timestamp())),
        "webhook-signature": Webhook(channels.SECRET).sign(alert.alert_id, MOMENT, said.decode()),
    }
    return Taken(f"/{WEBHOOK}", headers | more, said)


def at_slack(alert: ChurnAlert) -> Taken:
    return Taken(f"/{SLACK}", {}, body(alert, SLACK))


def all_of(*alerts: ChurnAlert) -> list[Taken]:
    return [at(alert) for alert in alerts for at in (at_webhook, at_slack)]


def untold(
    alerts: Sequence[ChurnAlert], received: Sequence[Taken], erased: tuple[str, ...] = ()
) -> int:
    return told_check(alerts, received, {}, erased).differences


def test_what_nobody_took_is_noticed() -> None:
    """By channel; the control and the erased need not be told, and Slack nothing of machines."""
    taken_on = churn_alert("acknowledged", user_id="ada", offset=2)
    alerts = [ADA, BOB, HELD_OUT, taken_on]

    assert 0 == untold(alerts, [*all_of(ADA, BOB), at_webhook(taken_on)])
    assert 1 == untold(alerts, [*all_of(ADA), at_slack(BOB), at_webhook(taken_on)])
    assert 1 == untold(alerts, all_of(ADA, BOB))
    assert 0 == untold(alerts, [*all_of(ADA), at_webhook(taken_on)], erased=("bob",))


def test_what_was_refused_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is refused once has to come twice, and then that is no repeat."""
    monkeypatch.setattr(channels, "refused_once", lambda _: True)

    assert 2 == untold([ADA], all_of(ADA))
    assert 0 == untold([ADA], all_of(ADA, ADA))
    assert 0 == figures([ADA], all_of(ADA, ADA))["messages at the webhook, repeats"]


def test_what_should_not_have_come_is_noticed() -> None:
    """The control's, another content, another signature, another id."""
    alerts = [ADA, BOB, HELD_OUT]
    wrong = [
        at_webhook(HELD_OUT),
        at_slack(HELD_OUT),
        at_webhook(replace(ADA, churn_probability=0.9)),
        at_webhook(ADA, **{"webhook-signature": "v1,c2VjcmV0"}),
    ]

    assert 0 == received_check(alerts, all_of(ADA, BOB, ADA)).differences
    assert [1, 1, 1, 1] == [received_check(alerts, [one]).differences for one in wrong]
    assert 0 < received_check(alerts, [at_webhook(ADA, **{"webhook-id": "x"})]).differences


def test_repeats_are_counted() -> None:
    """By receiver."""
    found = figures([ADA, BOB, HELD_OUT], [*all_of(ADA, BOB), at_webhook(ADA), at_webhook(ADA)])

    assert (2, 2) == (found["messages at the webhook"], found["messages at the webhook, repeats"])
    assert 0 == found["messages at the slack channel, repeats"]
    assert 1 == found["alerts of the control"]


def test_a_delivery_that_is_not_over_is_noticed() -> None:
    """Sent is the one good end of what is to be told, and `control` of what is not."""
    alerts = [ADA, HELD_OUT]
    good = {row_id(ADA.alert_id, name): "sent" for name in KINDS}
    good |= {row_id(HELD_OUT.alert_id, name): "control" for name in KINDS}

    assert 0 == settled_check(alerts, good).differences
    for state in ("waiting", "dead", "overtaken"):
        found = settled_check(alerts, good | {row_id(ADA.alert_id, WEBHOOK): state})
        assert 1 == found.differences


def command(alert: ChurnAlert = ADA, **more: Any) -> AlertCommand:
    said: dict[str, Any] = {
        "command_id": "c1",
        "user_id": alert.user_id,
        "dedup_key": alert.dedup_key,
        "kind": "acknowledge",
        "at": alert.occurred_at,
    } | more
    return AlertCommand(**said)


def test_a_command_that_nothing_came_of_is_noticed() -> None:
    """Unless its episode is over or its user erased; nobody obeys what nobody said."""
    taken_on = churn_alert("acknowledged", user_id="ada")
    back = churn_alert("resolved", user_id="ada", offset=2)
    said = [command()]

    def differences(alerts: list[ChurnAlert], **more: Any) -> int:
        given: dict[str, Any] = {"commands": said, "accepted": {"c1"}, "waiting": 0, "erased": ()}
        return commands_check(alerts=alerts, **{**given, **more}).differences

    assert 0 == differences([ADA, taken_on])
    assert 0 == differences([ADA, back])
    assert 0 == differences([ADA], erased=("ada",))
    assert 1 == differences([ADA])
    assert 1 == differences([ADA, taken_on], accepted={"c1", "lost"})
    assert 3 == differences([ADA, taken_on], waiting=3)
    assert 1 == differences([ADA, taken_on], commands=[], accepted=())
    ten = [command(command_id=str(n)) for n in range(10)]
    assert 0 == differences([ADA, back], commands=ten[:9], accepted=())
    assert 1 == differences([ADA, back], commands=ten, accepted=())


def test_an_episode_that_begins_or_ends_otherwise_is_noticed() -> None:
    """It opens first and ends once; a cancellation may be all there is."""
    back, left = churn_alert("resolved", offset=2), churn_alert("churned", offset=3)

    assert 0 == order_check([ADA, ADA, back, back]).differences
    assert 0 == order_check([left, left]).differences
    assert 1 == order_check([back, ADA]).differences
    assert 1 == order_check([ADA, back, left]).differences
