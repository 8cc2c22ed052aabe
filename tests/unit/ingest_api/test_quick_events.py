"""The short way of an event through the gateway says what the long one says."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.events import decode
from contracts.metrics import Metric
from ingest_api import shedding
from ingest_api.admission import Limits, Moment
from ingest_api.quick_events import PATH
from tests.unit.ingest_api.stand import Stand, standing
from tests.unit.ingest_api.wire import Wire, post

EVENT = {"user_id": "ada", "type": "page_view", "event_id": "e1", "pages_visited": 3}
BODY = json.dumps(EVENT).encode()
WAYS = ("application/json", "application/json; charset=utf-8")
"""Anything but the exact media type goes through the routes."""
LIVEZ = b"GET /livez HTTP/1.1\r\nhost: gateway\r\n\r\n"


def numbered(number: int) -> bytes:
    return json.dumps(EVENT | {"event_id": str(number)}).encode()


def short(gateway: Stand) -> list[str | None]:
    """Ids of the events that go the short way, from here on."""
    quick, ids = gateway.app.quick_events, []  # type: ignore[attr-defined]
    deliver = quick._post

    def noting(message, told):
        ids.append(decode(message.value).event_id)
        return deliver(message, told)

    quick._post = noting
    return ids


@given(
    user_id=st.text(min_size=1, max_size=10),
    pages=st.none() | st.integers(0, 100),
    minutes=st.floats(0, 1e4),
)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
async def test_both_ways_give_the_same_answer_and_leave_the_same_record(user_id, pages, minutes):
    """
    Body, status and headers are the same to the byte, and so is what Kafka gets.
    """
    body = json.dumps(EVENT | {"user_id": user_id, "pages_visited": pages, "time_spent": minutes})
    async with standing() as gateway:
        ids = short(gateway)
        answers = [await Wire(gateway.app).ask(post(PATH, body.encode(), way)) for way in WAYS]

    assert answers[0] == answers[1]
    assert (answers[0].status == 202) == (ids == ["e1"])
    if ids:
        first, second = gateway.log.messages
        assert first == second


BODIES = {
    "bad field": json.dumps(EVENT | {"pages_visited": -1}).encode(),
    "no JSON": b"{",
    "no text": b'{"user_id": "\xff"}',
    "nothing": b"",
    "an empty list": b"[]",
    "not a number": b'{"user_id": "a", "type": "b", "time_spent": NaN}',
    "too deep": b'{"properties": ' + b"[" * 3_000,
    "the future": json.dumps(EVENT | {"occurred_at": "2099-01-01T00:00:00Z"}).encode(),
    "a list": b"[" + BODY + b"]",
    "behind a space": b" " + BODY,
    "long": json.dumps(EVENT | {"properties": {"a": "b" * 5_000}}).encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_what_is_not_one_short_event_goes_the_long_way(gateway, body):
    """
    What is said about it has one source.
    """
    ids = short(gateway)
    answers = [await Wire(gateway.app).ask(post(PATH, body, way)) for way in WAYS]

    assert answers[0] == answers[1]
    assert [] == ids


@pytest.mark.parametrize("head", ["content-encoding: gzip\r\n", "origin: https://evil.example\r\n"])
async def test_what_is_unusual_is_left_to_the_routes(gateway, head):
    """
    They say why it will not do.
    """
    ids = short(gateway)
    answer = await Wire(gateway.app).ask(post(PATH, BODY, more=head))

    assert answer.status in (403, 415)
    assert [] == ids


async def test_without_kafka_it_is_the_routes_503(gateway):
    """
    And counts as theirs does; nothing is said to be accepted.
    """
    gateway.log.away = 0
    answer = await Wire(gateway.app).ask(post(PATH, BODY))
    gateway.log.post = lambda *_: False
    at_route = await Wire(gateway.app).ask(post(PATH, BODY))
    told = (await gateway.http.get("/metrics")).text

    assert (503, 503) == (answer.status, at_route.status)
    assert [line for line in at_route.headers if b"content-length" not in line] == [
        line for line in answer.headers if b"content-length" not in line
    ]
    assert json.loads(at_route.body).keys() == json.loads(answer.body).keys()
    assert f'{Metric.REQUESTS}{{route="/events",status="503"}} 2.0' in told
    assert f"{Metric.EVENTS_ACCEPTED} 0.0" in told


async def test_nothing_is_answered_before_kafka_has_it(gateway):
    """
    Whatever comes behind it on its connection waits, and others do not.
    """
    gateway.log.hangs = True
    wire = Wire(gateway.app)
    wire.send(post(PATH, BODY) + LIVEZ)
    assert 200 == (await Wire(gateway.app).ask(LIVEZ)).status

    assert b"" == wire.transport.written


@pytest.mark.parametrize("piece", [11, 90, 10_000])
async def test_answers_leave_in_the_order_of_their_requests(piece):
    """
    Wherever they are cut, and whichever way they go.
    """
    data = (
        post(PATH, numbered(1)) + post("/predict", b"{}") + post(PATH, numbered(2), WAYS[1])
        + post(PATH, b"{") + LIVEZ + post(PATH, numbered(3))
    )  # fmt: skip
    patient = Limits(standing_wait=60, burst_wait=60)  # they wait for one another
    async with standing(limits=patient) as gateway:
        wire = Wire(gateway.app)
        for at in range(0, len(data), piece):
            wire.send(data[at : at + piece])
        answers = await wire.answers(6)

    assert [202, 422, 202, 400, 200, 202] == [answer.status for answer in answers]
    assert ["1", "2", "3"] == [decode(m.value).event_id for m in gateway.log.messages]


async def test_a_prediction_before_an_event_is_answered_before_it(gateway):
    """
    It is the faster one, and they share a connection.
    """
    wire = Wire(gateway.app)
    totals = b'{"pages_visited":1,"time_spent":1,"days_since_signup":1,"is_logged_in":true}'
    wire.send(post("/predict", totals) + post(PATH, BODY) + post("/predict", totals))

    assert [200, 202, 200] == [answer.status for answer in await wire.answers(3)]


async def test_both_ways_are_counted_and_timed_under_the_same_route(gateway):
    """
    Whoever watches the metrics does not see which way a request went.
    """
    for way in (*WAYS, WAYS[0]):
        await Wire(gateway.app).ask(post(PATH, BODY, way))
    told = (await gateway.http.get("/metrics")).text

    assert f'{Metric.REQUESTS}{{route="/events",status="202"}} 3.0' in told
    assert f'{Metric.REQUEST_SECONDS}_count{{route="/events"}} 3.0' in told
    assert f"{Metric.EVENTS_ACCEPTED} 3.0" in told


async def test_who_hangs_up_is_not_answered_and_their_event_stays(gateway):
    """
    A retry with the same id counts once.
    """
    leaves, stays = Wire(gateway.app), Wire(gateway.app)
    for wire in (leaves, stays):
        wire.send(post(PATH, BODY))
    leaves.leave()

    assert 202 == (await stays.answers(1))[0].status
    assert b"" == leaves.transport.written
    assert 2 == len(gateway.log.messages)


async def test_a_stopping_server_waits_for_the_answer(gateway):
    """
    And closes the connection behind it.
    """
    wire = Wire(gateway.app)
    wire.send(post(PATH, BODY))
    wire.server.shutdown()
    assert not wire.transport.is_closed

    assert 202 == (await wire.answers(1))[0].status
    assert wire.transport.is_closed


class Worker:
    """A clock that works for a millisecond whenever it is asked."""

    def __init__(self) -> None:
        self.work = 0.0

    def __call__(self) -> Moment:
        self.work += 0.001
        return Moment(self.work, self.work)


async def test_more_than_a_turn_of_the_loop_may_take_is_refused(monkeypatch):
    """
    At first half of a burst is taken on, later half of what may stand; refused is once all is read.
    """
    monkeypatch.setattr(shedding, "clock", Worker())
    async with standing(limits=Limits(standing_wait=0.02, burst_wait=0.1)) as gateway:
        for _ in range(2):  # with nobody before them: no queue stands
            await Wire(gateway.app).ask(post(PATH, BODY))
        wires = [Wire(gateway.app) for _ in range(150)]
        taken = []
        for _ in range(4):
            for wire in wires:
                wire.transport.written = b""
                wire.send(post(PATH, BODY))
            assert {b""} == {wire.transport.written for wire in wires}
            answers = [(await wire.answers(1))[0] for wire in wires]
            taken.append([answer.status for answer in answers].count(202))
        monkeypatch.undo()
        told = (await gateway.http.get("/metrics")).text

    assert 40 <= taken[0] <= 51
    assert all(8 <= count <= 12 for count in taken[1:])
    assert 2 + sum(taken) == len(gateway.log.messages)
    assert any(b"retry-after" in line for line in answers[-1].headers)
    shed = 4 * len(wires) - sum(taken)
    assert f'{Metric.REQUESTS_SHED}{{reason="waited",route="other"}} {shed}.0' in told


async def test_a_mistake_of_ours_is_the_routes_500(gateway, monkeypatch):
    """
    A short way that fails is not taken.
    """
    quick = gateway.app.quick_events
    monkeypatch.setattr(quick, "_message", lambda *_: 1 / 0)

    assert 202 == (await Wire(gateway.app).ask(post(PATH, BODY))).status
    await asyncio.sleep(0)
