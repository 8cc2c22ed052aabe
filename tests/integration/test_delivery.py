"""The delivery worker between a real Kafka, a real Redis and real receivers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from standardwebhooks.webhooks import Webhook

from alerts.delivery import worker
from alerts.delivery.settings import DeliverySettings
from alerts.delivery.shelf import RedisShelf
from contracts.alerts import ChurnAlert, encode_alert
from contracts.partition import home
from contracts.storms import Decided
from contracts.times import to_ms
from contracts.topics import ALERTS
from ebbtide.ports import free_port
from runtime import kafka as kafka_clients
from runtime import keys, service
from runtime.clock import wall_ms
from runtime.kafka import Message, Publisher, ensure_topics
from runtime.resend import resend
from runtime.store import connect, text
from tests.churn_alerts import churn_alert
from tests.receivers import Receiver, http_receiver, slow, smtp_server
from tests.servers import KafkaServer, RedisServer

PARTITIONS = 3
WITHIN_S = 60.0
SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "c2VjcmV0" * 4]


@dataclass(frozen=True)
class Stage:
    """The servers, and what a test does to them."""

    settings: DeliverySettings
    redis: Redis
    shelf: RedisShelf
    receiver: Receiver
    policy: Path

    def writes(self, *channels: dict[str, object], **more: object) -> None:
        """Put a policy file with these channels; JSON is YAML, too."""
        said = [{"allow_private": True, "rate_per_minute": 6000, **each} for each in channels]
        rules = [{"name": "default", "channels": [each["name"] for each in channels]}]
        self.policy.write_text(json.dumps({"rules": rules, "channels": said, **more}))

    async def publish(self, *alerts: ChurnAlert) -> None:
        """Put alerts at their users' homes, as the alerts worker does."""
        await ensure_topics(self.settings, (ALERTS,))
        producer = await service.started(kafka_clients.producer(self.settings))
        try:
            for alert in alerts:
                key, at = alert.user_id.encode(), to_ms(alert.occurred_at)
                await Publisher(producer).publish(
                    ALERTS, home(alert.user_id, PARTITIONS), [Message(key, encode_alert(alert), at)]
                )
        finally:
            await producer.stop()

    async def states(self) -> Counter[str]:
        """How many deliveries are in which state."""
        return Counter(slip.row.state for slip in await self.shelf.latest(1_000))


@pytest.fixture
async def stage(
    clean_kafka: KafkaServer, clean_redis: RedisServer, tmp_path: Path
) -> AsyncIterator[Stage]:
    """Empty servers, a receiver, and settings that point at them."""
    policy = tmp_path / "policy.yaml"
    settings = DeliverySettings(
        kafka_bootstrap_servers=clean_kafka.bootstrap,
        kafka_idempotence=clean_kafka.idempotence,
        redis_url=clean_redis.url,
        session_timeout_ms=10_000 if clean_kafka.idempotence else 1_000,
        partitions=PARTITIONS,
        delivery_health_port=free_port(),
        delivery_lease_seconds=1.0,
        alert_policy=policy,
        public_url="https://churn.example",
    )
    redis = connect(clean_redis.url)
    with http_receiver() as receiver:
        yield Stage(settings, redis, RedisShelf(redis), receiver, policy)
    await redis.aclose()


