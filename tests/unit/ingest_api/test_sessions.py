"""Logging in and out of the dashboard."""

from __future__ import annotations

import asyncio
import json

import pytest

from contracts.errors import StoreUnavailable
from contracts.times import HOUR_MS, SECOND_MS, from_ms
from ingest_api import access_keys
from ingest_api.access_gate import COOKIE
from ingest_api.access_keys import ApiKey
from ingest_api.sessions import (
    FAILURES_MS,
    FRESH_MS,
    GRACE_MS,
    MOST_FAILURES,
    Failures,
    RedisSessions,
    Sessions,
    digest_of,
)
from tests.unit.ingest_api.keyed import KEYS, PAGE, bearing, keyed, lines, log_in
from tests.unit.ingest_api.stand import NOON, ServingRedis

KEY = ApiKey("crm", access_keys.scopes_of(["read"]), b"\1" * 32)


def sessions(redis: ServingRedis, now: list[int]) -> Sessions:
    """The sessions of one gateway."""
    return Sessions(RedisSessions(redis.client), lambda: now[0])


async def test_a_login_is_a_cookie_that_no_script_reads_and_no_other_site_sends(tmp_path):
    """
    HttpOnly, SameSite=Strict, for the whole site, as long as the session; the key is not in it.
    """
    async with keyed(tmp_path, session_hours=2) as gateway:
        answer = await log_in(gateway, "grace")
        who = await gateway.http.get("/session")

    name, *marks = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"{COOKIE}=")
    assert {"Path=/", "Max-Age=7200", "HttpOnly", "SameSite=Strict"} == set(marks)
    assert "ebb_grace" not in answer.headers["set-cookie"] + answer.text
    told = {
        "needs_key": True, "name": "grace", "via": "session", "scopes": ["read", "operate"],
        "expires_at": from_ms(NOON + 2 * HOUR_MS).isoformat().replace("+00:00", "Z"),
    }  # fmt: skip
    assert told == answer.json() == who.json()


async def test_over_https_the_cookie_is_of_this_host_only(tmp_path):
    """
    Secure, and under a name that browsers take from nobody else.
    """
    async with keyed(tmp_path) as gateway:
        answer = await gateway.http.post(
            "/session", json={"key": "ebb_crm"},
            headers=PAGE | {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7"},
        )  # fmt: skip

    assert answer.headers["set-cookie"].startswith(f"__Host-{COOKIE}=")
    assert "Secure" in answer.headers["set-cookie"].split("; ")


async def test_where_people_use_https_a_neighbours_cookie_is_none(tmp_path):
    """
    A page of another subdomain can set a cookie, but not one with the prefix.
    """
    async with keyed(tmp_path, public_url="https://churn.example") as gateway:
        login = await log_in(gateway, "crm", origin="https://churn.example")
        token = login.headers["set-cookie"].partition(";")[0].partition("=")[2]
        tossed = await gateway.http.get("/users", headers={"cookie": f"{COOKIE}={token}"})
        right = await gateway.http.get("/users", headers={"cookie": f"__Host-{COOKIE}={token}"})

    assert [401, 200] == [tossed.status_code, right.status_code]


async def test_who_has_not_logged_in_is_told_that_a_key_is_needed(tmp_path, gateway):
    """
    `/session` answers everybody, so that a page knows what to show.
    """
    async with keyed(tmp_path) as guarded:
        nobody = (await guarded.http.get("/session")).json()
        program = (await guarded.http.get("/session", headers=bearing("shop"))).json()
    anybody = (await gateway.http.get("/session")).json()

    assert (True, None, []) == (nobody["needs_key"], nobody["name"], nobody["scopes"])
    assert ("key", "shop", ["write"]) == (program["via"], program["name"], program["scopes"])
    assert (False, "open", 3) == (anybody["needs_key"], anybody["via"], len(anybody["scopes"]))


async def test_a_login_sees_what_its_key_may_and_no_more(tmp_path):
    """
    A key that may look cannot act from the dashboard either.
    """
    async with keyed(tmp_path) as gateway:
        await log_in(gateway, "crm")
        looked = await gateway.http.get("/users")
        acted = await gateway.http.delete("/users/ada", headers=PAGE)
        predicted = await gateway.http.post("/predict", json={}, headers=PAGE)

    assert [200, 403, 403] == [a.status_code for a in (looked, acted, predicted)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"key": "ebb_shop"}, 403), ({"key": "wrong"}, 401), ({"key": ""}, 422), ({}, 422),
        ({"key": 1}, 422), ({"key": "x" * 257}, 422), ({"key": "ebb_crm", "next": "//evil"}, 422),
        ([], 422), ({"key": access_keys.digest("ebb_crm")}, 401),
    ],
)  # fmt: skip
async def test_what_is_no_key_for_the_dashboard_logs_nobody_in(tmp_path, body, status):
    """
    No cookie comes of it, and what was sent is not repeated.
    """
    async with keyed(tmp_path) as gateway:
        answer = await gateway.http.post("/session", json=body, headers=PAGE)

    assert status == answer.status_code
    assert "set-cookie" not in answer.headers
    assert "ebb_" not in answer.text


