"""`POST /alerts/{id}/acknowledge`, `snooze` and `verdict`."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.alerts import ChurnAlert
from contracts.commands import AlertCommand, decode_command
from contracts.times import DAY_MS, HOUR_MS, from_ms
from contracts.topics import COMMANDS
from runtime import alert_index
from runtime.ledger import Effects, Mark
from runtime.testing import FakeLedger
from tests.churn_alerts import churn_alert
from tests.unit.ingest_api.stand import NOON, Stand

BODIES: dict[str, dict[str, Any]] = {
    "acknowledge": {"actor": "grace"},
    "snooze": {"hours": 24, "actor": "grace"},
    "verdict": {"verdict": "wrong", "note": "on holiday", "actor": "grace"},
}


async def known(gateway: Stand, alert: ChurnAlert) -> ChurnAlert:
    """Put the alert's ids where the alerts worker does."""
    effects = Effects()
    alert_index.remember(alert, effects)
    ledger = FakeLedger(gateway.redis, "a test")
    await ledger.save(await ledger.marks(0), Mark(1, 1), 0, effects)
    return alert


def sent(gateway: Stand) -> list[AlertCommand]:
    assert [COMMANDS] * len(gateway.log.messages) == gateway.log.topics
    return [decode_command(message.value or b"") for message in gateway.log.messages]


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("named_by", ["alert_id", "dedup_key"])
async def test_what_is_said_of_an_alert_goes_to_its_user(
    gateway: Stand, kind: str, named_by: str
) -> None:
    """
    Either id names the episode; the command travels under the user's key and is answered with its
    id once Kafka has it.
    """
    alert = await known(gateway, churn_alert(user_id="ada"))
    path = f"/alerts/{getattr(alert, named_by)}/{kind}"

    answer = await gateway.http.post(path, json=BODIES[kind])

    assert 202 == answer.status_code
    [command] = sent(gateway)
    [message] = gateway.log.messages
    assert (b"ada", NOON) == (message.key, message.timestamp_ms)
    assert dict(message.headers)["ce_id"] == command.command_id.encode()
    until = from_ms(NOON + DAY_MS) if kind == "snooze" else None
    said = BODIES[kind]
    assert command == AlertCommand(
        command_id=answer.json()["command_id"],
        user_id="ada",
        dedup_key=alert.dedup_key,
        kind=kind,  # type: ignore[arg-type]
        until=until,
        verdict=said.get("verdict"),
        note=said.get("note", ""),
        actor="grace",
        at=from_ms(NOON),
    )
    assert (kind, "ada", alert.dedup_key) == tuple(
        answer.json()[name] for name in ("kind", "user_id", "dedup_key")
    )


async def test_saying_the_same_again_is_the_same_command(gateway: Stand) -> None:
    """
    A retry has its command's id, also later and under the episode's other id; saying something
    else has another.
    """
    alert = await known(gateway, churn_alert(user_id="ada"))
    await gateway.http.post(f"/alerts/{alert.alert_id}/acknowledge", json={"actor": "grace"})
    gateway.now += HOUR_MS
    await gateway.http.post(f"/alerts/{alert.dedup_key}/acknowledge", json={"actor": "grace"})
    await gateway.http.post(f"/alerts/{alert.alert_id}/acknowledge", json={"actor": "alan"})
    await gateway.http.post(f"/alerts/{alert.alert_id}/verdict", json={"verdict": "helped"})
    await gateway.http.post(f"/alerts/{alert.alert_id}/verdict", json={"verdict": "wrong"})

    first, again, *others = [command.command_id for command in sent(gateway)]
    assert first == again
    assert 4 == len({first, *others})


