"""Who did what is logged, kept within bounds, and shown."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from contracts.commands import decode_command
from contracts.times import from_ms
from ingest_api import audit
from ingest_api.audit import QUEUED_MOST, Act, RedisAudit, Trail
from ingest_api.records import RedisUsers
from runtime import keys
from runtime.alert_index import Found
from tests.unit.ingest_api.keyed import PAGE, bearing, keyed, log_in
from tests.unit.ingest_api.stand import NOON, ServingRedis, Stand


async def acts(gateway: Stand, **query: int) -> list[dict]:
    """The audit log, once what was done has been written."""
    for _ in range(50):
        await asyncio.sleep(0)
    answer = await gateway.http.get("/audit", params=query, headers=bearing("ops"))
    assert 200 == answer.status_code
    return answer.json()["acts"]


async def test_actions_are_told_with_who_what_when_and_what_came_of_it(tmp_path):
    """
    By key and by login, done and refused, newest first; what was only looked at is not told.
    """
    async with keyed(tmp_path) as gateway:
        await gateway.http.delete("/users/ada", headers=bearing("admin"))
        await gateway.http.delete("/users/bob", headers=bearing("crm"))
        await gateway.http.get("/users", headers=bearing("crm"))
        await gateway.http.post("/events", json={}, headers=bearing("shop"))
        await log_in(gateway, "grace")
        await gateway.http.post("/alerts/x/acknowledge", json={}, headers=PAGE)
        await gateway.http.delete("/session", headers=PAGE)
        told = await acts(gateway)

    assert [
        ("grace", "session", "logout", "/session", 204),
        ("grace", "session", "POST /alerts/{alert_id}/acknowledge", "/alerts/x/acknowledge", 404),
        ("grace", "session", "login", "/session", 200),
        ("crm", "key", "DELETE /users/bob", "/users/bob", 403),
        ("admin", "key", "DELETE /users/{user_id}", "/users/ada", 202),
    ] == [tuple(act[name] for name in ("who", "via", "action", "target", "status")) for act in told]
    assert {"127.0.0.1"} == {act["address"] for act in told}
    assert {"2026-09-21T12:00:00Z"} == {act["at"] for act in told}


async def test_each_act_is_a_line_of_the_log(tmp_path):
    """
    The log is the record: an event called `audit`, written before anything else can fail.
    """
    async with keyed(tmp_path) as gateway:
        gateway.redis.away = True
        with structlog.testing.capture_logs() as logged:
            await gateway.http.delete("/users/ada", headers=bearing("admin"))

    [line] = [line for line in logged if line["event"] == "audit"]
    assert ("admin", "/users/ada", 202) == (line["who"], line["target"], line["status"])


async def test_without_keys_it_is_told_that_nobody_had_to_say(gateway):
    """
    Actions are told all the same.
    """
    await gateway.http.delete("/users/ada")
    [act] = await acts(gateway)

    assert ("", "open", "DELETE /users/{user_id}") == (act["who"], act["via"], act["action"])


async def test_failed_logins_cannot_push_out_what_was_done(tmp_path):
    """
    Whoever has no key writes nothing into the audit log.
    """
    async with keyed(tmp_path) as gateway:
        await gateway.http.post("/session", json={"key": "no"}, headers=PAGE)
        await gateway.http.delete("/users/ada")
        await gateway.http.delete("/users/ada", headers={"authorization": "Bearer no"})

        assert [] == await acts(gateway)


async def test_whose_command_it_is_the_key_says_and_not_the_body(tmp_path, monkeypatch):
    """
    A claim counts only where nobody has to say who they are.
    """

    async def find(*_: object) -> Found:
        return Found("ada", "episode")

    monkeypatch.setattr(RedisUsers, "find_alert", find)
    said = {"actor": "somebody else"}
    async with keyed(tmp_path) as gateway:
        for path, body in (
            ("acknowledge", said), ("snooze", said | {"hours": 1}),
            ("verdict", said | {"verdict": "helped"}),
        ):  # fmt: skip
            answer = await gateway.http.post(
                f"/alerts/x/{path}", json=body, headers=bearing("grace")
            )
            assert 202 == answer.status_code
        commands = [decode_command(message.value) for message in gateway.log.messages]

    assert ["grace"] * 3 == [command.actor for command in commands]


async def test_it_is_kept_within_bounds(monkeypatch):
    """
    The oldest go first, and pages of it do not overlap.
    """
    monkeypatch.setattr(audit, "KEPT", 5)
    store = RedisAudit(ServingRedis().client)
    for number in range(8):
        await store.append([b"%d" % number], "action")

    assert [b"7", b"6"] == await store.latest(2, 0, "action")
    assert [b"5", b"4"] == await store.latest(2, 2, "action")
    assert [b"3"] == await store.latest(2, 4, "action")
    assert [] == await store.latest(2, 6, "action")


async def test_while_redis_is_away_nothing_waits_and_nothing_breaks():
    """
    What is queued is written when it can be, and what is too much is only logged.
    """
    redis = ServingRedis()
    trail = Trail(RedisAudit(redis.client))
    act = Act(from_ms(NOON), "grace", "key", "DELETE /users/{user_id}", "/users/a", 202, "")
    redis.away = True
    writing = asyncio.create_task(trail.run())
    for _ in range(QUEUED_MOST + 10):
        trail.note(act)
    for _ in range(50):
        await asyncio.sleep(0)
    redis.away = False
    trail.note(act)
    for _ in range(50):
        await asyncio.sleep(0)
    writing.cancel()

    assert 1 == len(redis.state.lists[keys.AUDIT])


async def test_who_may_not_act_may_not_read_who_did(tmp_path):
    """
    The audit log names people and erased users.
    """
    async with keyed(tmp_path) as gateway:
        answer = await gateway.http.get("/audit", headers=bearing("crm"))
        gateway.redis.away = True
        away = await gateway.http.get("/audit", headers=bearing("ops"))

    assert [403, 503] == [answer.status_code, away.status_code]
    assert "urn:ebbtide:problem:audit-unavailable" == away.json()["type"]


@pytest.mark.parametrize(
    "path", ["/users/" + "x" * 5000, "/users/\ud800", "/users/a\nb", "/\x1b[2J\u202e"]
)
def test_a_path_is_told_shortened_and_as_one_value(path):
    """
    What a client sent becomes a value of a field, no line of its own and no order to a terminal.
    """
    told = audit.shortened(path)

    assert len(told) < 310
    assert told.isprintable()
    assert "/users/für ☂" == audit.shortened("/users/für ☂")
