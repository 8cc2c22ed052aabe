"""`GET /users`, `/users/{user_id}` and `/alerts`."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest

from contracts.alerts import ChurnAlert, alert_id, dedup_key, encode_alert
from contracts.events import category_hash
from contracts.partition import shard
from contracts.record import (
    CANCELLED,
    CURVE_STALE,
    ERASED,
    HAS_CURVE,
    HAS_SCORE,
    NO_CROSSING,
    blank_records,
)
from contracts.scores import Position
from contracts.times import DAY_MS, HOUR_MS, to_ms
from contracts.topics import ACTIVITY
from model.features import FEATURES, PREDICT_INPUTS
from runtime import keys
from tests.churn_scores import churn_score
from tests.unit.ingest_api.stand import NOON, a_model, an_additive_model, seen, standing


def moment(text: str | None) -> int | None:
    return None if text is None else to_ms(datetime.fromisoformat(text))


async def test_a_known_user_is_shown_in_full(gateway):
    """
    Facts as plain numbers, times, attributes by name, position and evidence, and the score now.
    """
    record = seen(NOON - 2 * DAY_MS)
    record["facts"]["location"] = category_hash("Oslo")
    record["facts"]["plan"] = category_hash("Pro")
    record["facts"]["signup_at"] = NOON - 90 * DAY_MS
    record["facts"]["value_cents"] = 1250
    record["outlook"]["home"] = 3
    await gateway.redis.keep("ada", record)
    await gateway.redis.hset(keys.NAMES, str(category_hash("Oslo")), "oslo")

    answer = await gateway.http.get("/users/ada")

    page = answer.json()
    assert (200, "ada") == (answer.status_code, page["user_id"])
    assert page["features"].keys() == {feature.name for feature in (*FEATURES, *PREDICT_INPUTS)}
    assert (3, 2, 90, None) == tuple(
        page["features"][name]
        for name in ("pages_visited", "silent_days", "days_since_signup", "time_spent")
    )
    assert {
        "churn_probability": 0.2,
        "prediction": "0",
        "confidence": 0.8,
        "beyond_grid": False,
        "model_version": "linear-1",
        "horizon_days": 14,
        "origin": "a test",
    } == {name: value for name, value in page["score"].items() if name != "as_of"}
    assert NOON == moment(page["score"]["as_of"])
    assert [NOON - 2 * DAY_MS, NOON - 90 * DAY_MS, NOON - 32 * DAY_MS] == [
        moment(page[name]) for name in ("last_seen_at", "signed_up_at", "first_seen_at")
    ]
    assert {
        "location": "oslo",
        "referral_source": None,
        "device_type": None,
        "plan": f"#{category_hash('Pro'):08x}",
        "value": 12.5,
    } == page["attributes"]
    assert {"log": 2, "offset": 41, "partition": 3} == page["position"]
    assert (5, 3) == (page["evidence"]["events"], page["evidence"]["active_days"])
    assert page["cancelled"] is False


async def test_a_user_is_explained_with_what_would_bring_them_back():
    """
    Base and reasons are the log-odds of the score, and visits as usual would lower it.
    """
    async with standing(model=an_additive_model()) as gateway:
        await gateway.redis.keep("ada", seen(NOON - 20 * DAY_MS))
        page = (await gateway.http.get("/users/ada")).json()
        await gateway.redis.keep("bob", seen(NOON))
        present = (await gateway.http.get("/users/bob")).json()

    told = page["explanation"]
    log_odds = told["base"] + sum(reason["contribution"] for reason in told["reasons"])
    probability = page["score"]["churn_probability"]
    assert probability == pytest.approx(1 / (1 + math.exp(-log_odds)), abs=2e-6)
    (recency,) = [reason for reason in told["reasons"] if reason["concept"] == "recency"]
    # The score stands at the end of its grid, nine days; so does the reason for it.
    assert ("no visit for 9 days", 9) == (recency["text"], recency["value"])
    assert probability >= 0.5 == page["comeback"]["below"]
    assert 1 == page["comeback"]["sessions"]
    assert page["comeback"]["churn_probability"] < 0.5
    assert page["comeback"]["text"].startswith("1 visit as usual (1 page and 0 minutes each)")
    assert (0, "the risk is low enough already") == (
        present["comeback"]["sessions"],
        present["comeback"]["text"],
    )


async def test_a_model_that_is_no_sum_explains_nothing(gateway):
    """
    Without reasons the explanation is null; what would bring the user back is told all the same.
    """
    await gateway.redis.keep("ada", seen(NOON - 7 * DAY_MS))

    page = (await gateway.http.get("/users/ada")).json()

    assert page["explanation"] is None
    assert 1 == page["comeback"]["sessions"]


async def test_at_risk_at_is_when_silence_reaches_the_threshold(gateway):
    """
    Without a stored curve it is worked out: this model reaches .7 after seven days.
    """
    await gateway.redis.keep("ada", seen(NOON - 2 * DAY_MS))

    page = (await gateway.http.get("/users/ada")).json()

    assert NOON + 5 * DAY_MS == moment(page["at_risk_at"])
    assert {0.7: NOON + 5 * DAY_MS}.items() <= {
        crossing["level"]: moment(crossing["at"]) for crossing in page["crossings"]
    }.items()


@pytest.mark.parametrize(
    ("change", "hours"),
    [({}, 40), ({"state": HAS_CURVE | CURVE_STALE}, 168), ({"model": 1}, 168)],
    ids=["fresh", "stale", "other model"],
)
async def test_a_stored_curve_counts_while_it_holds(gateway, change, hours):
    """
    The scorer's curve is shown unless facts or model have changed since.
    """
    record = with_curve(seen(NOON), 40)
    for name, value in change.items():
        record["outlook"][name] = value
    await gateway.redis.keep("ada", record)

    page = (await gateway.http.get("/users/ada")).json()

    assert NOON + hours * HOUR_MS == moment(page["at_risk_at"])


async def test_a_user_known_only_by_totals_has_no_score_yet(gateway):
    """
    No model learned from people who have done nothing; what was stated of them is shown.
    """
    record = seen(NOON)
    record["facts"]["events"] = 0
    await gateway.redis.keep("ada", record)

    page = (await gateway.http.get("/users/ada")).json()

    assert (None, None, None, []) == tuple(
        page[name] for name in ("score", "explanation", "comeback", "crossings")
    )


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_path_that_is_no_text_names_nobody(gateway, method):
    """
    A substitute character would be somebody else's id.
    """
    answer = await gateway.http.request(method, "/users/%ff")

    assert (400, "application/problem+json") == (
        answer.status_code, answer.headers["content-type"],
    )  # fmt: skip
    assert [] == gateway.log.messages


async def test_beyond_the_grid_the_score_stays_at_its_end(gateway):
    """
    Nothing was learned of longer silence, and the page says so.
    """
    await gateway.redis.keep("ada", seen(NOON - 100 * DAY_MS))

    page = (await gateway.http.get("/users/ada")).json()

    assert (0.9, True) == (page["score"]["churn_probability"], page["score"]["beyond_grid"])
    assert NOON - 91 * DAY_MS == moment(page["score"]["as_of"])
    assert 9 == page["features"]["silent_days"]


async def test_on_a_stream_clock_now_is_what_the_users_partition_says():
    """
    Replaying, silence lasts as long as the log of the user's home has come, not as the wall says.
    """
    record = seen(NOON - 400 * DAY_MS)
    record["outlook"]["home"] = 3
    async with standing("stream") as gateway:
        await gateway.redis.keep("ada", record)
        clocks = {"clock:3": NOON - 396 * DAY_MS, "3": "2:42", "clock:1": NOON - 390 * DAY_MS}
        await gateway.redis.hset(keys.marks(0, ACTIVITY), mapping=clocks)

        page = (await gateway.http.get("/users/ada")).json()

    assert (0.4, NOON - 396 * DAY_MS) == (
        page["score"]["churn_probability"],
        moment(page["score"]["as_of"]),
    )


async def test_a_user_who_was_never_seen_has_totals_and_no_curve(gateway):
    """
    Snapshots alone make a user known, though nobody knows when they were last there.
    """
    record = blank_records(1)
    record["facts"]["offset"], record["facts"]["pages_base"] = 0, 7
    record["facts"]["flags"] = CANCELLED
    await gateway.redis.keep("ada", record)

    page = (await gateway.http.get("/users/ada")).json()

    assert (7, None) == (page["features"]["pages_visited"], page["features"]["silent_days"])
    assert (None, None, [], True) == tuple(
        page[name] for name in ("last_seen_at", "at_risk_at", "crossings", "cancelled")
    )


async def test_unknown_and_erased_users_are_404(gateway):
    """
    A gravestone reads like somebody who never was.
    """
    grave = seen(NOON)
    grave["facts"]["flags"] = ERASED
    await gateway.redis.keep("gone", grave)

    for user_id in ("gone", "nobody", "a/b?c"):
        answer = await gateway.http.get(f"/users/{user_id.replace('?', '%3F')}")
        assert (404, "urn:ebbtide:problem:unknown-user") == (
            answer.status_code,
            answer.json()["type"],
        )


async def test_ids_with_slashes_are_reached(gateway):
    """
    Whatever a producer uses as an id, its user has a page.
    """
    await gateway.redis.keep("a/b c", seen(NOON))

    answer = await gateway.http.get("/users/a%2Fb%20c")

    assert (200, "a/b c") == (answer.status_code, answer.json()["user_id"])


@pytest.mark.parametrize("path", ["/users/ada", "/users", "/alerts"])
async def test_redis_away_is_a_503(gateway, path):
    """
    What cannot be read is told apart from what is not there.
    """
    gateway.redis.away = True

    answer = await gateway.http.get(path)

    assert (503, "urn:ebbtide:problem:users-unavailable") == (
        answer.status_code,
        answer.json()["type"],
    )
    assert "retry-after" in answer.headers


async def test_recent_alerts_come_newest_first(gateway):
    """
    GET /alerts shows alerts as they are on the wire, up to the limit.
    """
    for day in (1, 2, 3):
        alert = an_alert(day)
        place = keys.recent_alerts(shard(alert.user_id))
        await gateway.redis.zadd(place, {encode_alert(alert): float(to_ms(alert.occurred_at))})

    alerts = (await gateway.http.get("/alerts?limit=2")).json()["alerts"]

    assert [an_alert(3).alert_id, an_alert(2).alert_id] == [alert["alert_id"] for alert in alerts]


def with_curve(record: np.ndarray, hours: int) -> np.ndarray:
    """The record with a stored curve that reaches .7 after `hours` and nothing else."""
    model = a_model()
    record["outlook"]["state"] = HAS_CURVE | HAS_SCORE
    record["outlook"]["model"] = model.hash
    record["outlook"]["curve"] = NO_CROSSING
    record["outlook"]["curve"][:, list(model.levels).index(0.7)] = hours
    return record


def an_alert(day: int) -> ChurnAlert:
    score = churn_score(0.8, day)
    key = dedup_key("ada", "default", score.position, 0)
    return ChurnAlert(
        alert_id=alert_id(key, "opened", Position(1, day, 0), day),
        dedup_key=key,
        kind="opened",
        rule="default",
        user_id="ada",
        churn_probability=0.8,
        previous_probability=None,
        threshold=0.7,
        trigger="silence",
        occurred_at=score.scored_at,
        opened_at=score.scored_at,
        last_seen_at=score.last_seen_at,
        at_risk_at=None,
        horizon_days=14,
        model_version="m1",
        origin="a test",
        reasons=(),
        evidence=score.evidence,
        attributes=score.attributes,
        position=score.position,
    )


async def test_who_is_gone_for_longer_than_the_retention_is_unknown(gateway):
    """Their record is still there for the fold, and nobody is told of it."""
    for name, last_seen in (("ada", NOON - 731 * DAY_MS), ("bob", NOON - 729 * DAY_MS)):
        await gateway.redis.keep(name, seen(last_seen))

    assert 404 == (await gateway.http.get("/users/ada")).status_code
    assert 200 == (await gateway.http.get("/users/bob")).status_code
