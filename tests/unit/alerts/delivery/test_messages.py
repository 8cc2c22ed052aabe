"""What people and machines are told."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from alerts.delivery import webhook
from alerts.delivery.channels_config import secret_bytes
from alerts.delivery.messages import compose, digest_notice, of_alert, storm_notice, user_link
from alerts.delivery.rows import notice_row, row_of
from contracts.alerts import AlertKind
from contracts.scores import Reason
from contracts.times import from_ms, to_ms
from tests.churn_alerts import churn_alert
from tests.churn_scores import NOON

GATEWAY = "https://churn.example/"
NASTY = '<script>alert("&")</script>\r\nBcc: x@y.example <!channel>'


def test_an_alert_says_what_and_why_and_what_to_do() -> None:
    """Risk and change, reasons, what usually helps, and the way to the user's page."""
    told = of_alert(churn_alert(), GATEWAY)

    assert "ada is slipping away: 82% risk" == told.title
    assert "Risk of leaving within 14 days: 82%, before 40%." in told.lines
    assert "- Away for 9 days, usually 20 hours" in told.lines
    assert any(line.startswith("What usually helps: ") for line in told.lines)
    assert "https://churn.example/app/user?id=ada" == told.link
    assert told.text.endswith(told.link)


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("escalated", "ada slips further: 82% risk"),
        ("acknowledged", "Somebody looks after ada"),
        ("snoozed", "ada was put off"),
        ("resolved", "ada is back"),
        ("churned", "ada has cancelled"),
    ],
)
def test_every_kind_has_its_title(kind: AlertKind, title: str) -> None:
    """What happened is in the first line, as mail and telephones show it."""
    assert title == of_alert(churn_alert(kind), "").title


def test_a_rules_own_words_and_who_acted_are_told() -> None:
    """An onboarding rule has its own sentence; an acknowledgement has a name."""
    opened = of_alert(churn_alert(words="Help them begin."), "")
    snoozed = of_alert(churn_alert("snoozed", actor="kim", snoozed_until=from_ms(NOON)), "")

    assert "Help them begin." == opened.lines[0]
    assert ("By kim.", "Until 2023-11-14 22:13 UTC.") == snoozed.lines[:2]


@given(st.text(max_size=300))
def test_what_comes_from_outside_is_one_escaped_line(user: str) -> None:
    """No id, reason or attribute can add markup, a mention, a header or a line."""
    user_id = NASTY + user
    told = of_alert(churn_alert(user_id=user_id, device=user_id, words=user_id), GATEWAY)

    assert "<script" not in told.html
    assert "<" not in json.loads(told.slack())["text"].replace(f"<{told.link}|", "")
    assert told.title.isprintable()
    assert all(line.isprintable() for line in told.lines)
    assert told.link.isascii()


@given(st.text(min_size=1, max_size=50))
def test_a_link_leads_to_this_user_only(user_id: str) -> None:
    """An id with slashes, dots or queries stays one value, and a number stays a text."""
    start, value = user_link(user_id, GATEWAY).split("=", 1)

    assert "https://churn.example/app/user?id" == start
    assert not set(value) & set("/?#&=<>\"' ")
    try:
        assert user_id == msgspec.json.decode(unquote(value))
    except msgspec.MsgspecError:
        assert user_id == unquote(value)
    assert "https://churn.example/app/user?id=%2242%22" == user_link("42", GATEWAY)
    assert "" == user_link(user_id, "")


def test_a_body_says_what_pagerduty_wants_to_know() -> None:
    """Type, time, the whole alert, and trigger, acknowledge or resolve beside its dedup_key."""
    alert = churn_alert("resolved")
    body = json.loads(of_alert(alert, GATEWAY).json())

    assert "churn.alert.resolved" == body["type"]
    assert to_ms(alert.occurred_at) == NOON
    assert ("resolve", alert.dedup_key) == (
        body["data"]["event_action"],
        body["data"]["dedup_key"],
    )


@given(st.binary(min_size=24, max_size=64), st.binary(min_size=24, max_size=64), st.text())
def test_the_reference_verifies_our_signatures(one: bytes, other: bytes, text: str) -> None:
    """With either of two secrets, while a receiver changes from one to the other."""
    body = json.dumps({"text": text}).encode()
    headers = webhook.headers("msg_1", int(time.time()), body, [one, other])

    for key in (one, other):
        secret = "whsec_" + base64.b64encode(key).decode()
        assert key == secret_bytes(secret)
        assert {"text": text} == Webhook(secret).verify(body, headers)


def test_repeats_carry_the_same_bytes() -> None:
    """The same row gives the same body, whenever it is made."""
    row = row_of(churn_alert(), "crm", NOON)

    assert compose(row, GATEWAY).json() == compose(row, GATEWAY).json()


def test_a_digest_lists_the_riskiest_first_and_says_how_many_more() -> None:
    """Twenty are shown; the data name more, for machines."""
    rows = [row_of(churn_alert(user_id=f"u{n}"), "crm", NOON) for n in range(25)]
    notice = digest_notice(rows, NOON, GATEWAY)
    told = compose(notice_row(notice, "d1", "crm", "digest", NOON), GATEWAY)

    assert "25 more users slip away" == told.title
    assert 21 == len(told.lines)
    assert "and 5 more" == told.lines[-1]
    assert 25 == json.loads(told.json())["data"]["count"]


def test_an_incident_names_its_cause_and_what_to_do() -> None:
    """One message stands for all that is held."""
    notice = storm_notice(crossed=50, active=100, minutes=60, cause="A new model.", at_ms=NOON)
    told = compose(notice_row(notice, "i1", "crm", "incident", NOON), GATEWAY)

    assert "Alert storm: 50 of 100 users crossed within 60 minutes" == told.title
    assert any("A new model." in line for line in told.lines)
    assert any("ebbtide alerts storm release" in line for line in told.lines)


def test_a_reason_without_raise_is_no_reason() -> None:
    """Only what raises the risk is told as why."""
    lowering = churn_alert()
    alert = msgspec.structs.replace(
        lowering, reasons=(Reason("money", -0.4, "Pays more than most"),)
    )

    assert not any("Pays" in line or line == "Why:" for line in of_alert(alert, "").lines)