async def test_an_idempotency_key_makes_a_retry_the_same_command(gateway: Stand) -> None:
    """
    With a key the time of the request does not matter, and another key is another command.
    """
    alert = await known(gateway, churn_alert(user_id="ada"))
    for key in ("one", "one", "two"):
        headers = {"Idempotency-Key": key}
        path = f"/alerts/{alert.alert_id}/snooze"
        await gateway.http.post(path, json={"hours": 2}, headers=headers)
        gateway.now += HOUR_MS

    first, again, other = [command.command_id for command in sent(gateway)]
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", BODIES)
async def test_an_id_nobody_knows_is_answered_with_the_way_to_one(
    gateway: Stand, kind: str
) -> None:
    """
    404, where ids come from, and nothing goes to Kafka.
    """
    await known(gateway, churn_alert(user_id="ada"))

    answer = await gateway.http.post(f"/alerts/{'f' * 32}/{kind}", json=BODIES[kind])

    assert 404 == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]
    assert "urn:ebbtide:problem:unknown-alert" == answer.json()["type"]
    assert "GET /alerts" in answer.json()["detail"]
    assert [] == gateway.log.messages


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("acknowledge", {"actor": 7}, "actor"),
        ("acknowledge", {"actor": "x" * 257}, "actor"),
        ("acknowledge", {"who": "grace"}, "who"),
        ("acknowledge", [], ""),
        ("snooze", {}, "hours"),
        ("snooze", {"hours": 1, "until": "2027-01-01T00:00:00Z"}, "hours"),
        ("snooze", {"hours": 0}, "hours"),
        ("snooze", {"hours": "2"}, "hours"),
        ("snooze", {"until": "tomorrow"}, "until"),
        ("snooze", {"until": "2027-01-01T00:00:00"}, "until"),
        ("snooze", {"until": from_ms(NOON).isoformat()}, "until"),
        ("snooze", {"until": from_ms(NOON + 400 * DAY_MS).isoformat()}, "until"),
        ("verdict", {}, "verdict"),
        ("verdict", {"verdict": "right"}, "verdict"),
        ("verdict", {"verdict": "wrong", "note": "x" * 2001}, "note"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_by_field(
    gateway: Stand, kind: str, body: Any, field: str
) -> None:
    """
    422 names the field and what would be right.
    """
    alert = await known(gateway, churn_alert(user_id="ada"))

    answer = await gateway.http.post(f"/alerts/{alert.alert_id}/{kind}", json=body)

    assert 422 == answer.status_code
    [error] = answer.json()["errors"]
    assert field == error["field"]
    assert "another type" not in error["reason"]
    assert [] == gateway.log.messages


async def test_a_form_cannot_command(gateway: Stand) -> None:
    """
    A page of somebody else's, through a visitor's browser, cannot say application/json.
    """
    alert = await known(gateway, churn_alert(user_id="ada"))

    answer = await gateway.http.post(f"/alerts/{alert.alert_id}/acknowledge", content=b"{}")

    assert 415 == answer.status_code
    assert [] == gateway.log.messages


@pytest.mark.parametrize("away", ["kafka", "redis"])
async def test_without_a_dependency_it_is_to_be_sent_again(gateway: Stand, away: str) -> None:
    """
    503 with Retry-After while Kafka does not acknowledge, or Redis does not know.
    """
    alert = await known(gateway, churn_alert(user_id="ada"))
    if away == "kafka":
        gateway.log.away = 0
    else:
        gateway.redis.away = True

    answer = await gateway.http.post(f"/alerts/{alert.alert_id}/acknowledge", json={})

    assert 503 == answer.status_code
    assert answer.headers["retry-after"]
    name = "commands-unavailable" if away == "kafka" else "users-unavailable"
    assert f"urn:ebbtide:problem:{name}" == answer.json()["type"]


async def test_commands_are_counted(gateway: Stand) -> None:
    """
    By kind, once Kafka has them.
    """
    alert = await known(gateway, churn_alert(user_id="ada"))
    await gateway.http.post(f"/alerts/{alert.alert_id}/acknowledge", json={})

    assert 1 == await gateway.metric('ebbtide_alert_commands_total{kind="acknowledge"}')
