"""Following and answering alerts, on real servers and over real HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from httpx2 import AsyncClient

from contracts.alerts import ChurnAlert, encode_alert
from contracts.commands import decode_command
from contracts.partition import home
from contracts.topics import ALERTS, COMMANDS, SCORES
from ebbtide.ports import LOOPBACK, free_port
from ebbtide.verdicts import given, standing
from ingest_api import main
from ingest_api.alert_feed import AlertFeed
from ingest_api.app import create_app
from ingest_api.log import KafkaLog
from ingest_api.protocol import BoundedProtocol
from ingest_api.records import RedisUsers
from ingest_api.settings import GatewaySettings
from runtime import alert_index
from runtime.kafka import Message, Publisher, producer
from runtime.ledger import Effects, Mark, RedisLedger
from runtime.store import connect
from runtime.tail import tail
from tests.churn_alerts import churn_alert
from tests.integration.pipeline import (
    PARTITIONS,
    create_topic,
    delete_topic,
    eventually,
    whole_log,
)
from tests.servers import KafkaServer, RedisServer
from tests.unit.ingest_api.stand import a_model

GUIDE = (Path(__file__).parents[2] / "docs" / "subscribe.md").read_text()
STOP_SECONDS = 5.0
"""Well below what a stopping gateway grants requests under way."""


class Server(main.Server):
    """Leaves signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Stage:
    """The servers, a gateway, and what tests do to them."""

    kafka: KafkaServer
    settings: GatewaySettings
    server: Server
    serving: asyncio.Task[None]
    http: AsyncClient

    async def put(self, *alerts: ChurnAlert) -> None:
        """Publish alerts at their users' homes, as the alerts worker does."""
        client = producer(self.settings)
        await client.start()
        try:
            await Publisher(client).publish_home(
                ALERTS,
                [Message(alert.user_id.encode(), encode_alert(alert), 0) for alert in alerts],
            )
        finally:
            await client.stop()

    @asynccontextmanager
    async def listen(self, after: str | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        """A client of the stream that was let in."""
        headers = {} if after is None else {"Last-Event-ID": after}
        async with self.http.stream("GET", "/alerts/stream", headers=headers) as response:
            assert 200 == response.status_code
            yield events(response.aiter_lines())

    async def stop(self) -> None:
        self.server.should_exit = True
        await self.serving


@dataclass(frozen=True)
class Event:
    name: str
    data: Any
    id: str


async def events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """The events and signs of life in the lines of a stream."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if fields.keys() != {"retry"}:
            data = json.loads(fields["data"]) if "data" in fields else None
            yield Event(fields.get("event", ""), data, fields.get("id", ""))
        fields = {}


async def next_alert(stream: AsyncIterator[Event]) -> Event:
    async with asyncio.timeout(60):
        async for event in stream:
            if event.name:
                assert "alert" == event.name
                return event
    raise AssertionError("the stream has ended")


@asynccontextmanager
async def gateway(kafka: KafkaServer, redis: RedisServer) -> AsyncIterator[Stage]:
    """A gateway as `ingest_api.main` makes one, with the alerts' topic there."""
    settings = GatewaySettings(
        kafka_bootstrap_servers=kafka.bootstrap,
        kafka_idempotence=kafka.idempotence,
        redis_url=redis.url,
        partitions=PARTITIONS,
    )
    await create_topic(kafka, ALERTS)
    client = connect(settings.redis_url)
    log = KafkaLog(settings)
    feed = AlertFeed(partial(tail, settings, ALERTS))
    app = create_app(
        model=a_model(), log=log, reader=RedisUsers(client), feed=feed, background=[log.run]
    )
    port = free_port()
    server = Server(
        feed,
        uvicorn.Config(
            app,
            host=LOOPBACK,
            port=port,
            http=BoundedProtocol,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=60,
        ),
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.01)
        async with AsyncClient(base_url=f"http://{LOOPBACK}:{port}", timeout=30) as http:
            stage = Stage(kafka, settings, server, serving, http)
            try:
                yield stage
            finally:
                await stage.stop()
    finally:
        await client.aclose()


async def remember(redis: RedisServer, alert: ChurnAlert) -> None:
    """Make the alert's ids known, as the alerts worker does."""
    client = connect(redis.url)
    try:
        effects = Effects()
        alert_index.remember(alert, effects)
        ledger = RedisLedger(client, SCORES)
        await ledger.save(await ledger.marks(0), Mark(1, 1), 0, effects)
    finally:
        await client.aclose()


async def test_what_is_said_of_an_alert_lies_at_its_users_home(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """
    What was answered 202 is in `alert-command`, in the user's partition, in order; and the verdict
    that stands is read back from there.
    """
    alerts = [churn_alert(user_id=name) for name in ("ada", "bob", "cyd")]
    for alert in alerts:
        await remember(clean_redis, alert)
    async with gateway(clean_kafka, clean_redis) as stage:

        async def accepted() -> bool:
            first = f"/alerts/{alerts[0].alert_id}/acknowledge"
            return (await stage.http.post(first, json={})).status_code == 202

        await eventually(accepted)
        for alert in alerts:
            for verdict in ("wrong", "helped"):
                path = f"/alerts/{alert.dedup_key}/verdict"
                answer = await stage.http.post(path, json={"verdict": verdict})
                assert 202 == answer.status_code
        labels = standing(await given(stage.settings))

    records = await whole_log(clean_kafka, COMMANDS)
    commands = [decode_command(record.value) for record in records]
    assert {"ada", "bob", "cyd"} == {command.user_id for command in commands}
    for record, command in zip(records, commands, strict=True):
        assert home(command.user_id, PARTITIONS) == record.partition
        assert command.user_id.encode() == record.key
    said = [command.verdict for command in commands if command.user_id == "bob"]
    assert ["wrong", "helped"] == said
    assert {(alert.user_id, "helped") for alert in alerts} == {
        (label.user_id, label.verdict) for label in labels
    }


async def test_a_stream_goes_on_where_it_was_cut(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """
    A client that comes back with its last id gets everything it missed, once, and what comes then,
    also when the topic was made anew meanwhile; stopping tells it and waits for nobody.
    """
    names = [f"u{number}" for number in range(24)]
    async with gateway(clean_kafka, clean_redis) as stage:
        await stage.put(churn_alert(user_id="before"))
        async with stage.listen() as stream:
            first = (await anext(stream)).id
            await stage.put(*(churn_alert(user_id=name) for name in names[:8]))
            heard = [await next_alert(stream) for _ in range(8)]
        last = heard[4].id
        assert {*names[:8]} == {event.data["user_id"] for event in heard}
        await stage.put(*(churn_alert(user_id=name) for name in names[8:16]))

        after_last = [*(event.data["user_id"] for event in heard[5:]), *names[8:17]]
        for after, missed, live in ((first, names[:16], "u16"), (last, after_last, "u17")):
            async with stage.listen(after) as stream:
                got = [(await next_alert(stream)).data["user_id"] for _ in missed]
                assert sorted(missed) == sorted(got)
                await stage.put(churn_alert(user_id=live))
                assert live == (await next_alert(stream)).data["user_id"]

        await delete_topic(clean_kafka, ALERTS)
        await create_topic(clean_kafka, ALERTS)
        await stage.put(churn_alert(user_id="after"))
        told: list[str] = []
        async with asyncio.timeout(60):
            while "after" not in told:  # as clients do, whatever ends the stream
                async with stage.listen(last) as stream:
                    async for event in stream:
                        told.append(event.data["user_id"] if event.name == "alert" else event.name)
                        if told[-1] == "after":
                            break
        assert "gap" in told
        assert {"gap", "after", "end", ""} >= {*told}

        async with stage.listen() as stream:
            await anext(stream)
            async with asyncio.timeout(STOP_SECONDS):
                stage.server.should_exit = True
                reasons = [event.data["reason"] async for event in stream if event.name == "end"]
                assert ["closing"] == reasons
                await stage.serving


async def test_the_guides_consumers_work(
    clean_kafka: KafkaServer, clean_redis: RedisServer, tmp_path: Path
) -> None:
    """
    The Python consumer of docs/subscribe.md, and Node's client of the stream where there is a Node,
    print each alert once and none of the held-out.
    """
    python, script = blocks("python")[0], tmp_path / "consumer.py"
    script.write_text(python)
    async with gateway(clean_kafka, clean_redis) as stage:
        async with stage.listen() as stream:
            first = (await anext(stream)).id
        ada, bob = churn_alert(user_id="ada"), churn_alert(user_id="bob")
        await stage.put(ada, ada, churn_alert(user_id="held", arm="control"), bob)
        env = os.environ | {"EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": clean_kafka.bootstrap}
        wanted = {"opened ada 0.82", "opened bob 0.82"}
        assert wanted == await printed([sys.executable, str(script)], wanted, env)

        node = shutil.which("node")
        if node is not None:
            follower = tmp_path / "follow.js"
            follower.write_text(next(block for block in blocks("js") if "fetch(" in block))
            url = f"{stage.http.base_url}/alerts/stream?last_event_id={first}"
            wanted = {"opened ada", "opened bob"}
            assert wanted == await printed([node, str(follower), url], wanted, env)


def blocks(language: str) -> list[str]:
    """The guide's code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


async def printed(command: list[str], wanted: set[str], env: dict[str, str]) -> set[str]:
    """Run a program until it has printed as many lines as are wanted; the lines."""
    child = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    lines: set[str] = set()
    try:
        async with asyncio.timeout(60):
            while len(lines) < len(wanted):
                line = await child.stdout.readline()
                assert line, "the program has ended"
                lines.add(line.decode().strip())
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.communicate()
    return lines
