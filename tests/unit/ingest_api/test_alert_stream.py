"""`GET /alerts/stream`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from ingest_api import alert_stream, problems
from ingest_api.alert_feed import MAX_WAITING, AlertFeed, Listening, Told
from ingest_api.event_stream import ABORT, EventStream
from ingest_api.head import Head
from ingest_api.metrics import GatewayMetrics
from runtime.tail import Cursor
from tests.churn_alerts import churn_alert
from tests.unit.ingest_api.alert_topic import AlertTopic, Event, Listener, until
from tests.unit.ingest_api.stand import standing


@dataclass
class Stage:
    """A gateway's stream over a topic in memory."""

    topic: AlertTopic
    feed: AlertFeed
    app: FastAPI
    metrics: GatewayMetrics

    async def listen(self, query: str = "", after: str | None = None) -> Listener:
        """A client whose stream has begun."""
        listener = Listener(self.app, query, after=after)
        assert 200 == await listener.started()
        return listener

    async def live(self, query: str = "", after: str | None = None) -> Listener:
        """A client that is told what comes from here on."""
        listener = await self.listen(query, after)
        hello = await listener.next()
        assert ("", True) == (hello.name, hello.id is not None)
        return listener


@asynccontextmanager
async def staged(heartbeat_seconds: float = 60.0, **limits: float) -> AsyncIterator[Stage]:
    topic = AlertTopic()
    feed = AlertFeed(topic.open, **limits)  # type: ignore[arg-type]
    metrics = GatewayMetrics(CollectorRegistry())
    app = FastAPI()
    problems.install(app)
    app.add_middleware(Head)
    app.include_router(
        alert_stream.router(feed=feed, metrics=metrics, heartbeat_seconds=heartbeat_seconds)
    )
    reading = asyncio.create_task(feed.run())
    try:
        yield Stage(topic, feed, app, metrics)
        assert not reading.done()
    finally:
        feed.close()
        reading.cancel()
        await asyncio.wait([reading])
    assert 0 == topic.open_now


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


def user(event: Event) -> str:
    return str(event.data["user_id"])


async def test_every_client_is_told_what_comes(stage: Stage) -> None:
    """
    Two clients get the alert as it is on the wire, from one reader of the topic.
    """
    clients = [await stage.live(), await stage.live()]
    alert = churn_alert(user_id="ada")
    stage.topic.put(alert)

    told = [await client.event() for client in clients]

    assert [alert.alert_id] * 2 == [event.data["alert_id"] for event in told]
    assert [None] == stage.topic.opened
    assert "text/event-stream" in clients[0].headers["content-type"]
    assert "no-store" == clients[0].headers["cache-control"]
    for client in clients:
        await client.leave()
    assert 0 == stage.feed.listeners


async def test_a_stream_begins_with_what_comes(stage: Stage) -> None:
    """
    Without Last-Event-ID nothing is told of what was before.
    """
    stage.topic.put(churn_alert(user_id="ada"))
    client = await stage.live()
    stage.topic.put(churn_alert(user_id="bob"))

    assert "bob" == user(await client.event())
    await client.leave()


@pytest.mark.parametrize("by", ["header", "query"])
async def test_a_client_goes_on_behind_the_last_id(stage: Stage, by: str) -> None:
    """
    What came while it was away, in both partitions, comes once and before what comes then.
    """
    client = await stage.live()
    stage.topic.put(churn_alert(user_id="ada"), 1)
    last = (await client.event()).id
    await client.leave()
    for name, partition in (("bob", 0), ("cyd", 1), ("dan", 0)):
        stage.topic.put(churn_alert(user_id=name), partition)

    query, header = ("", last) if by == "header" else (f"last_event_id={last}", None)
    client = await stage.listen(query, header)
    assert {"bob", "cyd", "dan"} == {user(await client.event()) for _ in range(3)}
    assert not (await client.next()).name  # it is live
    stage.topic.put(churn_alert(user_id="eve"))
    assert "eve" == user(await client.event())
    await client.leave()


async def test_the_first_id_comes_before_the_first_alert(stage: Stage) -> None:
    """
    A client that was cut off before it heard anything misses nothing either.
    """
    client = await stage.listen()
    first = (await client.next()).id
    await client.leave()
    stage.topic.put(churn_alert(user_id="ada"))

    client = await stage.listen(after=first)
    assert "ada" == user(await client.event())
    await client.leave()


async def test_every_id_is_the_place_behind_its_alert(stage: Stage) -> None:
    """
    Whichever alert a client was cut off at, live or catching up, it goes on with the next one.
    """
    client = await stage.live()
    last = str(stage.feed.at)
    names = ["ada", "bob", "cyd", "dan"]
    for name in names:
        stage.topic.put(churn_alert(user_id=name))
    await client.leave()

    for name in names:
        client = await stage.listen(after=last)
        event = await client.event()
        assert name == user(event)
        assert event.id is not None
        last = event.id
        await client.leave()


