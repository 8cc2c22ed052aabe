"""What belongs to one user: `/users/{user_id}/events`, `/history` and `/alerts`, and the days."""

from __future__ import annotations

import pytest

from alerts.delivery.shelf import encode_known
from contracts import deliveries
from contracts.deliveries import Row, row_id
from contracts.partition import shard
from contracts.record import ERASED, LOGGED_IN
from contracts.standing import StandingVerdict, encode_verdict
from contracts.times import DAY_MS, NEVER, from_ms
from ingest_api.user_history import past
from runtime import alert_history, keys
from runtime.history import Point, UserHistory
from runtime.timeline import LEDGER, Entry, pack
from tests.churn_alerts import churn_alert
from tests.unit.ingest_api.stand import NOON, Stand, seen

FIRST = NOON - 32 * DAY_MS
"""When the user of `seen(NOON - 2 * DAY_MS)` began."""
PARTS = ("events", "history", "alerts")


async def known(gateway: Stand, user_id: str = "ada") -> None:
    await gateway.redis.keep(user_id, seen(NOON - 2 * DAY_MS))


async def did(gateway: Stand, *entries: Entry, mark: str | None = "2:42") -> None:
    await gateway.redis.rpush(keys.timeline("ada"), *map(pack, entries))
    if mark is not None:
        await gateway.redis.hset(keys.marks(shard("ada"), LEDGER), "0", mark)


@pytest.mark.parametrize("part", PARTS)
async def test_nobody_and_somebody_erased_have_no_story(gateway, part):
    """404 for both, also while what is kept of them has not gone yet."""
    record = seen(NOON)
    record["facts"]["flags"] |= ERASED
    await gateway.redis.keep("bob", record)

    answers = [await gateway.http.get(f"/users/{user}/{part}") for user in ("ada", "bob")]

    assert [404, 404] == [answer.status_code for answer in answers]


@pytest.mark.parametrize("part", PARTS)
async def test_a_user_may_be_called_like_a_part_of_one(gateway, part):
    """What is sent as %2F belongs to the name, what is sent as a slash does not."""
    await known(gateway, f"ada/{part}")

    page = (await gateway.http.get(f"/users/ada%2F{part}")).json()
    story = await gateway.http.get(f"/users/ada%2F{part}/{part}")
    other = await gateway.http.get(f"/users/ada/{part}")

    assert (f"ada/{part}", 200, f"ada/{part}", 404) == (
        page["user_id"],
        story.status_code,
        story.json()["user_id"],
        other.status_code,
    )


@pytest.mark.parametrize("part", PARTS)
async def test_without_redis_there_is_no_story_now(gateway, part):
    """503, as for all that is known of users."""
    gateway.redis.away = True

    assert 503 == (await gateway.http.get(f"/users/ada/{part}")).status_code


async def test_events_are_told_latest_first_in_units_of_people(gateway):
    """Minutes and money, whether it counts as activity, and what was said of being logged in."""
    await known(gateway)
    at = FIRST // 1000
    await did(
        gateway,
        Entry(occurred_at=at + 60, id=1, type="page_view", pages=2, seconds=90, login=LOGGED_IN),
        Entry(occurred_at=at + 90, id=2, type="return", cents=-1250),
        Entry(occurred_at=at + 30, id=3, type="email_sent"),
        Entry(occurred_at=at + 60, id=1, type="page_view", pages=2, seconds=90),
    )

    told = (await gateway.http.get("/users/ada/events")).json()

    assert [("return", False), ("page_view", True), ("email_sent", False)] == [
        (event["type"], event["is_activity"]) for event in told["events"]
    ]
    assert [(0, 0, -12.5, None), (2, 1.5, None, True), (0, 0, None, None)] == [
        (event["pages"], event["minutes"], event["value"], event["is_logged_in"])
        for event in told["events"]
    ]
    # The record counts five.
    assert ("complete", True) == (told["state"], told["has_older"])


