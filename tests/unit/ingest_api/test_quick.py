"""The short way through the gateway says what the long one says."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest_api.inputs import PredictRequest
from ingest_api.metrics import GatewayMetrics
from ingest_api.predictions import Predictor
from ingest_api.quick import PATH, QuickPredict
from model.reasons import Explainer
from tests.unit.ingest_api.stand import TOTALS, a_model, standing


class NoSnapshots:
    """Nobody in these tests has an id."""

    def offer(self, request: PredictRequest) -> None:
        assert request.user_id is None


def in_front_of(app: ASGIApp) -> QuickPredict:
    """The middleware alone."""
    predictor = Predictor(a_model(), Explainer(a_model()))
    metrics = GatewayMetrics(CollectorRegistry())
    return QuickPredict(app, predictor, NoSnapshots(), metrics)  # type: ignore[arg-type]


JSON = {"content-type": "application/json"}
BARE = {"type": "http", "method": "POST", "path": PATH, "query_string": b""}
LONG_WAY = {"content-type": "application/json; charset=utf-8"}
"""Anything but the exact media type goes through the routes."""


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
        quick = await gateway.http.post(PATH, content=body, headers=JSON)
        long = await gateway.http.post(PATH, content=body, headers=LONG_WAY)
        if user_id is not None and quick.status_code == 200:
            for _ in range(100):
                await asyncio.sleep(0)  # the queue's own task publishes
            snapshots = [message.value for message in gateway.log.messages]
            assert 2 == len(snapshots)

    assert long.status_code == quick.status_code
    assert long.content == quick.content
    assert sorted(long.headers.items()) == sorted(quick.headers.items())


BODIES = {
    "bad field": json.dumps(TOTALS | {"pages_visited": -1}).encode(),
    "no JSON": b"{",
    "no text": b'{"pages_visited": "\xff"}',
    "nothing": b"",
    "a list": b"[]",
    "not a number": b'{"pages_visited": NaN}',
    "too much": b" " * 70_000 + json.dumps(TOTALS).encode(),
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_what_does_not_fit_is_refused_in_the_same_words(gateway, body):
    """
    Errors have one source, whichever way the request came.
    """
    quick = await gateway.http.post(PATH, content=body, headers=JSON)
    long = await gateway.http.post(PATH, content=body, headers=LONG_WAY)

    assert 400 <= quick.status_code < 500
    assert (long.status_code, long.content) == (quick.status_code, quick.content)


async def test_a_compressed_body_is_not_read_as_json(gateway):
    """
    The routes say that they take no content-encoding.
    """
    headers = JSON | {"content-encoding": "gzip"}
    answer = await gateway.http.post(PATH, content=json.dumps(TOTALS), headers=headers)

    assert 415 == answer.status_code


async def test_a_body_in_two_pieces_is_put_together(gateway):
    """
    What came first is handed on with the rest.
    """
    body = json.dumps(TOTALS).encode()
    pieces: list[Message] = [
        {"type": "http.request", "body": body[:10], "more_body": True},
        {"type": "http.request", "body": body[10:], "more_body": False},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return pieces.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
        "http_version": "1.1", "scheme": "http", "server": ("localhost", 80),
        "client": ("localhost", 1), "root_path": "",
    }  # fmt: skip
    await gateway.app(scope, receive, send)

    assert 200 == sent[0]["status"]
    assert {"prediction": "0", "confidence": 0.88} == json.loads(sent[1]["body"])


async def test_both_ways_are_counted_and_timed_under_the_same_route(gateway):
    """
    Whoever watches the metrics does not see which way a request went.
    """
    for headers in (JSON, JSON, LONG_WAY):
        await gateway.http.post(PATH, content=json.dumps(TOTALS), headers=headers)
    told = (await gateway.http.get("/metrics")).text

    assert 'requests_total{route="/predict",status="200"} 3.0' in told
    assert 'seconds_count{route="/predict"} 3.0' in told


@pytest.mark.parametrize("length", [b"99999999", b"ten", None])
async def test_a_body_that_is_not_announced_as_short_is_left_to_the_routes(length):
    """
    They refuse what is too much before any of it has come.
    """

    async def receive() -> Message:
        raise AssertionError("read before it was refused")

    handed_on = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        handed_on.append(scope)

    quick = in_front_of(app)
    headers = [(b"content-type", b"application/json")]
    if length is not None:
        headers.append((b"content-length", length))
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "headers": headers,
    }
    await quick(scope, receive, receive)

    assert [scope] == handed_on


async def test_a_body_that_does_not_come_is_left_to_the_routes(monkeypatch):
    """
    They wait as long as they promise, and then say what was missing.
    """
    monkeypatch.setattr("ingest_api.quick.WAIT_SECONDS", 0.0)
    handed_on = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        handed_on.append(scope)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    quick = in_front_of(app)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"10")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "headers": headers,
    }
    await quick(scope, receive, receive)

    assert [scope] == handed_on