@asynccontextmanager
async def working(settings: DeliverySettings) -> AsyncIterator[None]:
    """A worker in this process, stopped cleanly at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(worker.serve(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, WITHIN_S)


async def eventually(holds: Callable[[], Awaitable[bool]], *, what: str) -> None:
    """Wait until it holds, or fail saying what did not happen."""
    try:
        async with asyncio.timeout(WITHIN_S):
            while not await holds():  # noqa: ASYNC110 - the other side is a server
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"did not happen within {WITHIN_S} s: {what}")


async def test_an_alert_reaches_every_channel_and_a_restart_resends_nothing(stage: Stage) -> None:
    """A signed webhook, a Slack-shaped message and a mail, each once; a resend comes again."""
    url = stage.receiver.url
    with smtp_server() as mailbox:
        mail = f"mailto://127.0.0.1:{mailbox.port}/?from=a@shop.example&to=team@shop.example"
        stage.writes(
            {"name": "crm", "kind": "webhook", "url": f"{url}/crm", "secrets": SECRETS},
            {"name": "team", "kind": "slack", "url": f"{url}/slack"},
            {"name": "mail", "kind": "apprise", "url": f"{mail}&mode=insecure"},
        )
        alert = churn_alert(user_id="ada <b>", channels=("crm", "team", "mail"))
        held_out = churn_alert(user_id="bob", channels=("crm",), arm="control")

        async def all_told() -> bool:
            return await stage.states() == {"sent": 3, "control": 1}

        async with working(stage.settings):
            await stage.publish(alert, held_out)
            await eventually(all_told, what="three deliveries sent, one held out")
        async with working(replace_port(stage.settings)):
            await stage.publish(alert)
            await eventually(lambda: caught_up(stage, 3), what="the repeat was read")
            assert await all_told()
            assert {"crm": 1, "slack": 1} == Counter(t.path[1:] for t in stage.receiver.taken)
            done = await resend(stage.shelf, f"{alert.alert_id}:crm", wall_ms())
            assert ["will be sent"] == list(done.values())
            await eventually(lambda: received(stage, "/crm", 2), what="the resend")
            refused = await resend(stage.shelf, held_out.alert_id, wall_ms())
            assert ["held out: telling it would spoil the experiment"] == list(refused.values())

        first, again = stage.receiver.at("/crm")
        (slack,) = stage.receiver.at("/slack")
        (told,) = mailbox.mails
    for secret in SECRETS:
        body = Webhook(secret).verify(first.body, first.headers)
        assert ("churn.alert.opened", "ada <b>") == (body["type"], body["data"]["user_id"])
    assert alert.alert_id == first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body
    assert "*ada &lt;b&gt; is slipping away: 82% risk*" in json.loads(slack.body)["text"]
    assert "https://churn.example/app/user?id=ada%20%3Cb%3E" in json.loads(slack.body)["text"]
    assert "ada <b> is slipping away: 82% risk" in told["subject"]
    html = told.get_body(("html",))
    assert html is not None
    assert "Away for 9 days" in html.get_content()
    assert "<b>" not in html.get_content().replace("</b>", "<b>").partition("<body")[2]


async def test_killed_in_the_middle_every_alert_arrives_and_repeats_are_counted(
    stage: Stage,
) -> None:
    """kill -9 of the worker that sends, and a rebalance: at least once, under the same ids."""
    stage.writes(
        {
            **{"name": "crm", "kind": "webhook", "url": f"{stage.receiver.url}/crm"},
            **{"secrets": SECRETS[:1], "timeout_seconds": 1},
        }
    )
    stage.receiver.answer = slow(0.2)
    alerts = [churn_alert(user_id=f"u{n}") for n in range(30)]
    processes = [await process(stage.settings) for _ in range(2)]
    try:
        await stage.publish(*alerts[:20])
        await eventually(lambda: received(stage, "/crm", 6), what="six of twenty")
        leader = await stage.redis.get(keys.dispatch("leader"))
        assert isinstance(leader, bytes)
        by_pid = {one.pid: one for one in processes}
        by_pid[int(leader.split(b"-")[0])].send_signal(signal.SIGKILL)
        await stage.publish(*alerts[20:])

        async def all_sent() -> bool:
            return await stage.states() == {"sent": 30}

        await eventually(all_sent, what="all thirty are sent")
    finally:
        for one in processes:
            if one.returncode is None:
                one.terminate()
        codes = sorted([await one.wait() for one in processes])
    assert [-signal.SIGKILL, 0] == codes
    got = Counter(taken.headers["webhook-id"] for taken in stage.receiver.at("/crm"))
    repeated = sum(count - 1 for count in got.values())
    counted = sum(slip.row.repeats for slip in await stage.shelf.latest(100))
    assert {alert.alert_id for alert in alerts} == set(got)
    assert 1 <= repeated <= counted <= 4
    for taken in stage.receiver.at("/crm"):
        Webhook(SECRETS[0]).verify(taken.body, taken.headers)


async def test_a_storm_is_one_incident_until_a_person_releases_it(stage: Stage) -> None:
    """The real scripts hold what is told in one storm, and tell all of it when released."""
    storm = {"share": 0.5, "least_users": 10}
    url = f"{stage.receiver.url}/slack"
    stage.writes({"name": "team", "kind": "slack", "url": url}, storm=storm)
    alerts = [churn_alert(user_id=f"u{n}", at_ms=wall_ms(), channels=("team",)) for n in range(30)]
    async with working(stage.settings):
        await stage.publish(*alerts)
        await eventually(lambda: settled(stage, 31), what="an incident; all are told or held")
        held = await stage.shelf.count_in("held")
        begun = await stage.shelf.storm()
        await stage.shelf.give_order(Decided(order="release", actor="grace", at=wall_ms()))
        await eventually(lambda: in_state(stage, "sent", 32), what="all are told")

    assert held > 0
    assert begun is not None
    told = Counter("Alert storm" in json.loads(t.body)["text"] for t in stage.receiver.taken)
    assert {True: 2, False: 30} == told


async def received(stage: Stage, path: str, count: int) -> bool:
    return len(stage.receiver.at(path)) >= count


async def in_state(stage: Stage, state: str, count: int) -> bool:
    return (await stage.states())[state] == count


async def settled(stage: Stage, count: int) -> bool:
    states = await stage.states()
    return states.total() == count and not states["waiting"]


async def caught_up(stage: Stage, records: int) -> bool:
    """Whether the intake's watermarks are past that many records."""
    marks = await stage.redis.hgetall(keys.marks(0, ALERTS))
    offsets = [int(text(v).partition(":")[2]) for name, v in marks.items() if name.isdigit()]
    return sum(offsets) >= records


def replace_port(settings: DeliverySettings) -> DeliverySettings:
    return settings.model_copy(update={"delivery_health_port": free_port()})


async def process(settings: DeliverySettings) -> asyncio.subprocess.Process:
    names: Sequence[str] = (
        *("kafka_bootstrap_servers", "kafka_idempotence", "session_timeout_ms", "redis_url"),
        *("partitions", "alert_policy", "delivery_lease_seconds"),
    )
    variables = {f"EBBTIDE_{name.upper()}": str(getattr(settings, name)) for name in names}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ebbtide", "delivery"),
        env={**os.environ, **variables, "EBBTIDE_DELIVERY_HEALTH_PORT": str(free_port())},
        stderr=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