@pytest.mark.parametrize(
    ("mark", "state"),
    [
        ("2:42", "complete"),
        ("2:41", "behind"),
        ("1:99", "behind"),
        ("3:0", "complete"),
        (None, "off"),
    ],
)
async def test_events_say_how_far_they_were_read(gateway, mark, state):
    """Complete is what holds the last record that the user's own facts know of: 41 of log 2."""
    await known(gateway)
    await did(gateway, Entry(occurred_at=FIRST // 1000, id=1, type="login"), mark=mark)

    assert state == (await gateway.http.get("/users/ada/events")).json()["state"]


async def test_what_is_kept_of_an_earlier_life_is_not_told(gateway):
    """Events from before the record began are of somebody who was erased."""
    await known(gateway)
    await did(
        gateway,
        Entry(occurred_at=FIRST // 1000 - 9, id=1, type="login"),
        Entry(occurred_at=FIRST // 1000, id=2, type="logout"),
    )

    events = (await gateway.http.get("/users/ada/events")).json()["events"]

    assert ["logout"] == [event["type"] for event in events]


def scored(*scores: tuple[int, float, bool]) -> UserHistory:
    """Kept scores: (epoch ms, probability, whether the model is another than before)."""
    points = tuple(
        Point(
            from_ms(at),
            risk,
            "silence",
            new_model=new,
            little_evidence=False,
            cancelled=False,
            simulated=True,
        )
        for at, risk, new in scores
    )
    return UserHistory(points, points[0].at)


def test_scores_are_told_oldest_first_with_changes_of_the_model():
    """And from when on every one of them is there."""
    kept = scored((FIRST, 0.1, False), (FIRST + DAY_MS, 0.5, False), (NOON, 0.25, True))

    told = past("ada", FIRST, kept)

    assert [(0.1, False), (0.5, False), (0.25, True)] == [
        (score.churn_probability, score.new_model) for score in told.scores
    ]
    assert from_ms(FIRST) == told.complete_from


@pytest.mark.parametrize(("first_seen", "expected"), [(FIRST, [0.1]), (NEVER, []), (NOON, [])])
def test_scores_from_before_the_record_began_are_not_told(first_seen, expected):
    """They are of somebody who was erased."""
    kept = scored((FIRST - 1000, 0.9, False), (FIRST, 0.1, False))

    assert expected == [each.churn_probability for each in past("ada", first_seen, kept).scores]


async def test_nothing_kept_is_told_as_nothing(gateway):
    """A user whose scores, events and alerts nobody kept has empty ones, not an error."""
    await known(gateway)

    past, did, alerts = [(await gateway.http.get(f"/users/ada/{part}")).json() for part in
                         ("history", "events", "alerts")]  # fmt: skip

    assert ([], None) == (past["scores"], past["complete_from"])
    assert ([], "off") == (did["events"], did["state"])
    assert [] == alerts["episodes"]


async def test_alerts_are_told_by_episode_with_what_became_of_them(gateway):
    """Transitions latest first, deliveries by channel, and the verdict that stands."""
    await known(gateway)
    opened, taken = churn_alert(offset=1), churn_alert("acknowledged", at_ms=NOON + 9, offset=2)
    key = opened.dedup_key
    await gateway.redis.set(keys.alerts_of("ada"), alert_history.pack([taken, opened]))
    row = Row(
        row_id=row_id(opened.alert_id, "crm"), message_id=opened.alert_id, channel="crm",
        kind="alert", content=b"{}", user_id="ada", dedup_key=key, state="dead",
        reason="HTTP 410", attempts=3, due=NOON, created=NOON, updated=NOON + 5,
    )  # fmt: skip
    await gateway.redis.set(keys.deliveries_of("ada"), encode_known([(row.row_id, key)]))
    await gateway.redis.set(keys.delivery(shard("ada"), row.row_id), deliveries.encode(row))
    verdict = StandingVerdict(
        user_id="ada", dedup_key=key, rule="default", verdict="helped", note="<b>called</b>",
        actor="grace", at=from_ms(NOON),
    )  # fmt: skip
    await gateway.redis.set(keys.verdict(shard("ada"), key), encode_verdict(verdict))

    [episode] = (await gateway.http.get("/users/ada/alerts")).json()["episodes"]

    assert (key, "acknowledged", "default") == tuple(
        episode[name] for name in ("dedup_key", "state", "rule")
    )
    assert ["acknowledged", "opened"] == [alert["kind"] for alert in episode["alerts"]]
    assert [(opened.alert_id, "crm", "dead", "HTTP 410", 3)] == [
        (told["alert_id"], told["channel"], told["state"], told["reason"], told["attempts"])
        for told in episode["deliveries"]
    ]
    assert ("helped", "<b>called</b>", "grace") == tuple(
        episode["verdict"][name] for name in ("verdict", "note", "actor")
    )


async def test_the_last_28_days_end_today(gateway):
    """With what the ring holds of each, and nothing on the days since the user was last seen."""
    record = seen(NOON - 2 * DAY_MS)
    facts = record["facts"]
    today = NOON // DAY_MS
    facts["day_bits"] = 0b101 | 1 << 27
    for ago, pages in ((2, 7), (4, 3), (29, 9)):
        facts["day_pages"][0, (today - ago) % 28] = pages
        facts["day_seconds"][0, (today - ago) % 28] = 90
        facts["day_sessions"][0, (today - ago) % 28] = 2
    await gateway.redis.keep("ada", record)

    days = (await gateway.http.get("/users/ada")).json()["days"]

    assert (28, from_ms(NOON).date().isoformat()) == (len(days), days[-1]["day"])
    assert {-3: (True, 7, 1.5, 2), -5: (True, 3, 1.5, 2)} == {
        at: (day["is_active"], day["pages"], day["minutes"], day["sessions"])
        for at in range(-28, 0)
        if (day := days[at])["pages"] or day["is_active"]
    }


async def test_a_user_known_by_totals_only_has_empty_days(gateway):
    """28 of them, none active."""
    record = seen(NOON)
    record["facts"]["last_seen"] = record["facts"]["first_seen"] = NEVER
    record["facts"]["events"] = 0
    await gateway.redis.keep("ada", record)

    days = (await gateway.http.get("/users/ada")).json()["days"]

    assert (28, False) == (len(days), any(day["is_active"] for day in days))