async def test_a_login_from_another_page_is_refused(tmp_path):
    """
    Nobody is logged in under a key that is not theirs.
    """
    async with keyed(tmp_path) as gateway:
        answer = await gateway.http.post(
            "/session", json={"key": "ebb_crm"}, headers={"origin": "https://evil.example"}
        )
        form = await gateway.http.post(
            "/session", content=json.dumps({"key": "ebb_crm"}),
            headers={"content-type": "text/plain"},
        )  # fmt: skip

    assert [403, 415] == [answer.status_code, form.status_code]
    assert "set-cookie" not in answer.headers


async def test_a_login_never_goes_on_under_an_id_from_before_it(tmp_path):
    """
    Whoever planted an id in the browser (fixation) holds nothing after the login; the one before
    it ends, too.
    """
    async with keyed(tmp_path) as gateway:
        planted = {"cookie": f"{COOKIE}=planted"}
        first = await gateway.http.post("/session", json={"key": "ebb_crm"}, headers=PAGE | planted)
        mine = first.headers["set-cookie"].partition(";")[0]
        gateway.http.cookies.clear()
        second = await gateway.http.post(
            "/session", json={"key": "ebb_grace"}, headers=PAGE | {"cookie": mine}
        )
        gateway.http.cookies.clear()
        ours = second.headers["set-cookie"].partition(";")[0]
        answers = [
            (await gateway.http.get("/users", headers={"cookie": cookie})).status_code
            for cookie in (f"{COOKIE}=planted", mine, ours)
        ]

    assert [401, 401, 200] == answers


async def test_a_logout_ends_the_session_and_takes_the_cookie_back(tmp_path):
    """
    Whoever copied the cookie has nothing of it either.
    """
    async with keyed(tmp_path) as gateway:
        login = await log_in(gateway, "crm")
        copied = {"cookie": login.headers["set-cookie"].partition(";")[0]}
        left = await gateway.http.delete("/session", headers=PAGE)
        after = await gateway.http.get("/users")
        gateway.http.cookies.clear()
        stolen = await gateway.http.get("/users", headers=copied)

    assert [204, 401, 401] == [left.status_code, after.status_code, stolen.status_code]
    assert all("Max-Age=0" in cookie for cookie in left.headers.get_list("set-cookie"))


async def test_no_other_page_logs_anybody_out(tmp_path):
    """
    A logout is a change like others.
    """
    async with keyed(tmp_path) as gateway:
        await log_in(gateway, "crm")
        foreign = await gateway.http.delete("/session", headers={"origin": "https://evil.example"})

        assert 403 == foreign.status_code
        assert 200 == (await gateway.http.get("/users")).status_code


async def test_redis_holds_neither_keys_nor_ids(tmp_path):
    """
    Who reads a dump of Redis can log in nowhere.
    """
    async with keyed(tmp_path) as gateway:
        login = await log_in(gateway, "crm")
        token = login.headers["set-cookie"].partition(";")[0].partition("=")[2]
        held = repr(gateway.redis.state.strings)

    assert "crm" in held
    assert token not in held
    assert "ebb_crm" not in held


async def test_taking_the_key_back_ends_its_logins(tmp_path):
    """
    A session is worth what its key is worth now.
    """
    async with keyed(tmp_path) as gateway:
        await log_in(gateway, "grace")
        (tmp_path / "keys.yaml").write_text(lines({"grace": ("ebb_grace", ("read",))}))
        gateway.keys.look()
        narrowed = await gateway.http.delete("/users/ada", headers=PAGE)
        (tmp_path / "keys.yaml").write_text("[]\n")
        gateway.keys.look()
        ended = await gateway.http.get("/users")

    assert [403, 401] == [narrowed.status_code, ended.status_code]


async def test_wrong_keys_from_one_address_are_not_listened_to_for_long(tmp_path):
    """
    After ten, even the right one has to wait; another address has not.
    """
    async with keyed(tmp_path) as gateway:
        for _ in range(MOST_FAILURES):
            wrong = await gateway.http.post("/session", json={"key": "no"}, headers=PAGE)
            assert 401 == wrong.status_code
        late = await log_in(gateway, "crm")
        other = await log_in(gateway, "crm", **{"x-forwarded-for": "192.0.2.99"})
        gateway.wall[0] += FAILURES_MS
        again = await log_in(gateway, "crm")

    assert [429, 200, 200] == [late.status_code, other.status_code, again.status_code]
    assert FAILURES_MS // SECOND_MS == int(late.headers["retry-after"])


