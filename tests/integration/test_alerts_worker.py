"""The alerts worker between a real Kafka and a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis
from redis.exceptions import RedisError

from alerts import main
from alerts.settings import AlertsSettings
from contracts.alerts import ChurnAlert, decode_alert
from contracts.commands import AlertCommand, encode_command
from contracts.partition import SHARDS, home, shard
from contracts.scores import ChurnScore, encode_score
from contracts.times import SECOND_MS, from_ms, to_ms
from contracts.topics import ALERTS, COMMANDS, SCORES, dead_letter
from ebbtide.ports import free_port
from runtime import kafka as kafka_clients
from runtime import keys, service
from runtime.handler import OpenPartition
from runtime.kafka import Message, Publisher, ensure_topics
from runtime.ledger import Effects, Ledger, Mark, Marks
from runtime.recent_alerts import RecentAlerts
from runtime.service import Parts
from runtime.store import connect, text
from tests.churn_scores import churn_score
from tests.servers import KafkaServer, RedisServer

PARTITIONS = 3
WITHIN_S = 90.0


@dataclass(frozen=True)
class Stage:
    """The servers, and what a test does to them."""

    settings: AlertsSettings
    redis: Redis
    kafka: KafkaServer

    async def publish(self, *scores: ChurnScore) -> None:
        """Put scores at their users' homes, as the scorer does."""
        await self.put([(s.user_id, encode_score(s), to_ms(s.scored_at)) for s in scores])

    async def order(self, *commands: AlertCommand) -> None:
        """Put commands at their users' homes, as the gateway does."""
        values = [(c.user_id, encode_command(c), to_ms(c.at)) for c in commands]
        await self.put(values, COMMANDS)

    async def put(
        self, records: Iterable[tuple[str, bytes | None, int]], topic: str = SCORES
    ) -> None:
        """Put any values under users' keys."""
        await ensure_topics(self.settings, (SCORES, ALERTS, COMMANDS))
        producer = await service.started(kafka_clients.producer(self.settings))
        try:
            for user_id, value, moment in records:
                message = Message(user_id.encode(), value, moment)
                await Publisher(producer).publish(topic, home(user_id, PARTITIONS), [message])
        finally:
            await producer.stop()

    async def alerts(self, topic: str = ALERTS) -> list[ChurnAlert]:
        """Everything that is in the topic now."""
        return [decode_alert(value) for value in await self.values(topic)]

    async def values(self, topic: str) -> list[bytes]:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        reader = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="earliest"
        )
        await reader.start()
        try:
            reader.assign(places)
            await reader.seek_to_beginning(*places)
            found: list[bytes] = []
            while any(reader.highwater(p) is None for p in places) or any(
                [reader.highwater(p) != await reader.position(p) for p in places]
            ):
                for records in (await reader.getmany(timeout_ms=50)).values():
                    found += [record.value for record in records]
            return found
        finally:
            await reader.stop()

    async def caught_up(self) -> bool:
        """Whether every shard's watermark is past everything published."""
        reader = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap)
        await reader.start()
        try:
            for number in range(PARTITIONS):
                end = await self._end(reader, number)
                for slot in range(SHARDS):
                    mark = await self.redis.hget(keys.marks(slot, SCORES), str(number))
                    done = 0 if mark is None else Mark.parse(text(mark)).offset
                    if done < end:
                        return False
            return True
        except RedisError:
            return False
        finally:
            await reader.stop()

    async def _end(self, reader: AIOKafkaConsumer, number: int) -> int:
        place = TopicPartition(SCORES, number)
        reader.assign([place])
        await reader.seek_to_beginning(place)
        while reader.highwater(place) is None:
            await reader.getmany(timeout_ms=20)
        return int(reader.highwater(place))

    async def state(self) -> dict[str, object]:
        """Everything the worker keeps of users in Redis, besides marks."""
        found: dict[str, object] = {}
        for key in map(text, await self.redis.keys("ebb:{*")):
            # What it tells of itself and of its policy has the time in it.
            if ":m:" in key or ":worker" in key or key == keys.POLICY:
                continue
            is_set = await self.redis.type(key) == b"zset"
            found[key] = (
                await self.redis.zrange(key, 0, -1, withscores=True)
                if is_set
                else await self.redis.get(key)
            )
        return found


