"""Posting to a gateway: what is asked again, halved, reported or given up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contracts.errors import BadRecord, LogUnavailable, Misconfigured
from ebbtide.feed.http import Answer, HttpSink, events_url
from ebbtide.feed.records import Sendable

RECORDS = [Sendable(i, f"u{i}", f"id-{i}", b'{"n":%d}' % i) for i in range(4)]


class Gateway:
    """Answers as told, one answer per post, the last one for ever."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.posted: list[list[int]] = []
        self.pauses: list[float] = []
        self.stop = False

    async def post(self, body: bytes) -> Answer:
        self.posted.append([item["n"] for item in json.loads(body)])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return self.stop

    def sink(self) -> HttpSink:
        return HttpSink(self.post, self.pause, target="http://gateway/events")


def says(status: int, body: Any = None, **headers: str) -> Answer:
    return Answer(status, headers, json.dumps(body).encode())


ACCEPTED = says(202, {"accepted": 4, "rejected": []})


async def test_an_accepted_list_is_posted_once() -> None:
    """
    A 202 settles the whole list.
    """
    gateway = Gateway(ACCEPTED)

    refusals = await gateway.sink().send(RECORDS)

    assert [] == refusals
    assert [[0, 1, 2, 3]] == gateway.posted


async def test_rejected_items_are_reported_by_index() -> None:
    """
    What a gateway rejects out of a list comes back with its reason; the rest is settled.
    """
    gateway = Gateway(says(202, {"accepted": 3, "rejected": [{"index": 2, "reason": "too odd"}]}))

    refusals = await gateway.sink().send(RECORDS)

    assert [(RECORDS[2], "too odd")] == [(r.record, r.reason) for r in refusals]


async def test_a_busy_gateway_is_asked_again_when_it_said() -> None:
    """
    Retry-After is honoured; without one, pauses grow; a lost connection is like a 503.
    """
    gateway = Gateway(
        says(503, **{"retry-after": "7"}), says(503), ConnectionRefusedError("no"), ACCEPTED
    )

    await gateway.sink().send(RECORDS)

    assert 4 == len(gateway.posted)
    assert [7.0, 1.0, 2.0] == gateway.pauses


async def test_patience_ends() -> None:
    """
    A gateway that stays away is given up after ten minutes, not for ever waited for.
    """
    gateway = Gateway(says(503, **{"retry-after": "30"}))

    with pytest.raises(LogUnavailable, match="gave up after 600 s"):
        await gateway.sink().send(RECORDS)

    assert 20 == len(gateway.pauses)


async def test_stopping_ends_the_wait() -> None:
    """
    Asked to stop while waiting, the chunk is not counted as sent.
    """
    gateway = Gateway(says(503))
    gateway.stop = True

    with pytest.raises(LogUnavailable, match="stopped"):
        await gateway.sink().send(RECORDS)

    assert 1 == len(gateway.posted)


async def test_a_list_too_large_is_halved() -> None:
    """
    After a 413 the halves are posted in order.
    """
    gateway = Gateway(says(413), ACCEPTED)

    await gateway.sink().send(RECORDS)

    assert [[0, 1, 2, 3], [0, 1], [2, 3]] == gateway.posted


async def test_a_gateway_that_takes_nothing_stops_us() -> None:
    """
    When the very first list is refused whole, sending on would only repeat the complaint.
    """
    gateway = Gateway(says(422, {"detail": "event 0: type: required"}))

    with pytest.raises(BadRecord, match="takes none of the events: event 0: type: required"):
        await gateway.sink().send(RECORDS)


async def test_a_list_refused_later_is_reported() -> None:
    """
    Once something was accepted, a list without a valid item is reported and passed.
    """
    gateway = Gateway(ACCEPTED, says(422, {"title": "no valid event"}))
    sink = gateway.sink()
    await sink.send(RECORDS)

    refusals = await sink.send(RECORDS[:1])

    assert ["no valid event"] == [refusal.reason for refusal in refusals]


async def test_another_server_is_not_a_gateway() -> None:
    """
    A 404 means a wrong address, for a person to look at.
    """
    with pytest.raises(Misconfigured, match="answers 404"):
        await Gateway(says(404)).sink().send(RECORDS)


async def test_a_gateway_that_wants_a_key_is_told_of() -> None:
    """
    The remedy is named: the variable and the scope.
    """
    with pytest.raises(Misconfigured, match=r"EBBTIDE_API_KEY.*`write`"):
        await Gateway(says(401, {"detail": "send a key"})).sink().send(RECORDS)


def test_addresses() -> None:
    """
    A gateway's address is completed; what is none is refused.
    """
    assert "http://h:1/events" == events_url("http://h:1")
    assert "https://h/api/events" == events_url("https://h/api/")
    assert "http://h/events" == events_url("http://h/events")
    with pytest.raises(Misconfigured):
        events_url("localhost:8000")