def test_addresses_of_one_ipv6_network_count_together():
    """
    One customer has all of a /64.
    """
    failures = Failures(lambda: NOON)
    for number in range(MOST_FAILURES):
        failures.note(f"2001:db8:0:1::{number:x}")

    assert failures.wait_seconds("2001:db8:0:1:ffff::1") > 0
    assert 0 == failures.wait_seconds("2001:db8:0:2::1")
    assert 0 == failures.wait_seconds("not an address")


async def test_gateways_share_sessions_and_hear_of_a_logout():
    """
    What one opened another knows, and no longer than a look's time after its end.
    """
    redis, now = ServingRedis(), [NOON]
    here, there = sessions(redis, now), sessions(redis, now)
    token, session = await here.open(KEY)
    digest = digest_of(token)

    assert session == await there.find(digest)
    await here.close(digest)
    assert await here.find(digest) is None
    now[0] += FRESH_MS
    assert await there.find(digest) is None


async def test_a_logout_beats_a_look_that_is_under_way():
    """
    What Redis said before the logout does not bring the session back.
    """
    redis, now = ServingRedis(), [NOON]
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(RedisSessions):
        async def get(self, digest: str) -> bytes | None:
            found = await super().get(digest)
            asked.set()
            await answer.wait()
            return found

    here = Sessions(Slow(redis.client), lambda: now[0])
    digest = digest_of((await here.open(KEY))[0])
    now[0] += FRESH_MS
    looking = asyncio.create_task(here.find(digest))
    await asked.wait()
    await here.close(digest)
    answer.set()

    assert await looking is None
    assert await here.find(digest) is None


async def test_a_session_ends_by_itself():
    """
    After its hours, or with its key; Redis forgets it at the same time.
    """
    redis, now = ServingRedis(), [NOON]
    for key, lifetime in ((KEY, 12 * HOUR_MS), (ApiKey("x", KEY.scopes, b"x", NOON + 5), 5)):
        mine = sessions(redis, now)
        digest = digest_of((await mine.open(key))[0])
        assert lifetime == redis.state.lifetimes_ms[f"ebb:session:{digest}"]
        now[0] = NOON + lifetime - 1
        assert await mine.find(digest) is not None
        now[0] += 1
        assert await mine.find(digest) is None
        now[0] = NOON


async def test_while_redis_is_away_who_was_seen_lately_goes_on():
    """
    The page that shows that Redis is away is wanted then; a stranger, and a forgotten one, wait.
    """
    redis, now = ServingRedis(), [NOON]
    here, there = sessions(redis, now), sessions(redis, now)
    token, session = await here.open(KEY)
    digest = digest_of(token)

    redis.away = True
    now[0] += FRESH_MS
    assert session == await here.find(digest)
    with pytest.raises(StoreUnavailable):
        await there.find(digest)
    now[0] = NOON + GRACE_MS
    with pytest.raises(StoreUnavailable):
        await here.find(digest)


async def test_a_logout_while_redis_is_away_holds_here_and_says_so(tmp_path):
    """
    This gateway has forgotten the session for good; others are told of by the answer.
    """
    async with keyed(tmp_path) as gateway:
        await log_in(gateway, "crm")
        gateway.redis.away = True
        left = await gateway.http.delete("/session", headers=PAGE)
        gateway.redis.away = False
        after = await gateway.http.get("/users")

    assert [503, 401] == [left.status_code, after.status_code]
    assert "others may know it until" in left.json()["detail"]


async def test_without_redis_keys_work_and_logins_wait(tmp_path):
    """
    A key needs nobody; a login is a 503 that says what is missing.
    """
    async with keyed(tmp_path) as gateway:
        gateway.redis.away = True
        key = await gateway.http.get("/model", headers=bearing("crm"))
        login = await log_in(gateway, "crm")
        cookie = await gateway.http.get("/model", headers={"cookie": f"{COOKIE}=unknown"})

    assert [200, 503, 503] == [key.status_code, login.status_code, cookie.status_code]
    assert "urn:ebbtide:problem:sessions-unavailable" == login.json()["type"]


async def test_a_key_that_ends_soon_makes_a_session_that_ends_with_it(tmp_path):
    """
    Nobody stays longer by logging in.
    """
    path = tmp_path / "keys.yaml"
    digest = access_keys.digest(KEYS["crm"][0])
    until = from_ms(NOON + HOUR_MS)
    path.write_text(access_keys.line("crm", access_keys.scopes_of(["read"]), digest, until))
    async with keyed(tmp_path) as gateway:
        told = (await log_in(gateway, "crm")).json()
        gateway.wall[0] += HOUR_MS
        after = await gateway.http.get("/users")

    assert until.isoformat().replace("+00:00", "Z") == told["expires_at"]
    assert 401 == after.status_code
