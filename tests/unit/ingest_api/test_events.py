"""`POST /events` and `DELETE /users/{user_id}`: what goes to Kafka."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from uuid import UUID

import pytest

from contracts.events import MAX_EVENT_BYTES, decode
from contracts.metrics import Metric
from contracts.times import DAY_MS, HOUR_MS, from_ms
from ingest_api.events import MAX_BYTES
from tests.unit.ingest_api.stand import NOON, standing

JSON = {"content-type": "application/json"}
VISIT = {"user_id": "ada", "type": "page_view", "pages_visited": 3}


async def test_one_event_is_accepted(gateway):
    """
    An object is one event: 202 once Kafka has it.
    """
    answer = await gateway.http.post("/events", json=VISIT)

    assert (202, {"accepted": 1, "rejected": []}) == (answer.status_code, answer.json())
    assert 1 == len(gateway.log.messages)


async def test_the_record_is_complete(gateway):
    """
    Key, timestamp, id, time and CloudEvents headers are there although the event states none.
    """
    await gateway.http.post("/events", json=VISIT)

    (message,) = gateway.log.messages
    event = decode(message.value)
    assert (b"ada", NOON) == (message.key, message.timestamp_ms)
    assert (3, from_ms(NOON)) == (event.pages_visited, event.occurred_at)
    assert 4 == UUID(event.event_id).version
    assert {
        "ce_specversion": b"1.0",
        "ce_id": event.event_id.encode(),
        "ce_source": b"/ebbtide/gateway",
        "ce_type": b"ebbtide.activity-event",
        "ce_time": b"2026-09-21T12:00:00+00:00",
        "content-type": b"application/json",
    } == dict(message.headers)


async def test_what_the_client_states_stays(gateway):
    """
    An id and a time of the client are kept; the timestamp is the receipt all the same.
    """
    earlier = NOON - 3 * HOUR_MS
    stated = VISIT | {"event_id": "mine", "occurred_at": earlier, "properties": {"a": [1, None]}}

    await gateway.http.post("/events", json=stated)

    (message,) = gateway.log.messages
    event = decode(message.value)
    assert ("mine", from_ms(earlier), {"a": [1, None]}) == (
        event.event_id,
        event.occurred_at,
        event.properties,
    )
    assert NOON == message.timestamp_ms


async def test_on_a_stream_clock_the_timestamp_is_the_events_own():
    """
    Replaying, log time is occurred_at; an event that states none happens now.
    """
    long_ago = NOON - 400 * DAY_MS
    async with standing("stream") as gateway:
        body = [VISIT | {"occurred_at": long_ago}, VISIT]
        await gateway.http.post("/events", json=body)

    assert [long_ago, NOON] == [message.timestamp_ms for message in gateway.log.messages]


async def test_valid_events_of_a_list_are_accepted_and_the_others_come_back(gateway):
    """
    Good items are published in order; each bad one is named by its index with the reason.
    """
    body = [
        VISIT | {"event_id": "a"},
        {"user_id": "bob"},
        VISIT | {"event_id": "b"},
        5,
        VISIT | {"pages_visited": 10_001},
        VISIT | {"colour": "red"},
    ]

    answer = await gateway.http.post("/events", json=body)

    assert (202, 2) == (answer.status_code, answer.json()["accepted"])
    rejected = {entry["index"]: entry["reason"] for entry in answer.json()["rejected"]}
    assert [1, 3, 4, 5] == list(rejected)
    assert "type: required" == rejected[1]
    assert "pages_visited" in rejected[4]
    assert "colour" in rejected[5]
    assert ["a", "b"] == [decode(message.value).event_id for message in gateway.log.messages]
    assert 2 == await gateway.metric(Metric.EVENTS_ACCEPTED)
    assert 4 == await gateway.metric(Metric.EVENTS_REJECTED)


BAD = {
    "no type": ({"type": None}, "type"),
    "no user": ({"user_id": ""}, "user_id"),
    "a number as user": ({"user_id": 5}, "user_id"),
    "below the range": ({"time_spent": -1}, "time_spent"),
    "above the range": ({"time_spent": 1441}, "time_spent"),
    "a number in quotes": ({"pages_visited": "3"}, "pages_visited"),
    "not a number": ({"value": float("nan")}, "value"),
    "infinity": ({"time_spent": float("inf")}, "time_spent"),
    "no number inside properties": ({"properties": {"x": [float("nan")]}}, "properties.x[0]"),
    "too far in the future": ({"occurred_at": NOON + DAY_MS + 1}, "occurred_at"),
    "no zone": ({"occurred_at": "2026-01-01T00:00:00"}, "occurred_at"),
    "no time": ({"occurred_at": "yesterday"}, "occurred_at"),
    "unknown": ({"pages": 1}, "pages"),
    "of a snapshot": ({"days_since_signup": 3}, "days_since_signup"),
    "a newer schema": ({"schema_version": 2}, "schema_version"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_event_is_a_422_naming_the_field(gateway, case):
    """
    When no event is valid, the problem says what is wrong with each.
    """
    change, field = BAD[case]

    answer = await gateway.http.post("/events", content=json.dumps(VISIT | change), headers=JSON)

    (error,) = answer.json()["errors"]
    assert (422, "application/problem+json") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    assert (field, 0) == (error["field"], error["index"])
    assert error["reason"]
    assert [] == gateway.log.messages


async def test_a_number_that_is_none_spoils_only_its_own_event(gateway):
    """
    NaN in one event of a list rejects that one.
    """
    body = json.dumps([VISIT, VISIT | {"value": float("nan")}, VISIT])

    answer = await gateway.http.post("/events", content=body, headers=JSON)

    assert (202, 2) == (answer.status_code, answer.json()["accepted"])
    assert [1] == [entry["index"] for entry in answer.json()["rejected"]]


async def test_a_day_ahead_is_still_accepted(gateway):
    """
    Clocks differ: up to a day later than the receipt passes.
    """
    answer = await gateway.http.post("/events", json=VISIT | {"occurred_at": NOON + DAY_MS})

    assert 202 == answer.status_code


@pytest.mark.parametrize("body", [[], "text", 12, None, True])
async def test_what_is_no_event_is_a_422(gateway, body):
    """
    An empty list or a bare value holds no event.
    """
    answer = await gateway.http.post("/events", content=json.dumps(body), headers=JSON)

    assert 422 == answer.status_code


async def test_too_much_at_once_is_a_413(gateway):
    """
    More than 1000 events or 1 MiB are refused whole, also when the length is not announced.
    """

    async def unannounced():
        for _ in range(MAX_BYTES // 4096 + 1):
            yield b" " * 4096

    many = await gateway.http.post("/events", json=[VISIT] * 1001)
    long = await gateway.http.post("/events", content=b" " * (MAX_BYTES + 1), headers=JSON)
    streamed = await gateway.http.post("/events", content=unannounced(), headers=JSON)

    assert [413, 413, 413] == [answer.status_code for answer in (many, long, streamed)]
    assert [] == gateway.log.messages


async def test_an_announced_length_is_refused_before_the_body_is_read(gateway):
    """
    Content-Length over the limit is enough: nothing of the body is asked for.
    """
    asked = []

    async def body():
        asked.append(True)
        yield b"{}"

    headers = JSON | {"content-length": str(MAX_BYTES + 1)}
    answer = await gateway.http.post("/events", content=body(), headers=headers)

    assert 413 == answer.status_code


async def test_an_event_that_would_be_too_long_once_complete_is_refused(gateway):
    """
    The scorer reads events up to a limit, so the gateway keeps to it with id and time added.
    """
    bare = len(json.dumps(VISIT | {"properties": {"x": ""}}, separators=(",", ":")))
    fits_bare = VISIT | {"properties": {"x": "y" * (MAX_EVENT_BYTES - bare)}}

    body = json.dumps(fits_bare, separators=(",", ":"))
    answer = await gateway.http.post("/events", content=body, headers=JSON)

    assert (MAX_EVENT_BYTES, 422) == (len(body), answer.status_code)
    assert "properties" == answer.json()["errors"][0]["field"]


async def test_kafka_away_is_a_503_that_says_when_to_come_again(gateway):
    """
    Without an acknowledgement nothing was accepted, and the answer says so.
    """
    gateway.log.away = 0

    answer = await gateway.http.post("/events", json=VISIT)

    assert (503, "application/problem+json") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    assert int(answer.headers["retry-after"]) > 0
    assert 0 == answer.json()["acknowledged"]
    assert 0 == await gateway.metric(Metric.EVENTS_ACCEPTED)


async def test_a_list_that_arrived_in_part_says_how_many(gateway):
    """
    A part acknowledged is still a 503: the client sends all again with the same ids.
    """
    gateway.log.away = 2

    answer = await gateway.http.post("/events", json=[VISIT, VISIT, VISIT])

    assert (503, 2) == (answer.status_code, answer.json()["acknowledged"])
    assert "2 of 3" in answer.json()["detail"]


async def test_deleting_a_user_publishes_a_tombstone(gateway):
    """
    DELETE is a null value under the user's key.
    """
    answer = await gateway.http.delete("/users/ada%2Flovelace")

    (message,) = gateway.log.messages
    assert (202, {"user_id": "ada/lovelace"}) == (answer.status_code, answer.json())
    assert (b"ada/lovelace", None, NOON) == (message.key, message.value, message.timestamp_ms)
    assert b"ebbtide.user-erasure" == dict(message.headers)["ce_type"]


async def test_deleting_with_kafka_away_is_a_503(gateway):
    """
    An erasure nobody recorded is not answered as if it were.
    """
    gateway.log.away = 0

    assert 503 == (await gateway.http.delete("/users/ada")).status_code


async def test_times_keep_their_zone_as_utc(gateway):
    """
    A time with an offset is the same moment in the record.
    """
    local = from_ms(NOON - HOUR_MS).astimezone(timezone(timedelta(hours=2)))

    await gateway.http.post("/events", json=VISIT | {"occurred_at": local.isoformat()})

    assert from_ms(NOON - HOUR_MS) == decode(gateway.log.messages[0].value).occurred_at