def test_what_was_caught_up_with_is_not_told_again() -> None:
    """
    A client that has read further than the feed joins it, and passes over what it has.
    """
    listening = Listening(lambda _: True, Cursor("0" * 32, (3, 0)), asyncio.Event())
    alert = churn_alert()
    told = [Told(*place, alert, b"") for place in ((0, 2), (1, 0), (0, 3))]
    for each in told:
        listening.offer(each)

    assert [told[1], told[2], None] == [listening.take() for _ in range(3)]


async def test_what_comes_while_it_catches_up_comes_once() -> None:
    """
    However alerts and reads fall together, a client that resumes gets every alert once.
    """
    async with staged() as stage:
        keeping_live = await stage.live()
        start = str(stage.feed.at)
        names = [f"u{number}" for number in range(60)]
        for name in names[:20]:
            stage.topic.put(churn_alert(user_id=name), len(name) % 2)
        client = await stage.listen(after=start)
        got = []
        for name in names[20:]:
            stage.topic.put(churn_alert(user_id=name), len(name) % 2)
            got.append(user(await client.event()))
        got += [user(await client.event()) for _ in range(20)]

        assert sorted(names) == sorted(got)
        for each in (client, keeping_live):
            await each.leave()


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", ["resolved", "opened", "mild"]),
        ("kind=opened", ["opened", "mild"]),
        ("kind=resolved&kind=escalated", ["resolved"]),
        ("severity=critical", ["opened"]),
        ("severity=info&kind=opened", ["mild"]),
        ("control=true", ["held out", "resolved", "opened", "mild"]),
    ],
)
async def test_a_client_is_told_only_what_it_asked_for(
    stage: Stage, query: str, wanted: list[str]
) -> None:
    """
    Kinds and severities choose, live and catching up; of the held-out nobody hears who did not
    ask for them by name.
    """
    live = await stage.live(query)
    start = str(stage.feed.at)
    for alert in 2 * (
        churn_alert(user_id="held out", arm="control"),
        churn_alert("resolved", user_id="resolved"),
        churn_alert(user_id="opened", severity="critical"),
        churn_alert(user_id="mild", severity="info"),
    ):
        stage.topic.put(alert)
    late = await stage.listen(query, start)

    for client in (live, late):
        assert 2 * wanted == [user(await client.event()) for _ in 2 * wanted]
        await client.leave()


@pytest.mark.parametrize("query", ["kind=nothing", "severity=loud", "last_event_id=7"])
async def test_what_nobody_can_ask_for_is_refused(stage: Stage, query: str) -> None:
    """
    422 with what would be right, before any stream begins.
    """
    client = Listener(stage.app, query)

    assert 422 == await client.started()
    assert b"errors" in await client.body()
    assert 0 == stage.feed.listeners


async def test_a_quiet_stream_gives_signs_of_life_that_move_the_id_on() -> None:
    """
    Who is told nothing, as nothing is wanted, still comes back to where the topic stands.
    """
    async with staged(heartbeat_seconds=0.001) as stage:
        client = await stage.live("kind=churned")
        stage.topic.put(churn_alert(user_id="ada"))
        await until(lambda: stage.feed.at.offsets == (1, 0))
        while (event := await client.next()).id != str(stage.feed.at):
            assert not event.name

        await client.leave()


async def test_a_slow_client_is_told_so_and_dropped(stage: Stage) -> None:
    """
    Beyond what may wait the stream ends with the reason; the others are told everything, and the
    slow one loses nothing when it comes back.
    """
    quick = await stage.live()
    slow = Listener(stage.app, after=str(stage.feed.at), slow=True)
    assert 200 == await slow.started()
    slow.read_on()
    last = (await slow.next()).id
    slow._room.clear()
    for number in range(MAX_WAITING + 2):
        stage.topic.put(churn_alert(user_id=f"u{number}"))
    for number in range(MAX_WAITING + 2):
        assert f"u{number}" == user(await quick.event())
    slow.read_on()

    got = []
    while (event := await slow.next()).name == "alert":
        got.append(user(event))
        last = event.id
    assert ("end", "dropped") == (event.name, event.data["reason"])
    await slow.ended()
    assert 1 == stage.metrics.listeners_dropped._value.get()

    back = await stage.listen(after=last)
    while len(got) < MAX_WAITING + 2:
        got.append(user(await back.event()))
    assert [f"u{number}" for number in range(MAX_WAITING + 2)] == got
    for client in (quick, back):
        await client.leave()


