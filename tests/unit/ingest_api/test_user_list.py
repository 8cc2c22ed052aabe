"""`GET /users`: who is listed, in what order, and how one gets on from page to page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import episode as episodes
from alerts.episode import Episode, OpenEpisode
from contracts.events import category_hash
from contracts.partition import shard
from contracts.ranks import has_money, risk_scores, worth_scores
from contracts.record import CANCELLED, ERASED, HAS_CURVE, HAS_SCORE, LAPSED, NO_CROSSING
from contracts.times import DAY_MS, HOUR_MS, to_ms
from ingest_api import user_list
from runtime import keys
from tests.unit.ingest_api.stand import NOON, Stand, a_model, an_additive_model, seen, standing


async def test_the_list_is_sorted_by_risk_now(gateway):
    """
    A user's risk is their last score, or what silence has brought since if that is more.
    """
    await ranked(gateway, "high", 0.6, seen(NOON - HOUR_MS))
    await ranked(gateway, "risen", 0.1, with_curve(seen(NOON - 50 * HOUR_MS), 40))
    await ranked(gateway, "early", 0.2, with_curve(seen(NOON - 30 * HOUR_MS), 40))

    listed = await asked(gateway, "order=risk")

    assert [("risen", 0.7), ("high", 0.6), ("early", 0.2)] == [
        (user["user_id"], user["churn_probability"]) for user in listed["users"]
    ]
    assert (NOON, "a test", "risk") == (
        moment(listed["as_of"]), listed["origin"], listed["order"],
    )  # fmt: skip
    early = listed["users"][2]
    assert (NOON - 30 * HOUR_MS, NOON + 10 * HOUR_MS) == (
        moment(early["last_seen_at"]),
        moment(early["at_risk_at"]),
    )


async def test_the_list_is_as_long_as_asked_over_all_shards(gateway):
    """
    The highest of all shards come, however they are spread.
    """
    for number in range(40):
        await ranked(gateway, f"u{number}", number / 100, seen(NOON))

    listed = await asked(gateway, "limit=3")

    assert ["u39", "u38", "u37"] == names(listed)
    assert (40, False) == (listed["ranked"], listed["looked"]["complete"])


async def test_a_row_says_what_is_known_of_the_user():
    """
    Attributes by name, evidence, what the risk is worth, and the strongest reason for it.
    """
    record = seen(NOON - 4 * DAY_MS)
    record["facts"]["plan"] = category_hash("Pro")
    record["facts"]["value_cents"] = 30_000
    record["facts"]["first_seen"] = NOON - 64 * DAY_MS
    async with standing(model=an_additive_model()) as gateway:
        await ranked(gateway, "ada", 0.5, record)
        await gateway.redis.hset(keys.NAMES, str(category_hash("Pro")), "pro")
        [row] = (await asked(gateway))["users"]
        page = (await gateway.http.get("/users/ada")).json()

    assert ("pro", None, 300.0) == tuple(
        row["attributes"][name] for name in ("plan", "location", "value")
    )
    assert (150.0, 75.0) == (row["monthly_value"], row["value_at_risk"])
    assert (5, 3) == (row["evidence"]["events"], row["evidence"]["active_days"])
    reasons = page["explanation"]["reasons"]
    assert next(r["text"] for r in reasons if r["contribution"] > 0) == row["reason"]
    assert (False, False, None) == (row["cancelled"], row["little_evidence"], row["open_alert"])


async def test_users_nobody_can_win_or_judge_are_left_out_and_counted(gateway):
    """
    Who has cancelled, and who has no rhythm, is listed only if asked for.
    """
    gone, new, both = seen(NOON), seen(NOON), seen(NOON)
    gone["facts"]["flags"] = both["facts"]["flags"] = CANCELLED
    await ranked(gateway, "ada", 0.1, seen(NOON))
    await ranked(gateway, "gone", 0.9, gone)
    await ranked(gateway, "new", 0.8, new, gaps=1)
    await ranked(gateway, "both", 0.7, both, gaps=0)

    plain = await asked(gateway)
    everybody = await asked(gateway, "cancelled=include&evidence=any")

    some, none = [2, 1, 0], [0, 0, 0]
    assert (["ada"], some) == (names(plain), list(plain["left_out"].values()))
    assert (["gone", "new", "both", "ada"], none) == (
        names(everybody), list(everybody["left_out"].values()),
    )  # fmt: skip
    assert (1, 4) == (plain["ranked"], everybody["ranked"])
    assert ["gone"] == names(await asked(gateway, "cancelled=only"))
    assert ["new", "ada"] == names(await asked(gateway, "evidence=any"))


async def test_who_has_lapsed_is_left_out_and_counted(gateway):
    """
    Sixty days of silence are too many to be judged: they are listed only if asked for, whether or
    not their timer has put them in their place.
    """
    await ranked(gateway, "ada", 0.1, seen(NOON - 60 * DAY_MS))
    old, late = seen(NOON - 300 * DAY_MS), seen(NOON - 61 * DAY_MS)
    old["outlook"]["state"] |= LAPSED
    await ranked(gateway, "old", 0.9, old)
    await ranked(gateway, "late", 0.8, late)

    plain = await asked(gateway)
    alone = await asked(gateway, "lapsed=only")
    everybody = await asked(gateway, "lapsed=include")

    assert (["ada"], 1) == (names(plain), plain["left_out"]["lapsed"])
    assert (["old"], [True]) == (names(alone), [user["lapsed"] for user in alone["users"]])
    assert (["old", "late", "ada"], 0) == (names(everybody), everybody["left_out"]["lapsed"])
    assert [True, True, False] == [user["lapsed"] for user in everybody["users"]]
    table = (await gateway.http.get("/users.csv?lapsed=only")).text.splitlines()
    assert ["lapsed", "true"] == [line.rsplit(",", 1)[1] for line in table]


async def test_an_index_that_is_behind_does_not_list_them(gateway):
    """
    What the record says counts, not where an entry still stands.
    """
    gone = seen(NOON)
    gone["facts"]["flags"] = CANCELLED
    await ranked(gateway, "gone", 0.9, gone)
    await gateway.redis.zadd(keys.rank(shard("gone")), {"gone": 0.9})

    assert [] == names(await asked(gateway))


async def test_the_erased_are_not_listed(gateway):
    """
    A rank entry whose record is gone, a gravestone or past its retention is passed over.
    """
    grave = seen(NOON)
    grave["facts"]["flags"] = ERASED
    await ranked(gateway, "grave", 0.9, grave)
    await ranked(gateway, "expired", 0.9, seen(NOON - 731 * DAY_MS))
    await gateway.redis.zadd(keys.rank(shard("ghost")), {"ghost": 0.8})
    await ranked(gateway, "ada", 0.1, seen(NOON))

    assert ["ada"] == names(await asked(gateway))


async def test_nobody_known_is_an_empty_list(gateway):
    """
    Before the first event there is nobody to list.
    """
    listed = await asked(gateway)

    assert ([], None, NOON) == (listed["users"], listed["next"], moment(listed["as_of"]))


async def test_by_value_the_money_at_risk_decides(gateway):
    """
    Half of a large income is more than nearly all of a small one; who brings nothing is not there.
    """
    for name, risk, euros in (("whale", 0.5, 900), ("shrimp", 0.9, 9), ("guest", 0.99, 0)):
        record = seen(NOON)
        record["facts"]["value_cents"] = 100 * euros
        await ranked(gateway, name, risk, record)

    listed = await asked(gateway, "order=value")

    assert [("whale", 450.0), ("shrimp", 8.1)] == [
        (user["user_id"], user["value_at_risk"]) for user in listed["users"]
    ]
    assert 2 == listed["ranked"]


async def test_by_change_what_silence_has_done_within_a_week_decides(gateway):
    """
    Rungs climbed longer ago than a week are no news; nor is a risk somebody has had all along.
    """
    await ranked(gateway, "always", 0.7, with_curve(seen(NOON - 20 * DAY_MS), 0))
    await ranked(gateway, "long ago", 0.7, with_curve(seen(NOON - 20 * DAY_MS), 40))
    await ranked(gateway, "risen", 0.7, with_curve(seen(NOON - 3 * DAY_MS), 40))
    await ranked(gateway, "at once", 0.7, with_curve(seen(NOON - 3 * DAY_MS), 0))
    await ranked(gateway, "slow", 0.7, with_curve(seen(NOON - 20 * DAY_MS), 14 * 24))

    listed = await asked(gateway, "order=change")

    assert [
        ("risen", 0.7),
        ("slow", 0.7),
        ("always", 0.0),
        ("at once", 0.0),
        ("long ago", 0.0),
    ] == [(user["user_id"], user["change"]) for user in listed["users"]]


@pytest.mark.parametrize("order", ["risk", "value", "change"])
async def test_pages_make_up_the_list(gateway, order, monkeypatch):
    """
    Page after page, everybody comes once and in order, ties and shards and steps or not.
    """
    monkeypatch.setattr(user_list, "READ_AT_MOST", 50)
    monkeypatch.setattr(user_list, "AT_ONCE", 20)
    monkeypatch.setattr(user_list, "LEAST_READ", 1)
    for number in range(130):
        record = seen(NOON - number % 3 * DAY_MS)
        if order == "change":
            record = with_curve(record, 30 if number % 2 else 0)
        record["facts"]["value_cents"] = 100 * (1 + number % 7)
        await ranked(gateway, f"u{number}", number % 5 / 10, record)

    pages = await all_pages(gateway, f"order={order}&limit=30")

    users = [user for page in pages for user in page["users"]]
    assert sorted(f"u{number}" for number in range(130)) == sorted(u["user_id"] for u in users)
    if order != "change":
        field = "value_at_risk" if order == "value" else "churn_probability"
        told = [user[field] for user in users]
        assert sorted(told, reverse=True) == told
    assert all(page["looked"]["read"] <= 70 for page in pages)


async def test_a_page_goes_on_where_the_last_one_ended_though_users_moved(gateway):
    """
    The user a cursor names may have another risk by then, or be gone.
    """
    for number in range(100):
        await ranked(gateway, f"u{number:02}", 0.5, seen(NOON))
    first = await asked(gateway, "limit=10")
    await gateway.redis.zrem(keys.rank(shard("u90")), "u90")

    second = await asked(gateway, f"limit=10&cursor={first['next']}")

    assert [f"u{number}" for number in range(99, 89, -1)] == sorted(names(first), reverse=True)
    assert [f"u{number}" for number in range(89, 79, -1)] == sorted(names(second), reverse=True)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80),
    st.integers(1, 30),
)
async def test_no_size_of_page_changes_who_is_listed(risks, limit):
    """
    Whatever the risks and ties, pages of any size are the list, cut.
    """
    async with standing() as gateway:
        for number, risk in enumerate(risks):
            await ranked(gateway, f"u{number}", risk / 10, seen(NOON))
        whole = [
            (u["churn_probability"], u["user_id"])
            for u in (await asked(gateway, "limit=1000"))["users"]
        ]
        pages = await all_pages(gateway, f"limit={limit}")

    parts = [(u["churn_probability"], u["user_id"]) for page in pages for u in page["users"]]
    assert sorted(whole) == sorted(parts)
    assert [risk for risk, _ in whole] == [risk for risk, _ in parts]


async def test_a_filter_few_pass_says_how_far_it_looked(gateway, monkeypatch):
    """
    A page may end before it is full; its cursor goes on looking, and in the end they are found.
    """
    monkeypatch.setattr(user_list, "READ_AT_MOST", 40)
    monkeypatch.setattr(user_list, "AT_ONCE", 20)
    for number in range(150):
        record = seen(NOON)
        if number == 7:
            record["facts"]["location"] = category_hash("Oslo")
        await ranked(gateway, f"u{number:03}", number / 200, record)

    first = await asked(gateway, "location=OSLO")
    pages = await all_pages(gateway, "location=OSLO")

    assert ([], False) == (names(first), first["looked"]["complete"])
    assert 40 <= first["looked"]["read"] < 60
    assert (149 - first["looked"]["read"] + 1) / 200 == first["looked"]["down_to"]
    assert ["u007"] == [name for page in pages for name in names(page)]
    assert pages[-1]["looked"]["complete"]


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("location=oslo&location=Rome", ["ada", "bob"]),
        ("location=oslo&plan=pro", ["ada"]),
        ("min_risk=0.5", ["ada", "bob"]),
        ("max_risk=0.5", ["cyd"]),
        ("min_risk=0.5&max_risk=0.6", ["bob"]),
        ("order=value&max_risk=0.5", ["cyd"]),
        ("silent_days_max=2", ["ada"]),
        ("silent_days_min=2&silent_days_max=5", ["bob"]),
        ("silent_days_min=2", ["bob", "cyd"]),
        ("search=b", ["bob"]),
        ("search=B", []),
    ],
)
async def test_filters(gateway, query, listed):
    """
    All filters must hold; of several values of one attribute any.
    """
    for name, risk, days, place, plan in (
        ("ada", 0.6, 1, "Oslo", "pro"),
        ("bob", 0.5, 3, "rome", "pro"),
        ("cyd", 0.4, 9, "Lima", "free"),
    ):
        record = seen(NOON - days * DAY_MS)
        record["facts"]["location"] = category_hash(place)
        record["facts"]["plan"] = category_hash(plan if name != "bob" else "free")
        record["facts"]["value_cents"] = 100
        await ranked(gateway, name, risk, record)

    assert listed == names(await asked(gateway, query))


async def test_the_very_user_searched_for_is_found_whatever_else_is_asked(gateway):
    """
    Though cancelled, and below the risk asked for; on the first page only.
    """
    record = seen(NOON)
    record["facts"]["flags"] = CANCELLED
    await ranked(gateway, "ada", 0.2, record)
    await ranked(gateway, "ada lovelace", 0.9, seen(NOON))

    found = await asked(gateway, "search=ada&min_risk=0.5&limit=1")

    assert ("ada", True) == (found["exact"]["user_id"], found["exact"]["cancelled"])
    assert ["ada lovelace"] == names(found)
    assert (await asked(gateway, "search=nobody"))["exact"] is None


async def test_open_alerts_are_shown_and_filtered_by_rule(gateway):
    """
    The rule, since when, and whether somebody is at it; alerts about the held-out are not told.
    """
    for name, rule, arm in (
        ("ada", "vip", "treated"),
        ("bob", "vip", "control"),
        ("cyd", "", "treated"),
    ):
        await ranked(gateway, name, 0.8, seen(NOON))
        state = Episode(
            log=1, offset=1, scored_at=NOON, alerted_at=NOON, churned=False,
            open=OpenEpisode(b"\x0a" * 16, NOON - DAY_MS, 0.8, None, rule, "critical", arm, NOON),
        )  # fmt: skip
        await gateway.redis.set(keys.episode(name), episodes.encode(state))

    listed = await asked(gateway)
    of_rule = await asked(gateway, "rule=vip")

    assert ["ada"] == names(of_rule)
    alerts = {user["user_id"]: user["open_alert"] for user in listed["users"]}
    assert ("vip", "0a" * 16, "critical", NOON - DAY_MS, NOON, None) == (
        alerts["ada"]["rule"], alerts["ada"]["dedup_key"], alerts["ada"]["severity"],
        moment(alerts["ada"]["opened_at"]), moment(alerts["ada"]["acknowledged_at"]),
        alerts["ada"]["snoozed_until"],
    )  # fmt: skip
    assert (None, "default") == (alerts["bob"], alerts["cyd"]["rule"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("order=name", "order"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%ff", "cursor"),
        ("min_risk=0.5&max_risk=0.5", "max_risk"),
        ("silent_days_min=3&silent_days_max=2", "silent_days_max"),
        ("cancelled=yes", "cancelled"),
        ("locaton=oslo", "locaton"),
        ("min_risk=nan", "min_risk"),
    ],
)
async def test_what_is_no_list_is_a_422(gateway, query, field):
    """
    The answer names the field, and what would do.
    """
    answer = await gateway.http.get(f"/users?{query}")

    [error] = answer.json()["errors"]
    assert (422, field) == (answer.status_code, error["field"])
    assert error["reason"]


async def test_a_cursor_belongs_to_its_list(gateway):
    """
    With other parameters it is refused, by name; another limit is no other list.
    """
    for name in ("ada", "bob", "cyd"):
        await ranked(gateway, name, 0.5, seen(NOON))
    cursor = (await asked(gateway, "limit=1"))["next"]

    other = await gateway.http.get(f"/users?min_risk=0.1&cursor={cursor}")

    assert 422 == other.status_code
    assert "belongs to another list" in other.json()["errors"][0]["reason"]
    assert 2 == len(names(await asked(gateway, f"limit=5&cursor={cursor}")))


async def asked(gateway: Stand, query: str = "") -> dict[str, Any]:
    """The answer to `GET /users`, which must be one."""
    answer = await gateway.http.get(f"/users?{query}")
    assert 200 == answer.status_code, answer.text
    return dict(answer.json())


async def all_pages(gateway: Stand, query: str) -> list[dict[str, Any]]:
    """Page after page."""
    pages = [await asked(gateway, query)]
    while (cursor := pages[-1]["next"]) is not None:
        pages.append(await asked(gateway, f"{query}&cursor={cursor}"))
        assert len(pages) < 200
    return pages


def names(listed: dict[str, Any]) -> list[str]:
    """The users of a page."""
    return [user["user_id"] for user in listed["users"]]


def moment(text: str | None) -> int | None:
    """Epoch ms."""
    return None if text is None else to_ms(datetime.fromisoformat(text))


def with_curve(record: np.ndarray, hours: int) -> np.ndarray:
    """The record with a stored curve that reaches .7 after `hours` and nothing else."""
    model = a_model()
    record["outlook"]["state"] = HAS_CURVE
    record["outlook"]["model"] = model.hash
    record["outlook"]["curve"] = NO_CROSSING
    record["outlook"]["curve"][:, list(model.levels).index(0.7)] = hours
    return record


async def ranked(
    gateway: Stand, user_id: str, risk: float, record: np.ndarray, gaps: int = 2
) -> None:
    """Store the record, scored, with its entries in the indexes, as the scorer would."""
    record["facts"]["gaps"] = gaps
    record["outlook"]["state"] |= HAS_SCORE
    record["outlook"]["probability"] = round(risk * 1_000_000)
    await gateway.redis.keep(user_id, record)
    at = shard(user_id)
    await gateway.redis.zadd(keys.rank(at), {user_id: float(risk_scores(record)[0])})
    if has_money(record["facts"])[0]:
        await gateway.redis.zadd(keys.worth(at), {user_id: float(worth_scores(record)[0])})
