"""Who took out what is known of many users: in the audit log, apart from what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from contracts.errors import StoreUnavailable
from contracts.times import MINUTE_MS
from ingest_api.access import ANYBODY
from ingest_api.audit import Act
from ingest_api.mass_reads import IDLE_MS, MOST_READINGS, READ, MassReads, Read
from ingest_api.user_list import UserList
from tests.unit.ingest_api.stand import NOON, Stand


class Notes:
    """A trail that keeps what it is told."""

    def __init__(self) -> None:
        self.acts: list[Act] = []

    def note(self, act: Act) -> None:
        self.acts.append(act)


def page(
    reads: MassReads, rows: int, query: str = "search=a&cursor=x", path: str = "/users"
) -> None:
    scope: dict[str, Any] = {
        "path": "/users", "query_string": query.encode(), "client": ("10.0.0.7", 1),
        READ: Read(is_export=False, rows=rows),
    }  # fmt: skip
    reads.answered(scope, ANYBODY)


async def said(gateway: Stand, kind: str = "read") -> list[str]:
    """Of the audit log, the oldest first."""
    for _ in range(20):
        await asyncio.sleep(0)
    acts = (await gateway.http.get(f"/audit?kind={kind}")).json()["acts"]
    return [act["said"] for act in acts][::-1]


async def test_an_export_is_told_when_it_begins_and_when_it_ends(gateway: Stand) -> None:
    """With its filters and how many rows went out; what was done is another list."""
    await gateway.http.get("/users.csv?search=ada&cancelled=include")

    assert [
        "begun; search=ada&cancelled=include",
        "ended with 0 rows; search=ada&cancelled=include",
    ] == await said(gateway)
    assert [] == await said(gateway, "action")


async def test_an_export_that_breaks_off_says_after_how_many(
    gateway: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were handed over count, whether they arrived or not."""
    pieces: Iterator[Any] = iter([([], object())])

    async def part(*_: Any) -> Any:
        try:
            return next(pieces)
        except StopIteration:
            raise StoreUnavailable("it is a test") from None

    monkeypatch.setattr(UserList, "part", part)
    await gateway.http.get("/users.csv")

    assert ["begun", "broken off after 0 rows"] == await said(gateway)


async def test_a_refused_export_is_none(gateway: Stand) -> None:
    """It took out nothing."""
    await gateway.http.get("/users.csv?search=a&search=b")
    assert [] == await said(gateway)


def test_reading_on_is_one_reading_until_nobody_goes_on() -> None:
    """By who, from where, and filters; pages of any size and place belong together."""
    trail, now = Notes(), NOON
    reads = MassReads(trail, lambda: now)  # type: ignore[arg-type]
    for place in range(3):
        page(reads, 200, f"search=a&limit=200&cursor=c{place}")
    page(reads, 7, "search=b&cursor=c")
    now += IDLE_MS - 1
    reads.look()
    assert [
        "reads on behind the first page; search=a",
        "reads on behind the first page; search=b",
    ] == [act.said for act in trail.acts]

    page(reads, 1, "search=b&cursor=d")
    now += 1
    reads.look()
    assert "ended after 600 rows in 3 requests; search=a" == trail.acts[-1].said
    now += MINUTE_MS
    reads.look()
    assert "ended after 8 rows in 2 requests; search=b" == trail.acts[-1].said
    assert [("10.0.0.7", "GET /users", "read")] * 4 == [
        (act.address, act.action, act.kind) for act in trail.acts
    ]


def test_so_many_readings_are_kept_in_mind() -> None:
    """Whoever makes up filters makes the gateway grow no further."""
    trail = Notes()
    reads = MassReads(trail, lambda: NOON)  # type: ignore[arg-type]
    for number in range(MOST_READINGS + 2):
        page(reads, 1, f"search={number}&cursor=c")
    assert [f"ended after 1 rows in 1 request; search={n}" for n in (0, 1)] == [
        act.said for act in trail.acts if act.said.startswith("ended")
    ]


async def test_the_first_page_is_no_act_and_what_is_behind_it_is(gateway: Stand) -> None:
    """The dashboard asks for the first page again and again."""
    await gateway.http.get("/alerts?limit=50")
    assert [] == await said(gateway)
    await gateway.http.get("/alerts?limit=1000")
    assert ["reads on behind the first page"] == await said(gateway)
