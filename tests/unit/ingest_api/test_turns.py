"""Requests for the routes wait in line; what waits too long, or finds no room, is told at once."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from ingest_api.admission import Limits, Moment
from ingest_api.metrics import GatewayMetrics
from ingest_api.shedding import Shedding
from ingest_api.turns import AT_ONCE, Turns
from tests.unit.ingest_api.stand import TOTALS, standing
from tests.unit.ingest_api.wire import Wire, post

BODY = json.dumps(TOTALS).encode()


class Worker:
    """An app whose every request takes 5 ms of work by `clock`; tells which it has begun."""

    def __init__(self, limits: Limits) -> None:
        self.idle = self.work = 0.0
        self.begun: list[str] = []
        self.front = Shedding(self._answer, GatewayMetrics(CollectorRegistry()), limits)
        self.turns = Turns(self.front)

    def clock(self) -> Moment:
        return Moment(self.idle + self.work, self.work)

    async def warm_up(self) -> None:
        """Answer two who have nobody before them: no queue stands."""
        for _ in range(2):
            self.idle += 1.0
            await Wire(self).ask(post("/first", b"{}"))
        self.idle += 1.0
        self.begun.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.front(scope, receive, send)

    async def _answer(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        self.work += 0.005
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """With its clock in place of the processor's."""
    made = Worker(Limits())
    for module in ("shedding", "protocol"):
        monkeypatch.setattr(f"ingest_api.{module}.clock", made.clock)
    return made


async def test_requests_are_begun_in_the_order_in_which_they_came(worker):
    """
    And all are answered, where there is little to wait for.
    """
    await worker.warm_up()
    wires = [Wire(worker) for _ in range(3 * AT_ONCE)]
    for number, wire in enumerate(wires):
        wire.send(post(f"/{number}", b"{}"))
    answers = [(await wire.answers(1))[0] for wire in wires]

    assert {200} == {answer.status for answer in answers}
    assert [f"/{number}" for number in range(len(wires))] == worker.begun


async def test_what_has_more_work_before_it_than_is_waited_for_is_refused(worker):
    """
    100 requests of 5 ms at once: a burst of 100 ms is taken on, the rest is told to come again.
    """
    await worker.warm_up()
    wires = [Wire(worker) for _ in range(100)]
    for wire in wires:
        wire.send(post("/events", b"{}"))
    answers = [(await wire.answers(1))[0] for wire in wires]
    accepted = [answer.status for answer in answers].count(200)

    assert {200, 503} == {answer.status for answer in answers}
    assert 20 <= accepted <= 20 + AT_ONCE + 1
    assert all(
        any(b"retry-after" in line for line in a.headers) for a in answers if a.status == 503
    )


async def test_health_is_told_past_the_line(worker):
    """
    Whoever asks how it is hears it before what waits.
    """
    wires = [Wire(worker) for _ in range(50)]
    for wire in wires:
        wire.send(post("/events", b"{}"))
    health = Wire(worker)
    health.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    await health.answers(1)

    assert worker.begun.index("/livez") <= AT_ONCE


async def test_who_left_the_line_is_not_begun(worker):
    """
    Their request was never taken on.
    """
    wires = [Wire(worker) for _ in range(2 * AT_ONCE)]
    for number, wire in enumerate(wires):
        wire.send(post(f"/{number}", b"{}"))
    wires[-2].leave()
    await wires[-1].answers(1)

    assert f"/{len(wires) - 2}" not in worker.begun


async def test_a_refusal_in_the_line_is_the_one_of_the_door():
    """
    The same bytes, whether the server refuses before the app or the app itself.
    """
    async with standing(limits=Limits(in_flight=0)) as gateway:
        wire = Wire(gateway.app)
        wire.send(post("/predict?explain=true", BODY) * 2)
        at_server = await wire.answers(2)
        in_app = await gateway.http.post(
            "/predict?explain=true", content=BODY, headers={"content-type": "application/json"}
        )

    assert at_server[0] == at_server[1]
    assert (in_app.status_code, in_app.content) == (at_server[0].status, at_server[0].body)


async def test_more_connections_than_are_kept_are_closed_with_a_word():
    """
    Also those that ask for a prediction, which are refused for nothing else.
    """
    async with standing(limits=Limits(connections=0)) as gateway:
        wire = Wire(gateway.app)
        answer = await wire.ask(post("/predict", BODY))

    assert 503 == answer.status
    assert b"connection: close" in answer.headers
    assert wire.transport.is_closed


async def test_predictions_are_answered_when_the_routes_have_no_room():
    """
    One costs hardly more than its refusal.
    """
    async with standing(limits=Limits(in_flight=0)) as gateway:
        answer = await Wire(gateway.app).ask(post("/predict", BODY))

    assert 200 == answer.status
