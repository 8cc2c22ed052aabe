"""A gateway that has enough to do says so at once, and goes on with what it has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message, Scope

from ingest_api.admission import BEFORE_ALL, Limits, Moment
from ingest_api.metrics import GatewayMetrics
from ingest_api.shedding import ARRIVED, CONNECTIONS, Shedding, clock
from tests.unit.ingest_api.stand import TOTALS, Stand, standing

EVENT = {"user_id": "ada", "type": "login"}
JSON = {"content-type": "application/json"}
LONG_WAY = {"content-type": "application/json; charset=utf-8"}
HEALTH = ("/livez", "/readyz", "/metrics")


@asynccontextmanager
async def full() -> AsyncIterator[Stand]:
    """A gateway with room for two, and Kafka has let two requests wait."""
    async with standing(limits=Limits(in_flight=2)) as gateway:
        gateway.log.hangs = True
        waiting = [asyncio.ensure_future(gateway.http.post("/events", json=EVENT)) for _ in "ab"]
        for _ in range(50):
            await asyncio.sleep(0)
        try:
            yield gateway
        finally:
            for each in waiting:
                each.cancel()
                with suppress(asyncio.CancelledError):
                    await each


async def sent_to(gateway: Stand, scope: Scope, body: bytes = b"") -> list[Message]:
    """What the gateway sends to a request as a server would hand it over."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await gateway.app(scope, receive, send)
    return sent


def scope_of(method: str, path: str, **more: object) -> Scope:
    """As the server makes it."""
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1", "scheme": "http", "server": ("localhost", 80),
        "client": ("localhost", 1), "root_path": "", **more,
    }  # fmt: skip


async def test_past_its_room_it_answers_503_and_when_to_come_again():
    """
    The refusal is a problem like the others, at once, and no event is lost by it: none was taken.
    """
    async with full() as gateway:
        refused = await gateway.http.post("/events", json=EVENT)

    assert 503 == refused.status_code
    assert "application/problem+json" == refused.headers["content-type"]
    assert int(refused.headers["retry-after"]) > 0
    assert "urn:ebbtide:problem:overloaded" == refused.json()["type"]
    assert [] == gateway.log.messages


async def test_requests_that_wait_for_kafka_keep_predictions_and_health_going():
    """
    Kafka that hangs costs the routes that need it, nobody else.
    """
    async with full() as gateway:
        predictions = [
            await gateway.http.post("/predict", content=json.dumps(TOTALS), headers=headers)
            for headers in (JSON, LONG_WAY)
        ]
        told = [await gateway.http.get(path) for path in HEALTH]

    assert [200] * 5 == [answer.status_code for answer in (*predictions, *told)]


async def test_what_is_shed_is_counted_by_route_and_reason():
    """
    A dashboard sees how much was refused, and why.
    """
    async with full() as gateway:
        for _ in range(3):
            await gateway.http.post("/events", json=EVENT)
        told = (await gateway.http.get("/metrics")).text

    assert 'http_requests_shed_total{reason="in_flight",route="other"} 3.0' in told
    assert 'http_requests_shed_total{reason="in_flight",route="/predict"} 0.0' in told


async def test_room_comes_back_when_requests_are_answered():
    """
    Any number of requests in turn is taken on, whatever became of each.
    """
    async with standing(limits=Limits(in_flight=1, body_bytes=1 << 20)) as gateway:
        bodies = [json.dumps(TOTALS).encode(), b"{", b"[]"] * 4
        answers = [
            await gateway.http.post("/predict", content=body, headers=headers)
            for body in bodies
            for headers in (JSON, LONG_WAY)
        ]
        answers += [await gateway.http.get("/users/nobody") for _ in range(4)]

    assert {200, 400, 404, 422} == {answer.status_code for answer in answers}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({ARRIVED: Moment(0.0, clock().work - 60.0)}, "waited"),
        ({CONNECTIONS: 10_000}, "connections"),
    ],
    ids=["waited", "connections"],
)
async def test_what_the_server_knows_of_a_request_may_refuse_it(gateway, more, reason):
    """
    When its head had come, and how many connections there are.
    """
    body = json.dumps(TOTALS).encode()
    scope = scope_of("POST", "/predict", **more)
    scope["headers"].append((b"content-length", b"%d" % len(body)))
    start, _ = await sent_to(gateway, scope, body)
    told = (await gateway.http.get("/metrics")).text

    assert 503 == start["status"]
    assert ((b"connection", b"close") in start["headers"]) == (reason == "connections")
    assert f'requests_shed_total{{reason="{reason}",route="/predict"}} 1.0' in told


@pytest.mark.parametrize("path", HEALTH)
async def test_health_and_metrics_are_never_shed(gateway, path):
    """
    However late and crowded it is: that is when they are asked.
    """
    scope = scope_of("GET", path, **{ARRIVED: BEFORE_ALL, CONNECTIONS: 10**9})

    assert 200 == (await sent_to(gateway, scope))[0]["status"]


async def test_bodies_are_counted_by_what_they_announce():
    """
    Two of 230 kB do not fit into 400 kB; one that does not say how long it is counts in full.
    """
    async with standing(limits=Limits(body_bytes=400_000)) as gateway:
        gateway.log.hangs = True
        long = json.dumps([EVENT | {"location": "x" * 200}] * 900)
        waiting = asyncio.ensure_future(gateway.http.post("/events", content=long, headers=JSON))
        for _ in range(50):
            await asyncio.sleep(0)
        refused = await gateway.http.post("/events", content=long, headers=JSON)
        unannounced = await sent_to(gateway, scope_of("POST", "/events"))
        small = asyncio.ensure_future(gateway.http.post("/events", json=EVENT))
        for _ in range(50):
            await asyncio.sleep(0)
        told = [refused.status_code, unannounced[0]["status"], small.done()]
        for each in (waiting, small):
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each

    assert [503, 503, False] == told


async def test_a_feed_holds_no_place_once_it_has_begun():
    """
    An answer that lasts for hours is work only until it begins.
    """
    begun, over = 0, asyncio.Event()

    async def feed(_scope, _receive, send):
        nonlocal begun
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun += 1
        await over.wait()

    async def send(_: Message) -> None:
        pass

    door = Shedding(feed, GatewayMetrics(CollectorRegistry()), Limits(in_flight=1))
    feeds = [
        asyncio.ensure_future(door(scope_of("GET", "/alerts/stream"), send, send)) for _ in "abc"
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    over.set()
    await asyncio.gather(*feeds)

    assert 3 == begun