@pytest.fixture
async def stage(clean_kafka: KafkaServer, clean_redis: RedisServer) -> AsyncIterator[Stage]:
    """Empty servers and settings that point at them."""
    settings = AlertsSettings(
        kafka_bootstrap_servers=clean_kafka.bootstrap,
        kafka_idempotence=clean_kafka.idempotence,
        redis_url=clean_redis.url,
        # The embedded broker takes half of it to form a group.
        session_timeout_ms=10_000 if clean_kafka.idempotence else 1_000,
        partitions=PARTITIONS,
        alerts_health_port=free_port(),
    )
    redis = connect(clean_redis.url)
    yield Stage(settings, redis, clean_kafka)
    await redis.aclose()


def _as_they_are(parts: Parts) -> Parts:
    return parts


@asynccontextmanager
async def worker(
    settings: AlertsSettings, change: Callable[[Parts], Parts] = _as_they_are
) -> AsyncIterator[asyncio.Task[None]]:
    """A worker in this process, stopped cleanly at the end unless it died before."""
    stop = asyncio.Event()

    async def prepare(parts: Parts) -> OpenPartition:
        return main.opener(settings, change(parts))

    task = asyncio.create_task(service.work(settings, stop, main.job(settings), prepare))
    try:
        yield task
    finally:
        stop.set()
        with suppress(Killed):
            await asyncio.wait_for(task, WITHIN_S)


@asynccontextmanager
async def whole_worker(settings: AlertsSettings) -> AsyncIterator[None]:
    """Scores and commands in one worker, as the command runs it."""
    stop = asyncio.Event()
    task = asyncio.create_task(main.serve(settings, stop))
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


class Killed(Exception):
    """The process is gone: nothing it would have done after this happens."""


@dataclass
class DyingLedger:
    """Kills the worker at its first save that has something to write."""

    real: Ledger
    saves_first: bool

    async def marks(self, partition: int) -> Marks:
        return await self.real.marks(partition)

    async def save(self, expected: Marks, to: Mark, clock_ms: int, effects: Effects) -> Marks:
        if self.saves_first:
            await self.real.save(expected, to, clock_ms, effects)
        raise Killed


RISING_AND_BACK = [
    churn_score(0.75, 1),
    churn_score(0.95, 2),
    churn_score(0.1, 3, trigger="activity"),
]


async def test_scores_in_alerts_out(stage: Stage) -> None:
    """Every transition is published once, at the user's home, and is among the recent alerts."""
    users = [f"user-{number}" for number in range(20)]
    history = [replace_user(score, user_id) for user_id in users for score in RISING_AND_BACK]
    async with worker(stage.settings):
        await stage.publish(*history)
        await eventually(stage.caught_up, what="all scores are judged")

        alerts = await stage.alerts()
        recent = await RecentAlerts(stage.redis).latest(100)

    per_user = {user_id: [a.kind for a in alerts if a.user_id == user_id] for user_id in users}
    assert {user_id: ["opened", "escalated", "resolved"] for user_id in users} == per_user
    assert {alert.alert_id for alert in alerts} == {alert.alert_id for alert in recent}
    assert 60 == len(recent)


@pytest.mark.parametrize("saves_first", [False, True])
async def test_a_worker_killed_around_its_save(stage: Stage, saves_first: bool) -> None:
    """Before the save: the alert comes again under its id. After: it does not come again.

    Either way the state moved once.
    """
    await stage.publish(RISING_AND_BACK[0])

    def mortal(parts: Parts) -> Parts:
        return replace(parts, ledger=DyingLedger(parts.ledger, saves_first))

    async with worker(stage.settings, mortal) as dying:
        with pytest.raises(Killed):
            await asyncio.wait_for(asyncio.shield(dying), WITHIN_S)
    async with worker(stage.settings):
        await eventually(stage.caught_up, what="the next worker went on")
        await stage.publish(*RISING_AND_BACK[1:])
        await eventually(stage.caught_up, what="the next worker went on")
        alerts = await stage.alerts()

    expected = [*([] if saves_first else ["opened"]), "opened", "escalated", "resolved"]
    assert expected == [alert.kind for alert in alerts]
    assert 3 == len({alert.alert_id for alert in alerts})
    assert 3 == len(await RecentAlerts(stage.redis).latest(100))


