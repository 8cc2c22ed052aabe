"""The short way through the gateway says what the long one says."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_api import bodies
from ingest_api.quick import PATH
from model.artefact import Model
from tests.unit.ingest_api.stand import TOTALS, Stand, a_model, standing
from tests.unit.ingest_api.wire import Wire, post

BODY = json.dumps(TOTALS).encode()
LONG_WAY = "application/json; charset=utf-8"
"""Anything but the exact media type goes through the routes."""
WAYS = ("application/json", LONG_WAY)


def noted(gateway: Stand) -> list[int]:
    """How many requests the short way has answered at a time, from here on."""
    quick, counts = gateway.app.quick, []  # type: ignore[attr-defined]
    predict = quick._predict

    def noting(totals):
        counts.append(len(totals))
        return predict(totals)

    quick._predict = noting
    return counts


@given(
    pages=st.integers(0, 100),
    minutes=st.floats(0, 1e5),
    user_id=st.none() | st.text(min_size=1, max_size=10),
)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
async def test_both_ways_give_the_same_answer(pages, minutes, user_id):
    """
    Body, status and headers are the same to the byte, and both queue the snapshot.
    """
    totals = TOTALS | {"pages_visited": pages, "time_spent": minutes}
    if user_id is not None:
        totals["user_id"] = user_id
    body = json.dumps(totals).encode()
    async with standing() as gateway:
        took = noted(gateway)
        short, long = [await Wire(gateway.app).ask(post(PATH, body, way)) for way in WAYS]
        if user_id is not None and short.status == 200:
            for _ in range(100):
                await asyncio.sleep(0)  # the queue's own task publishes
            assert 2 == len([message.value for message in gateway.log.messages])

    assert long == short
    assert (short.status == 200) == (took == [1])


BODIES = {
    "bad field": json.dumps(TOTALS | {"pages_visited": -1}).encode(),
    "no JSON": b"{",
    "no text": b'{"pages_visited": "\xff"}',
    "nothing": b"",
    "a list": b"[]",
    "not a number": b'{"pages_visited": NaN}',
    "long": b" " * 10_000 + BODY[:-1],
    "too much": b" " * 70_000 + BODY,
    "too deep": b"[" * 3_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_what_does_not_fit_is_refused_in_the_same_words(gateway, body):
    """
    Errors have one source, whichever way the request came.
    """
    short, long = [await Wire(gateway.app).ask(post(PATH, body, way)) for way in WAYS]

    assert 400 <= short.status < 500
    assert long == short


async def test_a_compressed_body_is_not_read_as_json(gateway):
    """
    The routes say that they take no content-encoding.
    """
    answer = await Wire(gateway.app).ask(post(PATH, BODY, more="content-encoding: gzip\r\n"))

    assert 415 == answer.status


@pytest.mark.parametrize("piece", [1, 7, 90])
async def test_a_request_in_pieces_is_put_together(gateway, piece):
    """
    Wherever it is cut, and with others behind it.
    """
    wire, data = Wire(gateway.app), post(PATH, BODY) * 3
    for at in range(0, len(data), piece):
        wire.send(data[at : at + piece])
    answers = await wire.answers(3)

    assert [200] * 3 == [answer.status for answer in answers]


async def test_answers_leave_in_the_order_of_their_requests(gateway):
    """
    Short ones do not overtake long ones on a connection, nor what is refused.
    """
    pages = [json.dumps(TOTALS | {"pages_visited": n}).encode() for n in range(6)]
    wire = Wire(gateway.app)
    wire.send(
        post(PATH, pages[0]) + post(PATH, pages[1]) + post(PATH, pages[2], LONG_WAY)
        + post(PATH, b"{") + post(PATH, pages[3]) + b"GET /livez HTTP/1.1\r\nhost: gateway\r\n\r\n"
        + post(PATH, pages[4], LONG_WAY) + post(PATH, pages[5])
    )  # fmt: skip
    answers = await wire.answers(8)
    told = [json.loads(answer.body).get("confidence", answer.status) for answer in answers]

    assert [1.0, 0.99, 0.98, 400, 0.97, 200, 0.96, 0.95] == told


async def test_what_is_no_request_is_refused_after_those_before_it(gateway):
    """
    On the same connection, which ends.
    """
    wire = Wire(gateway.app)
    wire.send(post(PATH, BODY) * 2 + b"\x00\r\n\r\n")

    assert [200, 200, 400] == [answer.status for answer in await wire.answers(3)]


async def test_what_comes_at_once_is_answered_as_if_it_came_alone(gateway):
    """
    One call of the model for many requests changes none of the answers.
    """
    pages = [json.dumps(TOTALS | {"pages_visited": n % 101}).encode() for n in range(200)]
    counts = noted(gateway)
    wires = [Wire(gateway.app) for _ in pages]
    for wire, body in zip(wires, pages, strict=True):
        wire.send(post(PATH, body))
    together = [(await wire.answers(1))[0] for wire in wires]
    assert 200 == sum(counts)
    assert len(counts) < 10
    alone = [await Wire(gateway.app).ask(post(PATH, body)) for body in pages]

    assert alone == together


async def test_both_ways_are_counted_and_timed_under_the_same_route(gateway):
    """
    Whoever watches the metrics does not see which way a request went.
    """
    for way in (*WAYS, WAYS[0]):
        await Wire(gateway.app).ask(post(PATH, BODY, way))
    told = (await gateway.http.get("/metrics")).text

    assert 'requests_total{route="/predict",status="200"} 3.0' in told
    assert 'seconds_count{route="/predict"} 3.0' in told


@pytest.mark.parametrize("length", ["99999999", None])
async def test_a_body_that_is_not_announced_as_short_is_left_to_the_routes(gateway, length):
    """
    They refuse what is too much before any of it has come, and what never ends after a while.
    """
    told = f"content-length: {length}\r\n" if length else "transfer-encoding: chunked\r\n"
    head = f"POST {PATH} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n{told}\r\n"
    wire = Wire(gateway.app)
    wire.send(head.encode())
    if length is None:
        wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))

    assert (413 if length else 200) == (await wire.answers(1))[0].status


async def test_a_body_that_does_not_come_is_left_to_the_routes(gateway, monkeypatch):
    """
    They wait as long as they promise, and then say what was missing.
    """
    monkeypatch.setattr("ingest_api.protocol.BODY_SECONDS", 0.0)
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.0)
    wire = Wire(gateway.app)

    assert 408 == (await wire.ask(post(PATH, BODY)[:-5])).status


async def test_who_hangs_up_is_forgotten(gateway):
    """
    With a request half sent, or not yet answered; others are answered as ever.
    """
    half, unanswered, stays = [Wire(gateway.app) for _ in range(3)]
    half.send(post(PATH, BODY)[:-5])
    for wire in (unanswered, stays):
        wire.send(post(PATH, BODY))
    half.leave()
    unanswered.leave()

    assert 200 == (await stays.answers(1))[0].status
    assert b"" == half.transport.written + unanswered.transport.written


async def test_a_client_that_has_said_all_is_answered(gateway):
    """
    As one that writes a request, closes its side and listens.
    """
    wire = Wire(gateway.app)
    wire.send(post(PATH, BODY))
    wire.server.eof_received()

    assert 200 == (await wire.answers(1))[0].status


async def test_a_stopping_server_answers_what_it_has_taken(gateway):
    """
    Before it closes the connection.
    """
    wire = Wire(gateway.app)
    wire.send(post(PATH, BODY))
    wire.server.shutdown()

    assert 200 == (await wire.answers(1))[0].status
    assert wire.transport.is_closed


async def test_a_connection_to_be_closed_is_closed(gateway):
    """
    After its answer.
    """
    wire = Wire(gateway.app)
    answer = await wire.ask(post(PATH, BODY, more="connection: close\r\n"))

    assert 200 == answer.status
    assert b"connection: close" in answer.headers
    assert wire.transport.is_closed


class _Broken:
    """An estimator that cannot."""

    def predict_proba(self, _rows: np.ndarray) -> np.ndarray:
        raise ValueError("it is a test")


async def test_a_model_that_fails_is_told_in_the_same_words():
    """
    A mistake of ours is a problem like the others, to all whom it met, and the server goes on.
    """
    broken = Model(a_model().manifest, _Broken(), _Broken())  # type: ignore[arg-type]
    stand = Stand(model=broken)
    wires = [Wire(stand.app) for _ in range(2)]
    for wire in wires:
        wire.send(post(PATH, BODY))
    short = [(await wire.answers(1))[0] for wire in wires]
    long = await stand.http.post(PATH, content=BODY, headers={"content-type": LONG_WAY})

    assert [500] * 2 == [answer.status for answer in short]
    assert {long.content} == {answer.body for answer in short}
    await stand.http.aclose()


async def test_who_may_not_is_left_to_the_routes(gateway, monkeypatch):
    """
    The short way refuses nobody, it only leaves them to who does.
    """
    asked, counts = [], noted(gateway)
    monkeypatch.setattr(gateway.app.quick, "_may", asked.append)
    answer = await Wire(gateway.app).ask(post(PATH, BODY, more="authorization: Bearer x\r\n"))

    assert 200 == answer.status
    assert (b"authorization", b"Bearer x") in asked[0]
    assert [] == counts