async def test_a_client_that_takes_nothing_is_cut_off(stage: Stage) -> None:
    """
    Without room for the next event for too long, the connection is aborted and its place given
    away.
    """
    held, aborted = [], []

    class Held:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None:
            held.append("let go")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        held.append("never")

    stack = ExitStack()
    stack.enter_context(Held())
    stuck = []
    response = EventStream(
        pieces(),  # type: ignore[arg-type]
        held=stack,
        on_stuck=lambda: stuck.append(True),
        write_seconds=0.001,
    )
    client = Listener(
        response,  # type: ignore[arg-type]
        slow=True,
        extensions={ABORT: {"call": lambda: aborted.append(True)}},
    )
    await client.ended()

    assert (["let go"], [True], [True]) == (held, aborted, stuck)


async def test_there_is_a_bound_on_clients() -> None:
    """
    One too many gets 503 and when to come again; a place that is left is given away.
    """
    async with staged(max_listeners=1) as stage:
        client = await stage.live()
        refused = Listener(stage.app)

        assert 503 == await refused.started()
        assert refused.headers["retry-after"]
        assert b"too-many-listeners" in await refused.body()
        await client.leave()
        await (await stage.live()).leave()


async def test_without_kafka_nobody_is_let_in() -> None:
    """
    503 within a bound, and the place is free again.
    """
    async with staged(ready_seconds=0.01) as stage:
        stage.topic.away = True
        client = Listener(stage.app)

        assert 503 == await client.started()
        assert b"stream-unavailable" in await client.body()
        await client.ended()
        assert 0 == stage.feed.listeners


async def test_a_client_outlives_an_outage(stage: Stage) -> None:
    """
    While Kafka is away the stream stays; what came meanwhile is told once, in order.
    """
    client = await stage.live()
    stage.topic.put(churn_alert(user_id="ada"))
    assert "ada" == user(await client.event())
    stage.topic.away = True
    stage.topic.change()
    await until(lambda: stage.topic.open_now == 0)
    stage.topic.put(churn_alert(user_id="bob"))
    stage.topic.away = False

    assert "bob" == user(await client.event())
    await client.leave()


async def test_a_new_log_is_told_from_its_beginning(stage: Stage) -> None:
    """
    When the topic was made anew clients are sent away, and find with their old id a gap and
    everything in the new one.
    """
    client = await stage.live()
    stage.topic.put(churn_alert(user_id="ada"))
    last = (await client.event()).id
    stage.topic.renew()
    stage.topic.put(churn_alert(user_id="bob"))

    assert "restarted" == (await client.event("end")).data["reason"]
    await client.ended()
    client = await stage.listen(after=last)
    await client.event("gap")
    assert "bob" == user(await client.event())
    await client.leave()


async def test_what_the_topic_no_longer_has_is_a_gap(stage: Stage) -> None:
    """
    A client that comes back after the retention is told that something is missing.
    """
    client = await stage.live()
    last = str(stage.feed.at)
    await client.leave()
    stage.topic.put(churn_alert(user_id="ada"))
    stage.topic.put(churn_alert(user_id="bob"))
    stage.topic.put(churn_alert(user_id="bob"), 1)
    stage.topic.beginning = 1

    client = await stage.listen(after=last)
    await client.event("gap")
    assert "bob" == user(await client.event())
    await client.leave()


async def test_what_is_no_alert_is_passed(stage: Stage) -> None:
    """
    Bytes that are none do not end the stream.
    """
    client = await stage.live()
    for value in (b"{}", b"\xff", b""):
        stage.topic.put(value)
    stage.topic.put(churn_alert(user_id="ada"))

    assert "ada" == user(await client.event())
    await client.leave()


async def test_stopping_ends_every_stream(stage: Stage) -> None:
    """
    Clients are told, the answers are complete, and who comes then is told at once.
    """
    client = await stage.live()
    stage.feed.close()

    assert "closing" == (await client.event("end")).data["reason"]
    await client.ended()
    late = await stage.listen()
    assert b"closing" in await late.body()


async def test_the_topic_is_read_only_while_somebody_listens() -> None:
    """
    After the last client has gone the reader goes; the next one begins at the end anew.
    """
    async with staged(idle_seconds=0.0) as stage:
        await (await stage.live()).leave()
        stage.topic.put(churn_alert(user_id="ada"))
        await until(lambda: stage.topic.open_now == 0)
        stage.topic.put(churn_alert(user_id="bob"))

        client = await stage.live()
        assert [None, None] == stage.topic.opened
        stage.topic.put(churn_alert(user_id="cyd"))
        assert "cyd" == user(await client.event())
        await client.leave()


async def test_head_has_no_body_that_never_ends(stage: Stage) -> None:
    """
    HEAD answers with the media type and is done.
    """
    client = Listener(stage.app, method="HEAD")

    assert 200 == await client.started()
    assert "text/event-stream" in client.headers["content-type"]
    assert b"" == await client.body()
    await client.ended()


async def test_a_gateway_without_a_feed_has_no_stream() -> None:
    """
    The route is there only with something to follow.
    """
    async with standing() as gateway:
        assert 404 == (await gateway.http.get("/alerts/stream")).status_code
