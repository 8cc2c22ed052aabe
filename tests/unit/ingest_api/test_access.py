"""Who may do what: no route is forgotten, and no way of writing a path leads around the table."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.routing import Match, Route

from contracts.errors import Misconfigured
from ingest_api.access import LOOKING, TABLE, Scope, is_loopback, require_access, row_of
from tests.unit.ingest_api.keyed import KEYS, bearing, keyed
from tests.unit.ingest_api.stand import TOTALS, Stand

FREE = {"/livez", "/readyz", "/openapi.json", "/docs", "/app/{path}", "/session", "/"}
WRITING = {"/events", "/predict", "/predict/batch"}
EVENT = {"user_id": "ada", "type": "login"}


def routes(stand: Stand) -> list[Route]:
    """Every route the framework knows."""
    return list(_leaves(stand.app.routes))


def _leaves(found: Iterable[Any]) -> Iterator[Route]:
    for route in found:
        if isinstance(route, Route):
            yield route
        else:
            # Anything else than routes and routers would need a thought of its own.
            yield from _leaves(route.original_router.routes)


def needed(route: Route, method: str) -> Scope | None:
    """What the table says of a route, found as the gate finds it."""
    row = row_of(route.path_format.replace("{", "").replace("}", ""))
    assert row is not None, f"{route.path_format} is in no row of ingest_api.access.TABLE"
    return row.look if method in LOOKING else row.change


async def test_every_route_is_in_the_table_and_only_the_known_few_are_free(tmp_path):
    """
    A new route fails here until somebody says in `TABLE` what it takes.
    """
    async with keyed(tmp_path) as gateway:
        found = {
            (route.path_format, method): needed(route, method)
            for route in routes(gateway)
            for method in route.methods or ()
        }

    assert len(found) > 15
    assert FREE >= {path for (path, _), scope in found.items() if scope is None}
    assert WRITING == {path for (path, _), scope in found.items() if scope is Scope.WRITE}
    free = {each for each, scope in found.items() if scope is None}
    assert {"/session"} == {path for path, method in free if method not in LOOKING}


_PARTS = st.sampled_from(
    [
        *TABLE, "..", ".", "", "%2e%2e", "users.csv", "predict", "Predict", "session", "a b", "\n",
        "alerts;x", "app", "livez", "é", "\\",
    ]
)  # fmt: skip


@given(
    path=st.lists(_PARTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
)
@example(path="//predict", method="POST")
@example(path="/livez/../users", method="GET")
@example(path="/session/../users", method="DELETE")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_the_table_says_of_a_path_holds_for_the_route_that_takes_it(path, method):
    """
    The gate and the routes read the same path: none is let through for less than its route takes.
    """
    scope = {"type": "http", "path": path, "method": method, "root_path": "", "headers": []}
    row = row_of(path)
    for route in routes(_STAND):
        if route.matches(scope)[0] is Match.NONE:
            continue
        if row is None:
            continue  # closed
        assert needed(route, method) == (row.look if method in LOOKING else row.change)


_STAND = Stand()


@pytest.mark.parametrize("name", [None, *KEYS])
async def test_a_key_opens_what_its_scopes_say_and_nothing_else(tmp_path, name):
    """
    Without a key 401, with one of another scope 403, on every route and every method.
    """
    async with keyed(tmp_path) as gateway:
        headers = {} if name is None else bearing(name)
        scopes = set() if name is None else set(KEYS[name][1])
        for route in routes(gateway):
            if "stream" in route.path_format:
                continue
            path = route.path_format.replace("{", "").replace("}", "")
            for method in route.methods or ():
                wanted = needed(route, method)
                answer = await gateway.http.request(method, path, headers=headers)
                refused = answer.status_code in (401, 403) and answer.status_code
                expected = wanted is not None and wanted not in scopes and (403 if scopes else 401)
                assert expected == refused, (name, method, path)


@pytest.mark.parametrize(
    "path",
    [
        "//predict", "/Predict", "/%70redict", "/predict%2f", "/./predict", "/x/../predict",
        "/predict;a=b", "/predict/", "/%2e/predict", "/predict%20", "/\\predict",
        "/predict?x=/livez",        "/livez/../predict", "/predict%00", "/predict%2fbatch",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD", "OPTIONS", "PUT", "TRACE", "post"])
async def test_no_way_of_writing_it_reaches_a_route_without_a_key(tmp_path, path, method):
    """
    Whatever the path and the method, nobody without a key gets beyond 401, 404 or a redirection.
    """
    async with keyed(tmp_path) as gateway:
        answer = await gateway.http.request(method, path, json=TOTALS)

        assert answer.status_code in (401, 404, 307, 405), answer.text
        if answer.status_code == 405:
            assert row_of(answer.request.url.path).look is None
        assert "prediction" not in answer.text
        assert [] == gateway.log.messages


async def test_a_path_in_no_row_is_nothing_even_to_who_may_everything(tmp_path):
    """
    Closed rather than open: the gate hands on only what the table knows.
    """
    async with keyed(tmp_path) as gateway:
        gateway.app.add_api_route("/forgotten", lambda: {"secret": 1})

        nobody = await gateway.http.get("/forgotten")
        admin = await gateway.http.get("/forgotten", headers=bearing("admin"))

    assert [401, 404] == [nobody.status_code, admin.status_code]
    assert "secret" not in admin.text


async def test_what_health_and_the_app_say_is_for_everybody(tmp_path):
    """
    Probes have no key, and the page that asks for one must load without.
    """
    async with keyed(tmp_path) as gateway:
        for path in ("/livez", "/readyz", "/docs", "/openapi.json", "/app/", "/session"):
            assert 200 == (await gateway.http.get(path)).status_code, path


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("", False), ("192.0.2.1", False), ("10.0.0.1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_this_machine_only(host, is_one, monkeypatch):
    """
    What listens on every address does not listen on loopback only.
    """
    known = {"localhost": [(2, 1, 6, "", ("127.0.0.1", 0))]}
    monkeypatch.setattr("socket.getaddrinfo", lambda name, *_, **__: known.get(name, []))

    assert is_one == is_loopback(host)


def test_off_loopback_there_is_no_gateway_without_keys(tmp_path):
    """
    The refusal names the setting, the command that makes keys, and the other way out.
    """
    for host, required in itertools.product(("0.0.0.0", "127.0.0.1"), (True, False)):
        require_access(host, tmp_path, require_keys=required)
    require_access("127.0.0.1", None)

    with pytest.raises(Misconfigured, match=r"0\.0\.0\.0.*EBBTIDE_API_KEYS_FILE.*keys new.*127"):
        require_access("0.0.0.0", None)
    with pytest.raises(Misconfigured, match=r"EBBTIDE_REQUIRE_KEYS.*EBBTIDE_API_KEYS_FILE"):
        require_access("127.0.0.1", None, require_keys=True)
