"""`GET /deliveries`, sending again, `/storm` and `/policy`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from alerts.delivery.channels_config import Delivery
from alerts.policy_told import PolicyTold
from alerts.rules import Policy, Rule
from contracts.deliveries import row_id
from contracts.storms import Decided, StormState
from contracts.times import DAY_MS, to_ms
from runtime import keys
from runtime.deliveries import Deliveries
from tests.churn_alerts import churn_alert
from tests.unit.ingest_api.alert_store import alerted, delivered
from tests.unit.ingest_api.stand import NOON, Stand


async def asked(gateway: Stand, path: str = "/deliveries", **query: Any) -> dict[str, Any]:
    answer = await gateway.http.get(path, params=query)
    assert 200 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def seen(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["user_id"], one["channel"], one["state"]) for one in answer["deliveries"]]


async def some(gateway: Stand) -> None:
    """Ada's failed on one channel and was told on the other, bob's waits."""
    ada, bob = churn_alert(user_id="ada"), churn_alert(user_id="bob")
    await alerted(gateway.redis, ada, bob)
    await delivered(gateway.redis, ada, "crm", ("waiting", "dead"), NOON, reason="answered 404")
    await delivered(gateway.redis, ada, "team", ("sent",), NOON + 10)
    await delivered(gateway.redis, bob, "crm", ("waiting",), NOON + 20)


async def test_deliveries_are_listed_and_counted(gateway: Stand) -> None:
    """
    The last changed first, with the reason and without content; counts are of all of them.
    """
    await some(gateway)

    answer = await asked(gateway)

    assert [("bob", "crm", "waiting"), ("ada", "team", "sent"), ("ada", "crm", "dead")] == seen(
        answer
    )
    assert {("crm", "dead"): 1, ("crm", "waiting"): 1, ("team", "sent"): 1} == {
        (one["channel"], one["state"]): one["count"] for one in answer["counts"]
    }
    assert "answered 404" == answer["deliveries"][-1]["reason"]
    assert "content" not in answer["deliveries"][0]


@pytest.mark.parametrize(
    ("query", "users"),
    [
        ({"state": "dead"}, ["ada"]),
        ({"channel": "crm"}, ["bob", "ada"]),
        ({"channel": "crm", "state": ["waiting", "sent"]}, ["bob"]),
        ({"user": "ada"}, ["ada", "ada"]),
        ({"user": "ada", "state": "sent"}, ["ada"]),
        ({"alert": churn_alert(user_id="bob").alert_id}, ["bob"]),
        ({"alert": churn_alert(user_id="bob").dedup_key}, ["bob"]),
        ({"alert": "nothing"}, []),
        ({"alert": churn_alert(user_id="bob").alert_id, "user": "ada"}, []),
        ({"id": row_id(churn_alert(user_id="ada").alert_id, "team")}, ["ada"]),
        ({"id": churn_alert(user_id="ada").alert_id}, ["ada", "ada"]),
        ({"id": churn_alert(user_id="ada").alert_id, "state": "dead"}, ["ada"]),
        ({"id": churn_alert(user_id="ada").alert_id, "user": "bob"}, []),
        ({"id": "nothing:crm"}, []),
    ],
)
async def test_filters_choose(gateway: Stand, query: dict[str, Any], users: list[str]) -> None:
    """
    Channel, state, user, alert and the delivery's own id each narrow the list.
    """
    await some(gateway)

    assert users == [user for user, _, _ in seen(await asked(gateway, **query))]


async def test_pages_hold_every_delivery_once(gateway: Stand) -> None:
    """
    Under a filter and without one.
    """
    users = [f"u{n}" for n in range(25)]
    for n, user_id in enumerate(users):
        alert = churn_alert(user_id=user_id)
        await delivered(gateway.redis, alert, "crm", ("dead" if n % 2 else "sent",), NOON + n)

    for query, expected in (({}, users[::-1]), ({"state": "dead"}, users[1::2][::-1])):
        told: list[str] = []
        page: dict[str, Any] = dict(query, limit=4)
        while True:
            answer = await asked(gateway, **page)
            told += [user for user, _, _ in seen(answer)]
            if answer["next"] is None:
                break
            page["cursor"] = answer["next"]
        assert expected == told


async def test_what_is_over_for_long_is_counted_no_more(gateway: Stand) -> None:
    """
    Thirty days after its end; what still waits is.
    """
    await some(gateway)
    gateway.now = NOON + 31 * DAY_MS

    answer = await asked(gateway)

    assert [("crm", "waiting")] == [(one["channel"], one["state"]) for one in answer["counts"]]


async def test_a_delivery_is_sent_again_at_once(gateway: Stand) -> None:
    """
    It waits for its next attempt from now on, and the log says who wanted that.
    """
    await some(gateway)
    [dead] = (await asked(gateway, state="dead"))["deliveries"]
    gateway.now += 5_000

    answer = await gateway.http.post(f"/deliveries/{dead['id']}/resend", json={"actor": "grace"})

    assert (202, {"deliveries": {dead["id"]: "will be sent"}}) == (
        answer.status_code,
        answer.json(),
    )
    [slip] = await Deliveries(gateway.redis.client).find(dead["id"])
    assert ("waiting", NOON + 5_000, "sent again by grace") == (
        slip.row.state,
        slip.row.due,
        slip.row.reason,
    )
    assert [] == (await asked(gateway, state="dead"))["deliveries"]


async def test_what_people_do_happens_in_their_time(gateway: Stand) -> None:
    """
    Where the data's clock runs ahead of the wall's, as in a demo, a delivery is still sent again at
    once and not when the data's time has come, and a storm is decided about today.
    """
    await some(gateway)
    gateway.wall = NOON + 5_000
    gateway.now = NOON + 40 * DAY_MS
    [dead] = (await asked(gateway, state="dead"))["deliveries"]

    await gateway.http.post(f"/deliveries/{dead['id']}/resend", json={})
    decided = (await gateway.http.post("/storm/release", json={})).json()

    [slip] = await Deliveries(gateway.redis.client).find(dead["id"])
    assert (NOON + 5_000, NOON + 5_000) == (slip.row.due, slip.row.updated)
    assert NOON + 5_000 == to_ms(datetime.fromisoformat(decided["at"]))


async def test_the_held_out_are_not_told_by_a_click(gateway: Stand) -> None:
    """
    Whoever sends the alert of a control again is told why not.
    """
    alert = churn_alert(user_id="ada", arm="control")
    row = await delivered(gateway.redis, alert, "crm", ("control",))

    answer = await gateway.http.post(f"/deliveries/{row.row_id}/resend", json={})

    assert "held out" in answer.json()["deliveries"][row.row_id]


async def test_an_unknown_delivery_is_404(gateway: Stand) -> None:
    """
    With the way to one.
    """
    answer = await gateway.http.post("/deliveries/nothing:crm/resend", json={})

    assert (404, "urn:ebbtide:problem:unknown-delivery") == (
        answer.status_code,
        answer.json()["type"],
    )


async def test_a_storm_is_shown_and_decided_about(gateway: Stand) -> None:
    """
    What rages, what is held, who decided what; the order waits for the dispatcher.
    """
    alert = churn_alert(user_id="ada")
    await delivered(gateway.redis, alert, "crm", ("held",))
    state = StormState(incident_id="i", since=NOON, crossed=50, active=100, cause="A new model")
    await gateway.redis.set(keys.dispatch("storm"), msgspec.json.encode(state))

    decided = await gateway.http.post("/storm/release", json={"actor": "grace"})
    answer = await asked(gateway, "/storm")

    assert (202, "release", "grace", 1) == (
        decided.status_code,
        *(decided.json()[name] for name in ("order", "actor", "held")),
    )
    assert (
        Decided(order="release", actor="grace", at=NOON)
        == await Deliveries(gateway.redis.client).order()
    )
    assert (50, "A new model", True) == tuple(
        answer["raging"][name] for name in ("crossed", "cause", "holding")
    )
    assert (1, "grace", None) == (answer["held"], answer["pending"]["actor"], answer["last"])


async def test_without_a_storm_nothing_rages(gateway: Stand) -> None:
    """
    And nothing is held.
    """
    assert {"raging": None, "held": 0, "pending": None, "last": None} == await asked(
        gateway, "/storm"
    )


async def test_the_policy_is_told_without_what_is_secret(gateway: Stand) -> None:
    """
    Rules and channels by name; no address, no secret.
    """
    assert {"policy": None} == await asked(gateway, "/policy")
    said = Delivery.model_validate(
        {"channels": [{"name": "team", "kind": "slack", "url": "https://hooks.example/T0PSECRET"}]}
    )
    policy = Policy((Rule(threshold=0.6, channels=("team",)),), said.channels, said.storm)

    await PolicyTold(gateway.redis.client, lambda: NOON).tell(policy)

    answer = await gateway.http.get("/policy")
    told = answer.json()["policy"]
    assert "T0PSECRET" not in answer.text
    assert [("default", 0.6, ["team"])] == [
        (rule["name"], rule["threshold"], rule["channels"]) for rule in told["rules"]
    ]
    assert [("team", "slack")] == [(one["name"], one["kind"]) for one in told["channels"]]
    assert policy.digest == told["digest"]
