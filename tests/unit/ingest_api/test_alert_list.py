"""`GET /alerts`, `GET /alerts/{id}` and `GET /alerts/verdicts`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.alerts import AlertKind, ChurnAlert
from contracts.times import DAY_MS, HOUR_MS, from_ms
from runtime.alert_history import KEPT_OF_USER
from tests.churn_alerts import churn_alert
from tests.unit.ingest_api.alert_store import alerted, delivered, said
from tests.unit.ingest_api.stand import NOON, Stand, standing

KINDS: tuple[AlertKind, ...] = (
    "opened", "escalated", "acknowledged", "snoozed", "resolved", "churned",
)  # fmt: skip


def alert(
    kind: AlertKind = "opened", user_id: str = "ada", hours: int = 0, **more: Any
) -> ChurnAlert:
    at_ms = NOON + hours * HOUR_MS
    return churn_alert(kind, user_id=user_id, at_ms=at_ms, offset=hours + 1, **more)


async def asked(gateway: Stand, path: str = "/alerts", **query: Any) -> dict[str, Any]:
    answer = await gateway.http.get(path, params=query)
    assert 200 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [one["alert_id"] for one in answer["alerts"]]


@given(
    moments=st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abcdefgh")), max_size=60),
    limit=st.integers(1, 7),
    kinds=st.sets(st.sampled_from(KINDS), max_size=3),
)
async def test_pages_hold_every_alert_once_newest_first(
    moments: list[tuple[int, str]], limit: int, kinds: set[AlertKind]
) -> None:
    """
    Also where many occurred at the same moment, and whatever is left out by the filter.
    """
    alerts = {
        one.alert_id: one
        for n, (hours, user) in enumerate(moments)
        if (one := churn_alert(KINDS[n % 6], user_id=user, at_ms=NOON + hours * HOUR_MS, offset=n))
    }
    wanted = sorted(
        (one for one in alerts.values() if not kinds or one.kind in kinds),
        key=lambda one: (one.occurred_at, one.alert_id),
        reverse=True,
    )
    async with standing() as gateway:
        for one in alerts.values():
            await alerted(gateway.redis, one)
        seen: list[str] = []
        query: dict[str, Any] = {"limit": limit, "kind": sorted(kinds)}
        while True:
            answer = await asked(gateway, **query)
            seen += ids(answer)
            if answer["next"] is None:
                break
            query["cursor"] = answer["next"]

    assert [one.alert_id for one in wanted] == seen


async def test_filters_choose_and_combine(gateway: Stand) -> None:
    """
    Rule, severity, arm, time and user each narrow the list.
    """
    first = alert(user_id="ada")
    held_out = alert(user_id="bob", hours=1, arm="control", severity="critical")
    last = alert(user_id="cy", hours=2, severity="critical")
    await alerted(gateway.redis, first, held_out, last)

    for query, expected in (
        ({}, [last, held_out, first]),
        ({"severity": "critical"}, [last, held_out]),
        ({"severity": "critical", "arm": "treated"}, [last]),
        ({"arm": "control"}, [held_out]),
        ({"rule": "other"}, []),
        ({"user": "ada"}, [first]),
        ({"user": "ada", "arm": "control"}, []),
        ({"since": from_ms(NOON + HOUR_MS).isoformat()}, [last, held_out]),
        ({"until": from_ms(NOON + HOUR_MS).isoformat()}, [held_out, first]),
    ):
        assert [one.alert_id for one in expected] == ids(await asked(gateway, **query)), query


async def test_open_ones_are_found_however_long_ago_they_opened(gateway: Stand) -> None:
    """
    One entry for each episode, its newest alert; whoever has come back is not among them.
    """
    await alerted(gateway.redis, alert(user_id="ada"), alert("escalated", "ada", 3))
    await alerted(gateway.redis, alert(user_id="bob", hours=1), alert("acknowledged", "bob", 2))
    await alerted(gateway.redis, alert(user_id="cy"), alert("resolved", "cy", 5))
    gateway.redis.state.zsets = {
        name: members for name, members in gateway.redis.state.zsets.items() if "alerts" not in name
    }  # the latest of everybody have long been trimmed

    every = await asked(gateway, state=["open", "acknowledged", "snoozed"])
    nobody_took_on = await asked(gateway, state="open")

    assert ["escalated", "acknowledged"] == [one["kind"] for one in every["alerts"]]
    assert ["ada"] == [one["user_id"] for one in nobody_took_on["alerts"]]
    assert 2 == every["open"]
    assert [] == (await asked(gateway, state="open", user="cy"))["alerts"]
    assert ["ada"] == [
        one["user_id"] for one in (await asked(gateway, state="open", user="ada"))["alerts"]
    ]


async def test_an_open_episode_of_long_ago_is_counted_no_more(gateway: Stand) -> None:
    """
    Ninety days after its last alert.
    """
    await alerted(gateway.redis, alert(user_id="ada"))
    assert 1 == (await asked(gateway))["open"]

    gateway.now += 91 * DAY_MS

    assert 0 == (await asked(gateway))["open"]


async def test_ends_are_a_state_too(gateway: Stand) -> None:
    """
    `resolved` and `churned` find the alerts that ended episodes.
    """
    await alerted(gateway.redis, alert(user_id="ada"), alert("resolved", "ada", 2))
    await alerted(gateway.redis, alert("churned", "bob", 1))

    answer = await asked(gateway, state=["resolved", "churned"])

    assert ["resolved", "churned"] == [one["kind"] for one in answer["alerts"]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"state": ["open", "resolved"]}, "state"),
        ({"state": "open", "kind": "opened"}, "state"),
        ({"cursor": "!"}, "cursor"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"limit": 0}, "limit"),
        ({"kind": "gone"}, "kind.0"),
    ],
)
async def test_a_filter_that_does_not_fit_is_named(
    gateway: Stand, query: dict[str, Any], field: str
) -> None:
    """
    422 with the parameter and what would fit.
    """
    answer = await gateway.http.get("/alerts", params=query)

    assert 422 == answer.status_code
    assert [field] == [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("named_by", ["alert_id", "dedup_key"])
async def test_one_alert_comes_with_its_lifecycle_its_deliveries_and_its_verdict(
    gateway: Stand, named_by: str
) -> None:
    """
    By either id; asked for by the episode's, it is the latest.
    """
    first, second = alert(), alert("escalated", hours=2)
    await alerted(gateway.redis, first, second)
    await delivered(gateway.redis, first, states=("dead",), reason="answered 404")
    await delivered(gateway.redis, second, "team", states=("sent",))
    await said(gateway.redis, first, "helped")

    answer = await asked(gateway, f"/alerts/{getattr(first, named_by)}")

    expected = first if named_by == "alert_id" else second
    assert expected.alert_id == answer["alert"]["alert_id"]
    assert ["opened", "escalated"] == [one["kind"] for one in answer["lifecycle"]]
    assert "open" == answer["state"]
    assert {("crm", "dead", "answered 404"), ("team", "sent", "")} == {
        (one["channel"], one["state"], one["reason"]) for one in answer["deliveries"]
    }
    assert ("helped", "grace", "default") == tuple(
        answer["verdict"][name] for name in ("verdict", "actor", "rule")
    )


async def test_an_alert_nobody_knows_is_answered_with_the_way_to_one(gateway: Stand) -> None:
    """
    404, as a problem.
    """
    answer = await gateway.http.get("/alerts/nothing")

    assert 404 == answer.status_code
    assert "urn:ebbtide:problem:unknown-alert" == answer.json()["type"]
    assert "GET /alerts" in answer.json()["detail"]


async def test_of_a_user_the_latest_alerts_are_kept(gateway: Stand) -> None:
    """
    As many as are kept, and no one twice, however often the worker tells them again.
    """
    alerts = [alert("escalated", hours=n) for n in range(KEPT_OF_USER + 5)]
    await alerted(gateway.redis, *alerts)
    await alerted(gateway.redis, alerts[-1])

    answer = await asked(gateway, user="ada", limit=100)

    assert [one.alert_id for one in alerts[:4:-1]] == ids(answer)


async def test_the_last_verdict_on_an_episode_counts(gateway: Stand) -> None:
    """
    By rule, and the latest first.
    """
    ada, bob = alert(user_id="ada"), alert(user_id="bob")
    await alerted(gateway.redis, ada, bob)
    await said(gateway.redis, ada, "wrong")
    await said(gateway.redis, bob, "duplicate", at_ms=NOON + 1)
    await said(gateway.redis, ada, "helped", at_ms=NOON + 2)

    answer = await asked(gateway, "/alerts/verdicts")

    assert [{"rule": "default", "helped": 1, "wrong": 0, "duplicate": 1}] == answer["counts"]
    assert [("ada", "helped"), ("bob", "duplicate")] == [
        (one["user_id"], one["verdict"]) for one in answer["verdicts"]
    ]
    assert ["bob"] == [
        one["user_id"] for one in (await asked(gateway, "/alerts/verdicts", user="bob"))["verdicts"]
    ]


async def test_without_redis_the_answer_says_to_come_again(gateway: Stand) -> None:
    """
    503 with Retry-After, of every list.
    """
    gateway.redis.away = True

    for path in ("/alerts", "/alerts/x", "/alerts/verdicts", "/alerts/effect", "/deliveries"):
        answer = await gateway.http.get(path)

        assert (503, True) == (answer.status_code, "Retry-After" in answer.headers), path
