"""The gate under attack: keys and headers, pages of others, names of others, long answers."""

from __future__ import annotations

import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry

from contracts.times import DAY_MS, from_ms
from ingest_api import access_keys
from ingest_api.access import CALLER, Scope
from ingest_api.access_gate import STILL_GOOD_MS, Access, Gate
from ingest_api.access_keys import KeysFile
from ingest_api.audit import Trail
from ingest_api.metrics import GatewayMetrics
from tests.unit.ingest_api.keyed import KEYS, PAGE, bearing, keyed, lines, log_in
from tests.unit.ingest_api.stand import NOON, TOTALS, Stand

EVENT = {"user_id": "ada", "type": "login"}
BEARER = b"Bearer ebb_admin"
FOREIGN = {"origin": "https://evil.example"}


def gate(access: Access, app=None) -> Gate:
    """The gate alone."""

    async def nothing(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return Gate(app or nothing, access, GatewayMetrics(CollectorRegistry()), Trail(None))


async def asked(front, method="GET", path="/users", headers=(), **more):
    """Status and problem that a request of these raw headers gets."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": b"", "root_path": "", "headers": list(headers), "client": ("192.0.2.1", 1),
        **more,
    }  # fmt: skip
    await front(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    problem = json.loads(body or b"{}").get("type", "").rpartition(":")[2]
    return sent[0]["status"], problem


def with_keys(folder, **more) -> Access:
    """Access by the keys of these tests."""
    path = folder / "keys.yaml"
    path.write_text(lines())
    return Access(keys=KeysFile(path), now=lambda: NOON, **more)


@pytest.mark.parametrize(
    "value",
    [
        b"", b"Bearer", b"Bearer ", b"ebb_admin", b"Basic ebb_admin", b"Bearer ebb_admin,x",
        b"Bearer ebb_adm", b"Bearer ebb_adminn", b"Bearer EBB_ADMIN", b"Bearer\tebb_admin",
        b"Bearer ebb_admin ebb_admin", b"Bearer \xff\xfe", b"Bearer " + b"x" * 60_000,
        b"Bearer ebb_admin\x00", b'Bearer "ebb_admin"', b"Bearer Bearer ebb_admin",
        "Bearer ébb_admin".encode(), b"Bearer " + b"0" * 64,
    ],
)  # fmt: skip
async def test_whatever_is_no_key_is_401(tmp_path, value):
    """
    Nonsense, another scheme, a part of a key, other letters, bytes that are no text: none gets in.
    """
    front = gate(with_keys(tmp_path))

    assert (401, "no-key") == await asked(front, headers=[(b"authorization", value)])


@pytest.mark.parametrize("value", [BEARER, b"bearer ebb_admin", b"BEARER   ebb_admin  "])
async def test_a_key_is_taken_however_its_scheme_is_written(tmp_path, value):
    """
    Schemes have no case (RFC 9110), and blanks around a key are none of it.
    """
    front = gate(with_keys(tmp_path))

    assert (204, "") == await asked(front, headers=[(b"authorization", value)])


async def test_the_digest_is_no_key(tmp_path):
    """
    Who reads the file of keys can ask for nothing.
    """
    front = gate(with_keys(tmp_path))
    digest = access_keys.digest("ebb_admin").encode()

    assert (401, "no-key") == await asked(front, headers=[(b"authorization", b"Bearer " + digest)])


@pytest.mark.parametrize("order", [(BEARER, b"Bearer x"), (b"Bearer x", BEARER), (BEARER, BEARER)])
async def test_two_keys_are_none(tmp_path, order):
    """
    A proxy may read one header and we another: who sends two is not let in.
    """
    front = gate(with_keys(tmp_path))

    assert (401, "no-key") == await asked(
        front, headers=[(b"authorization", value) for value in order]
    )
    assert not front.may_write([(b"authorization", value) for value in order])


async def test_a_wrong_key_is_not_helped_out_by_a_cookie(tmp_path):
    """
    The header goes first: what was asked with a wrong key is refused, logged in or not.
    """
    async with keyed(tmp_path) as gateway:
        await log_in(gateway, "grace")
        good = await gateway.http.get("/users")
        bad = await gateway.http.get("/users", headers={"authorization": "Bearer no"})

    assert [200, 401] == [good.status_code, bad.status_code]


async def test_a_refusal_says_what_would_do(tmp_path):
    """
    Problem details, with WWW-Authenticate naming the scheme, the error, and the scope.
    """
    async with keyed(tmp_path) as gateway:
        none = await gateway.http.get("/users")
        wrong = await gateway.http.get("/users", headers={"authorization": "Bearer x"})
        other = await gateway.http.delete("/users/ada", headers=bearing("crm"))

    assert ["Bearer" in answer.headers["www-authenticate"] for answer in (none, wrong, other)]
    assert "invalid_token" not in none.headers["www-authenticate"]
    assert "invalid_token" in wrong.headers["www-authenticate"]
    assert 'scope="operate"' in other.headers["www-authenticate"]
    assert {"application/problem+json"} == {
        answer.headers["content-type"] for answer in (none, wrong, other)
    }
    said = "this needs the scope 'operate', and the key 'crm' has read"
    assert said == other.json()["detail"]


async def test_a_key_ends_when_it_says(tmp_path):
    """
    At its last moment it is still good, and from then on it is none.
    """
    path = tmp_path / "keys.yaml"
    scopes = access_keys.scopes_of(["read"])
    until = from_ms(NOON + DAY_MS)
    path.write_text(access_keys.line("shop", scopes, access_keys.digest("ebb_shop"), until))
    async with keyed(tmp_path) as gateway:
        gateway.wall[0] = NOON + DAY_MS - 1
        before = await gateway.http.get("/users", headers=bearing("shop"))
        gateway.wall[0] += 1
        after = await gateway.http.get("/users", headers=bearing("shop"))

    assert [200, 401] == [before.status_code, after.status_code]


def test_the_quick_way_takes_who_may_write_and_leaves_the_rest_to_the_routes(tmp_path):
    """
    No key, another scope, a cookie, a page's request: nothing is answered past the gate.
    """
    quick = gate(with_keys(tmp_path)).may_write
    host = (b"host", b"churn.example")

    def held(name: str) -> tuple[bytes, bytes]:
        return b"authorization", f"Bearer {KEYS[name][0]}".encode()

    assert quick([host, held("shop")])
    assert quick([held("admin"), (b"x-forwarded-for", b"192.0.2.7")])
    assert not quick([host])
    assert not quick([host, held("crm")])
    assert not quick([host, held("shop"), (b"origin", b"https://evil.example")])
    assert not quick([host, (b"cookie", b"ebbtide-session=x")])


def test_without_keys_the_quick_way_knows_its_names():
    """
    Another name, a page of others and a proxy go the long way, where they are judged.
    """
    quick = gate(Access()).may_write
    here = (b"host", b"localhost:8000")

    assert quick([here])
    assert quick([])
    assert not quick([(b"host", b"evil.example:8000")])
    assert not quick([here, (b"sec-fetch-site", b"cross-site")])
    assert not quick([here, (b"x-forwarded-for", b"192.0.2.7")])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 204), (b"LOCALHOST:8000", 204), (b"127.0.0.1:8000", 204), (b"[::1]:80", 204),
        (b"127.9.9.9", 204), (b"churn.example", 204), (b"Churn.Example:8000", 204),
        (b"evil.example", 421), (b"localhost.evil.example", 421), (b"127.0.0.1.evil.example", 421),
        (b"localhost.", 421),
        (b"evil.example:80@localhost", 421), (b"localhost@evil.example", 421), (b"", 421),
        (b"192.0.2.1", 421), (b"0.0.0.0", 421), (b"[::1", 421), (b"\xff", 421),
        (b"1evil.example", 421), (b"[::ffff:192.0.2.1]", 421),
    ],
)  # fmt: skip
async def test_without_keys_only_names_of_this_machine_are_answered_to(host, status):
    """
    A page that gives its own name our address (DNS rebinding) asks in vain.
    """
    front = gate(Access(allowed_hosts=("churn.example",)))

    assert status == (await asked(front, headers=[(b"host", host)]))[0]


async def test_two_names_are_none():
    """
    Of two Host headers neither counts.
    """
    headers = [(b"host", b"localhost"), (b"host", b"evil.example")]

    assert (421, "wrong-host") == await asked(gate(Access()), headers=headers)


async def test_what_came_through_a_proxy_needs_a_key():
    """
    A proxy on this machine makes everybody look like this machine: without keys, nobody is let in.
    """
    headers = [(b"host", b"localhost"), (b"x-forwarded-for", b"192.0.2.7")]

    assert (401, "no-key") == await asked(gate(Access()), headers=headers)
    assert (204, "") == await asked(gate(Access(allowed_hosts=("a.example",))), headers=headers)


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 204),
        ({b"origin": b"http://localhost:8000"}, 204),
        ({b"sec-fetch-site": b"same-origin", b"origin": b"http://other"}, 204),
        ({b"origin": b"http://localhost:9000"}, 403),
        ({b"origin": b"http://localhost"}, 403),
        ({b"origin": b"https://evil.example"}, 403),
        ({b"origin": b"http://localhost:8000.evil.example"}, 403),
        ({b"origin": b"null"}, 403),
        ({b"origin": b""}, 403),
        ({b"origin": b"localhost:8000"}, 403),
        ({b"sec-fetch-site": b"cross-site"}, 403),
        ({b"sec-fetch-site": b"same-site"}, 403),
        ({b"sec-fetch-site": b"none"}, 403),
        ({b"sec-fetch-site": b"cross-site", b"origin": b"https://known.example"}, 204),
    ],
)
async def test_pages_of_others_change_nothing_even_where_nobody_needs_a_key(method, said, status):
    """
    A visitor's browser reaches a gateway on loopback: what another page makes it send is refused.
    """
    front = gate(Access(cors_origins=("https://known.example",)))
    headers = [(b"host", b"localhost:8000"), *said.items()]

    assert status == (await asked(front, method, "/alerts/1/acknowledge", headers))[0]
    assert 204 == (await asked(front, "GET", "/alerts", headers))[0]


async def test_an_origin_that_is_none_is_nobodys_even_without_a_host():
    """
    What names no place is at no place of ours.
    """
    front = gate(Access())

    assert (403, "foreign-page") == await asked(
        front, "POST", "/storm/release", [(b"origin", b"null")]
    )


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (PAGE, 202),
        ({"ebbtide-page": "1", "origin": "http://gateway"}, 202),
        ({"ebbtide-page": "1"}, 403),
        ({"sec-fetch-site": "same-origin"}, 403),
        ({"ebbtide-page": "1", "origin": "https://evil.example"}, 403),
        ({"ebbtide-page": "1", "sec-fetch-site": "same-site"}, 403),
        ({"ebbtide-page": "1", "sec-fetch-site": "none"}, 403),
        ({}, 403),
    ],
)
async def test_with_a_login_changes_come_from_pages_of_ours(tmp_path, said, status):
    """
    The cookie comes along by itself: origin and header must both say that it is our page.
    """
    async with keyed(tmp_path, cors_origins=("https://evil.example",)) as gateway:
        await log_in(gateway, "grace")
        answer = await gateway.http.delete("/users/ada", headers=said)

        assert status == answer.status_code
        assert (status == 202) == bool(gateway.log.messages)


async def test_a_page_behind_a_proxy_is_ours_by_the_public_address(tmp_path):
    """
    Where the proxy gives the gateway another name, `EBBTIDE_PUBLIC_URL` says which pages are ours.
    """
    said = {"ebbtide-page": "1", "origin": "https://churn.example"}
    async with keyed(tmp_path, public_url="https://churn.example/") as gateway:
        login = await log_in(gateway, "grace", origin="https://churn.example")
        name, value = login.headers["set-cookie"].partition(";")[0].split("=")
        cookie = {"cookie": f"{name}={value}"}
        ours = await gateway.http.delete("/users/ada", headers=said | cookie)

    assert "__Host-" in name
    assert 202 == ours.status_code


async def test_pages_that_are_allowed_may_ask_with_a_key_and_no_others(tmp_path):
    """
    CORS names the origins of the list only, lets no cookie along, and 401 can be read there, too.
    """
    async with keyed(tmp_path, cors_origins=("https://crm.example",)) as gateway:
        asks = {"access-control-request-method": "POST",
                "access-control-request-headers": "authorization,content-type"}  # fmt: skip
        known = await gateway.http.options(
            "/predict", headers=asks | {"origin": "https://crm.example"}
        )
        other = await gateway.http.options("/predict", headers=asks | FOREIGN)
        refused = await gateway.http.get("/users", headers={"origin": "https://crm.example"})
        told = await gateway.http.post(
            "/predict", json=TOTALS, headers=bearing("shop") | {"origin": "https://crm.example"}
        )

    assert "https://crm.example" == known.headers["access-control-allow-origin"]
    assert "access-control-allow-credentials" not in known.headers
    assert "access-control-allow-origin" not in other.headers
    assert (401, "https://crm.example") == (
        refused.status_code, refused.headers["access-control-allow-origin"],
    )  # fmt: skip
    assert 200 == told.status_code


async def test_by_default_no_other_page_may_read_anything(gateway):
    """
    Without a list there is no CORS header, whatever is asked.
    """
    answer = await gateway.http.get("/users", headers=FOREIGN)

    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_every_answer_guards_itself(tmp_path):
    """
    No sniffing, no frame, no referrer, no cache, whether answered or refused.
    """
    async with keyed(tmp_path) as gateway:
        for path, headers in (
            ("/users", bearing("crm")), ("/users", {}), ("/nothing", bearing("crm")), ("/docs", {}),
            ("/livez", {}), ("/app/", {}), ("/app/none.js", {}),
        ):  # fmt: skip
            told = (await gateway.http.get(path, headers=headers)).headers
            assert "nosniff" == told["x-content-type-options"]
            assert "frame-ancestors 'none'" in told["content-security-policy"]
            assert "default-src 'none'" in told["content-security-policy"]
            assert "unsafe" not in told["content-security-policy"]
            assert "no-referrer" == told["referrer-policy"]
            assert "cache-control" in told
        people = await gateway.http.get("/users", headers=bearing("crm"))
        assert "no-store" == people.headers["cache-control"]


async def test_who_listens_is_told_no_more_when_the_key_is_taken_back(tmp_path):
    """
    A long answer ends soon after its key has left the file.
    """
    wall = [NOON]
    path = tmp_path / "keys.yaml"
    path.write_text(lines())
    keys = KeysFile(path)
    pieces: list[bytes] = []
    more = asyncio.Queue()

    async def endless(scope, receive, send):
        assert "crm" == scope[CALLER].name
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            piece = await more.get()
            if piece is None:
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def send(message):
        if message["type"] == "http.response.body":
            pieces.append((message["body"], message.get("more_body", False)))

    front = gate(Access(keys=keys, now=lambda: wall[0]), endless)
    scope = {
        "type": "http", "method": "GET", "path": "/alerts/stream",
        "headers": [(b"authorization", b"Bearer ebb_crm")],
    }  # fmt: skip
    listening = asyncio.create_task(front(scope, None, send))
    for number in range(4):
        if number == 2:
            path.write_text("[]\n")
            keys.look()
            wall[0] += STILL_GOOD_MS
        await more.put(b"%d" % number)
        for _ in range(9):
            await asyncio.sleep(0)
    await more.put(None)
    await listening

    assert [(b"0", True), (b"1", True), (b"", False)] == pieces


async def test_a_websocket_is_closed():
    """
    There is none, and one that comes to be is not open by itself.
    """
    sent = []

    async def send(message):
        sent.append(message["type"])

    await gate(Access())({"type": "websocket", "path": "/alerts", "headers": []}, None, send)

    assert ["websocket.close"] == sent


async def test_refusals_are_counted_by_their_reason(tmp_path):
    """
    Whoever watches the gateway sees that somebody tries.
    """
    async with keyed(tmp_path) as gateway:
        await gateway.http.get("/users")
        await gateway.http.get("/users", headers=bearing("shop"))
        told = (await gateway.http.get("/metrics", headers=bearing("crm"))).text

    assert 'ebbtide_http_requests_refused_total{reason="no-key"} 1.0' in told
    assert 'ebbtide_http_requests_refused_total{reason="not-allowed"} 1.0' in told


@pytest.mark.parametrize(
    "others", [b"", b'theme={"a":1}; ', b"\xff\xfe=1; ", b";;= ;,; ", b"a=b=c; $x; "]
)
async def test_cookies_of_others_do_not_hide_ours(tmp_path, others):
    """
    Cookies are shared by all ports of a host, and others write what they like into theirs.
    """
    async with keyed(tmp_path) as gateway:
        login = await log_in(gateway, "crm")
        cookie = others + login.headers["set-cookie"].partition(";")[0].encode()
        headers = [(b"host", b"gateway"), (b"cookie", cookie)]

        assert 200 == (await asked(gateway.app, headers=headers))[0]


async def test_no_scope_holds_another(tmp_path):
    """
    A key that may act may not look for that: each is given by itself.
    """
    async with keyed(tmp_path) as gateway:
        operating = await gateway.http.get("/users", headers=bearing("ops"))
        erased = await gateway.http.delete("/users/ada", headers=bearing("ops"))

    assert [403, 202] == [operating.status_code, erased.status_code]
    assert 3 == len(Scope)


async def test_ids_that_look_like_markup_stay_text(gateway: Stand):
    """
    What a user is called is data: JSON, never HTML, and browsers are told not to guess.
    """
    name = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    answer = await gateway.http.get(f"/users/{name}")

    assert "application/problem+json" == answer.headers["content-type"]
    assert "nosniff" == answer.headers["x-content-type-options"]