async def test_redelivery_changes_nothing(stage: Stage) -> None:
    """A worker that reads the whole log again, because one shard forgot, tells nothing again."""
    await stage.publish(*RISING_AND_BACK)
    async with worker(stage.settings):
        await eventually(stage.caught_up, what="all scores are judged")
    before = await stage.state()
    forgetful = (shard("ada") + 1) % SHARDS
    await stage.redis.delete(keys.marks(forgetful, SCORES))

    async with worker(stage.settings):
        await eventually(stage.caught_up, what="all scores are read again")

    assert before == await stage.state()
    assert 3 == len(await stage.alerts())


@pytest.mark.parametrize("lost", ["some", "all"])
async def test_a_store_that_forgets_under_a_live_worker(stage: Stage, lost: str) -> None:
    """The worker notices, reads again from the marks that are left, and nothing is missing."""
    async with worker(stage.settings):
        await stage.publish(RISING_AND_BACK[0])
        await eventually(stage.caught_up, what="the first score is judged")
        copy = {key: await stage.redis.dump(key) or b"" for key in await stage.redis.keys("*")}
        await stage.publish(RISING_AND_BACK[1])
        await eventually(stage.caught_up, what="the second score is judged")
        told = await stage.state()

        async with stage.redis.pipeline() as rollback:
            rollback.flushdb()
            if lost == "some":
                for key, value in copy.items():
                    rollback.restore(key, 0, value)
            await rollback.execute()
        await eventually(stage.caught_up, what="the lost scores are judged again")

        assert told == await stage.state()
        await stage.publish(RISING_AND_BACK[2])
        await eventually(stage.caught_up, what="the third score is judged")

    alerts = await stage.alerts()
    assert {"opened", "escalated", "resolved"} == {alert.kind for alert in alerts}
    assert 3 == len({alert.alert_id for alert in alerts})
    recent = await RecentAlerts(stage.redis).latest(10)
    assert ["resolved", "escalated", "opened"] == [alert.kind for alert in recent]


async def test_partitions_change_hands(stage: Stage) -> None:
    """A second worker joins, the first one leaves: every transition is told, none is lost."""
    users = [f"user-{number}" for number in range(12)]
    second = stage.settings.model_copy(update={"alerts_health_port": free_port()})
    async with worker(second):
        async with worker(stage.settings):
            for score in RISING_AND_BACK[:2]:
                await stage.publish(*(replace_user(score, user_id) for user_id in users))
                await eventually(stage.caught_up, what="both workers judge")
            await eventually(lambda: ready(stage.settings), what="the first worker owns something")
        await stage.publish(*(replace_user(RISING_AND_BACK[2], user_id) for user_id in users))
        await eventually(stage.caught_up, what="the one that stayed took over")

    alerts = {alert.alert_id: alert for alert in await stage.alerts()}
    counts = Counter(alert.kind for alert in alerts.values())
    assert {"opened": 12, "escalated": 12, "resolved": 12} == counts


async def test_bad_records_are_parked(stage: Stage) -> None:
    """What is no score lands in the dead letters; what comes after it is judged."""
    async with worker(stage.settings):
        await stage.put([("ada", b"nonsense", 1)])
        await stage.publish(RISING_AND_BACK[0])
        await eventually(stage.caught_up, what="all records are read")

    assert [b"nonsense"] == await stage.values(dead_letter(SCORES))
    assert ["opened"] == [alert.kind for alert in await stage.alerts()]


