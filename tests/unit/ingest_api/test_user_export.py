"""`GET /users.csv`: the list as a table."""

from __future__ import annotations

import csv
import io

from contracts.events import category_hash
from ingest_api import user_export
from ingest_api.user_export import COLUMNS, cell
from runtime import keys
from tests.unit.ingest_api.stand import NOON, seen
from tests.unit.ingest_api.test_user_list import ranked


async def test_the_table_has_the_whole_list_in_its_order(gateway, monkeypatch):
    """
    However many pieces it is written in; filters hold, and it is offered as a file.
    """
    monkeypatch.setattr(user_export, "PIECE_USERS", 7)
    for number in range(40):
        await ranked(gateway, f"u{number}", number / 100, seen(NOON))

    answer = await gateway.http.get("/users.csv?min_risk=0.1")

    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert list(COLUMNS) == rows[0]
    assert [f"u{number}" for number in range(39, 9, -1)] == [row[0] for row in rows[1:]]
    assert "text/csv; charset=utf-8" == answer.headers["content-type"]
    assert "attachment" in answer.headers["content-disposition"]


async def test_a_spreadsheet_is_handed_text_never_a_formula(gateway):
    """
    Ids and names come from outside; numbers stay numbers.
    """
    record = seen(NOON)
    record["facts"]["plan"] = category_hash("evil")
    await gateway.redis.hset(keys.NAMES, str(category_hash("evil")), "@SUM(A1)")
    await ranked(gateway, '=HYPERLINK("http://x","y")', 0.5, record)

    answer = await gateway.http.get("/users.csv")

    [_, row] = csv.reader(io.StringIO(answer.text, newline=""))
    told = dict(zip(COLUMNS, row, strict=True))
    assert ("'=HYPERLINK(\"http://x\",\"y\")", "'@SUM(A1)", "0.5") == (
        told["user_id"], told["plan"], told["churn_probability"],
    )  # fmt: skip
    assert ["'+1", "'-1", "'\tx", "a=1", None] == [
        cell(text) for text in ("+1", "-1", "\tx", "a=1", None)
    ]


async def test_what_is_no_list_is_refused_before_a_byte_is_written(gateway):
    """
    A table of the wrong list is worse than none.
    """
    answer = await gateway.http.get("/users.csv?order=name")

    assert (422, "order") == (answer.status_code, answer.json()["errors"][0]["field"])
    assert 422 == (await gateway.http.get("/users.csv?limit=5")).status_code


async def test_places_are_bounded_and_given_back(gateway, monkeypatch):
    """
    One too many is a 503 that says when to come again; those that are done make room.
    """
    monkeypatch.setattr(user_export, "AT_ONCE", 1)
    for _ in range(3):
        assert 200 == (await gateway.http.get("/users.csv")).status_code

    monkeypatch.setattr(user_export, "AT_ONCE", 0)
    refused = await gateway.http.get("/users.csv")

    assert (503, "urn:ebbtide:problem:overloaded") == (refused.status_code, refused.json()["type"])
    assert "retry-after" in refused.headers


async def test_an_export_stops_when_its_client_goes(gateway, monkeypatch):
    """
    Nobody reads on for a table that nobody takes.
    """
    monkeypatch.setattr(user_export, "PIECE_USERS", 1)
    for number in range(30):
        await ranked(gateway, f"u{number}", number / 100, seen(NOON))
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await gateway.app({**_SCOPE}, receive, send)

    assert len(sent) < 20
    # Its place is free again.
    assert 200 == (await gateway.http.get("/users.csv")).status_code


_SCOPE = {
    "type": "http", "method": "GET", "path": "/users.csv", "raw_path": b"/users.csv",
    "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http",
    "server": ("gateway", 80), "client": ("127.0.0.1", 1), "root_path": "",
    "asgi": {"version": "3.0"},
}  # fmt: skip


async def test_asking_for_the_head_makes_no_table(gateway):
    """
    What a client learns of it costs nothing.
    """
    answer = await gateway.http.head("/users.csv")

    assert (200, b"") == (answer.status_code, answer.content)