async def test_a_tombstone_erases(stage: Stage) -> None:
    """Nothing of the user stays in Redis, and nobody is told."""
    async with worker(stage.settings):
        await stage.publish(RISING_AND_BACK[0])
        await eventually(stage.caught_up, what="the score is judged")
        assert await stage.state()

        await stage.put([("ada", None, to_ms(RISING_AND_BACK[1].scored_at))])
        await eventually(stage.caught_up, what="the tombstone is read")

    assert {} == await stage.state()
    assert 1 == len(await stage.alerts())


async def test_a_worker_waits_for_its_servers(stage: Stage, clean_redis: RedisServer) -> None:
    """Started without Kafka and Redis it says what it waits for, and connects when they appear."""
    stage.kafka.stop()
    clean_redis.stop()
    async with worker(stage.settings):
        await eventually(lambda: waits_for(stage.settings, "redis"), what="waits for Redis")
        clean_redis.start()
        await eventually(lambda: waits_for(stage.settings, "kafka"), what="waits for Kafka")
        stage.kafka.start()
        await eventually(lambda: ready(stage.settings), what="ready")
        await stage.publish(RISING_AND_BACK[0])
        await eventually(stage.caught_up, what="the score is judged")

    assert ["opened"] == [alert.kind for alert in await stage.alerts()]


async def test_a_store_that_is_away_for_a_while(stage: Stage, clean_redis: RedisServer) -> None:
    """Without Redis the worker is unready and judges nothing; with it, it catches up."""
    async with worker(stage.settings):
        await stage.publish(RISING_AND_BACK[0])
        await eventually(stage.caught_up, what="the first score is judged")
        clean_redis.kill()
        await stage.publish(RISING_AND_BACK[1])
        await eventually(lambda: is_unready(stage.settings), what="unready")
        clean_redis.start()
        await eventually(stage.caught_up, what="the second score is judged")
        await eventually(lambda: ready(stage.settings), what="ready again")

    alerts = {alert.alert_id: alert.kind for alert in await stage.alerts()}
    assert ["opened", "escalated"] == list(alerts.values())


async def test_the_process_stops_on_a_signal(stage: Stage) -> None:
    """`ebbtide alerts` serves its health and ends with 0 soon after SIGTERM."""
    process = await _process(stage.settings)
    await eventually(lambda: ready(stage.settings), what="ready")

    process.send_signal(signal.SIGTERM)

    assert 0 == await asyncio.wait_for(process.wait(), WITHIN_S)


async def test_the_process_stops_while_it_waits(stage: Stage) -> None:
    """A signal is heard while Kafka is away, too."""
    stage.kafka.stop()
    process = await _process(stage.settings)
    await eventually(lambda: waits_for(stage.settings, "kafka"), what="waits for Kafka")

    process.send_signal(signal.SIGINT)

    assert 0 == await asyncio.wait_for(process.wait(), WITHIN_S)


async def test_an_evicting_store_is_refused(stage: Stage) -> None:
    """A Redis that may drop keys ends the process with 2, saying what to set."""
    await stage.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        process = await _process(stage.settings)
        _, errors = await asyncio.wait_for(process.communicate(), WITHIN_S)
    finally:
        await stage.redis.config_set("maxmemory-policy", "noeviction")

    assert (2, True) == (process.returncode, b"noeviction" in errors)


async def test_bad_settings_are_refused(stage: Stage) -> None:
    """The process ends with 2 and one line that names the variables."""
    process = await _process(
        stage.settings, EBBTIDE_ALERT_THRESHOLD="0.7", EBBTIDE_ALERT_RESOLVE_BELOW="0.9"
    )

    _, errors = await asyncio.wait_for(process.communicate(), WITHIN_S)

    assert 2 == process.returncode
    assert b"EBBTIDE_ALERT_RESOLVE_BELOW (0.9) must not be above" in errors


async def _process(settings: AlertsSettings, **more: str) -> asyncio.subprocess.Process:
    names = (
        "kafka_bootstrap_servers",
        "kafka_idempotence",
        "session_timeout_ms",
        "redis_url",
        "partitions",
        "alerts_health_port",
    )
    variables = {f"EBBTIDE_{name.upper()}": str(getattr(settings, name)) for name in names}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ebbtide", "alerts"),
        env={**os.environ, **variables, **more},
        stderr=asyncio.subprocess.PIPE,
    )


def replace_user(score: ChurnScore, user_id: str) -> ChurnScore:
    return churn_score(
        score.churn_probability,
        score.position.offset,
        user_id=user_id,
        trigger=score.trigger,
    )


async def ready(settings: AlertsSettings) -> bool:
    return (await _readyz(settings))[0] == 200


async def is_unready(settings: AlertsSettings) -> bool:
    return (await _readyz(settings))[0] == 503


async def waits_for(settings: AlertsSettings, name: str) -> bool:
    return name in (await _readyz(settings))[1]


async def _readyz(settings: AlertsSettings) -> tuple[int, dict[str, str]]:
    """Status and reasons, 0 while nobody answers."""
    url = f"http://127.0.0.1:{settings.alerts_health_port}/readyz"

    def ask() -> tuple[int, dict[str, str]]:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status, json.load(answer)["reasons"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["reasons"]
        except OSError:
            return 0, {}

    return await asyncio.to_thread(ask)


async def test_a_person_and_a_policy_file_have_their_say(stage: Stage, tmp_path: Path) -> None:
    """Opened under a rule of the file, acknowledged, snoozed, and told again when that is over; a
    worker that starts anew repeats none of it, and a changed file counts without a restart."""
    file = tmp_path / "policy.yaml"
    file.write_text("rules:\n  - {name: mine, threshold: 0.6, severity: critical}\n")
    settings = stage.settings.model_copy(update={"alert_policy": file, "clock": "stream"})

    async def told(count: int) -> list[ChurnAlert]:
        await eventually(lambda: _holds(stage, count), what=f"{count} alerts")
        return await stage.alerts()

    async with whole_worker(settings):
        await stage.publish(churn_score(0.65, 1))
        (opened,) = await told(1)
        noon = to_ms(opened.occurred_at)
        acknowledge = AlertCommand(
            command_id="c1", user_id="ada", dedup_key=opened.dedup_key, kind="acknowledge",
            actor="eve", at=from_ms(noon + SECOND_MS),
        )  # fmt: skip
        await stage.order(acknowledge, acknowledge)
        await told(2)
        snooze = msgspec.structs.replace(
            acknowledge, command_id="c2", kind="snooze", at=from_ms(noon + 2 * SECOND_MS),
            until=from_ms(noon + 60 * SECOND_MS),
        )  # fmt: skip
        await stage.order(snooze)
        await told(3)
    bob = next(name for name in map(str, range(99)) if _neighbours(name, "ada"))
    file.write_text("rules:\n  - {name: another, threshold: 0.9}\n")
    async with whole_worker(settings):
        # Time passes in the partition, and ends the snooze.
        await stage.publish(churn_score(0.65, 2, user_id=bob))
        alerts = await told(4)
        file.write_text("rules:\n  - {name: last, threshold: 0.6}\n")

        async def taken() -> bool:
            """Another score of bob, each higher than the one before, until the file is in force."""
            nonlocal offset
            offset += 1
            await stage.publish(churn_score(0.65, 3, user_id=bob, offset=offset))
            return len(await stage.alerts()) > 4

        offset = 3
        await eventually(taken, what="the new file is in force")
        last = (await stage.alerts())[-1]

    assert [
        ("opened", "mine", "critical", ""),
        ("acknowledged", "mine", "critical", "eve"),
        ("snoozed", "mine", "critical", "eve"),
        ("escalated", "mine", "critical", ""),
    ] == [(a.kind, a.rule, a.severity, a.actor) for a in alerts]
    assert {opened.dedup_key} == {alert.dedup_key for alert in alerts}
    assert from_ms(noon + 60 * SECOND_MS) == alerts[3].occurred_at
    assert (bob, "last", "opened") == (last.user_id, last.rule, last.kind)
    assert 3 == len({opened.policy, alerts[3].policy, last.policy})


async def _holds(stage: Stage, count: int) -> bool:
    return len(await stage.alerts()) >= count


def _neighbours(one: str, other: str) -> bool:
    return home(one, PARTITIONS) == home(other, PARTITIONS)
