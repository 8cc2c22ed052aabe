"""One chaos run: stage, history, faults, waiting, verdict."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis
from redis.exceptions import RedisClusterException, RedisError

from alerts import policy_file
from alerts.settings import AlertsSettings
from contracts.deliveries import row_id
from contracts.errors import StoreUnavailable
from contracts.topics import ACTIVITY, ALERTS, COMMANDS, SCORES, dead_letter
from ebbtide.guard import Guard
from history import main as history_worker
from history.settings import HistorySettings
from model import artefact
from runtime import timeline
from runtime.store import connect
from tests import servers
from tests.chaos import channels, history, oracle, past, state
from tests.chaos.commands import Commander
from tests.chaos.driver import Driver
from tests.chaos.faults.store import can_mount
from tests.chaos.fleet import KINDS, Fleet, Kind
from tests.chaos.history import Plan
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Fault, ServerKind, Servers, Stage, topic_config
from tests.chaos.tap import Tap
from tests.receivers import http_receiver

PARTITIONS: Final = 8
READ: Final = (ACTIVITY, SCORES, ALERTS, COMMANDS)
"""Topics our workers read."""
HANDLED: Final = (
    *((topic, topic) for topic in READ),
    (SCORES, history_worker.LEDGER),
    (ACTIVITY, timeline.LEDGER),
)
"""Those topics, with the name of each one's watermarks: some are read by two services."""
TOPICS: Final = (*READ, *(dead_letter(topic) for topic in READ))
AT_ONCE: Final = 3
"""Faults that may overlap."""
FIRST_FAULT, LAST_FAULT = 0.03, 0.97
"""Share of the events before the first and the last fault."""
POLICY_FILE: Final = "policy.yaml"
LEAST_EVENTS_FOR_ALERTS: Final = 5_000
UP_WITHIN_S: Final = 90.0
UNKNOWN: Final = (RedisError, RedisClusterException, StoreUnavailable, OSError)
"""What asking the store may raise while it is struck."""
POLL_S: Final = 0.1


@dataclass(frozen=True)
class Order:
    """What to run."""

    seed: int
    events: int
    faults: int
    minutes: float | None
    model_dir: Path
    folder: Path
    kinds: tuple[Fault, ...]
    scorers: int = 2
    alerts: int = 2
    deliveries: int = 2
    histories: int = 2
    gateways: int = 1
    cluster: bool = False
    session_timeout_ms: int = 1_000
    patience_s: float = 240.0
    """How long workers may take to catch up after a fault, and at the end."""
    product: Path | None = None
    """Where the workers' code is; None: where ours is."""


@dataclass
class Struck:
    """A fault that happened."""

    name: str
    began: float
    healed: float = 0.0
    recovered: float | None = None
    """Seconds from healing until all was handled that was in the logs then."""


@dataclass
class Report:
    """What came of it."""

    struck: list[Struck]
    failed: list[str]
    """Faults that could not be carried out, and whatever else went wrong with the run itself."""
    ends: dict[str, list[int]]
    """Exit codes of workers that ended by themselves."""
    verdict: oracle.Verdict
    accepted: int
    retries: Mapping[str, int]
    seconds: float
    catching_up_s: float

    @property
    def good(self) -> bool:
        return not self.failed and self.verdict.differences == 0


async def run(order: Order, say: Callable[[str], None]) -> Report:
    """Run it all; servers and processes are gone when it returns."""
    async with AsyncExitStack() as stack:
        return await _Run(order, say).whole(stack)


class _Run:
    def __init__(self, order: Order, say: Callable[[str], None]) -> None:
        self._order = order
        self._say = say
        self._began = time.monotonic()
        self._struck: list[Struck] = []
        self._failed: list[str] = []
        self._progress: dict[str, state.Progress] = {}
        self._moment = history.START_MS
        self._undelivered = float("inf")
        self._between = asyncio.Lock()

    async def whole(self, stack: AsyncExitStack) -> Report:
        order = self._order
        plan = Plan(order.seed, order.events, PARTITIONS)
        await self._set_up(stack)
        self._log(f"{plan.users} users, {order.faults} faults")
        driving = asyncio.create_task(self._drive(plan), name="driver")
        striking = asyncio.create_task(self._strike_all(driving), name="faults")
        commanding = asyncio.create_task(self._command(driving), name="commands")
        both = asyncio.gather(driving, striking, commanding)
        await asyncio.wait((both, self._watching), return_when=asyncio.FIRST_COMPLETED)
        if self._watching.done():
            both.cancel()
            self._watching.result()
        await both
        produced = time.monotonic() - self._began
        self._log(f"{self._driver.sent:,} records sent")
        await self._finish()
        verdict = await self._verdict()
        return Report(
            struck=self._struck,
            failed=self._failed,
            ends={w.name: w.ends for w in self._fleet.everybody() if w.ends},
            verdict=verdict,
            accepted=self._driver.ledger.accepted,
            retries=self._driver.ledger.retries + self._commander.retries,
            seconds=produced,
            catching_up_s=self._caught_up - produced - self._began,
        )

    # The stage

    async def _set_up(self, stack: AsyncExitStack) -> None:
        order = self._order
        self._guard = Guard()
        stack.callback(self._guard.close)
        kafka = servers.new_kafka(order.folder, self._guard)
        make = servers.new_redis_cluster if order.cluster else servers.new_redis
        redis = make(order.folder, self._guard)
        self._servers = Servers(kafka, redis, _features(order.cluster))
        stack.push_async_callback(self._end_servers)
        for server in (kafka, redis):
            await asyncio.to_thread(server.start)
            server.wipe()
        await _create_topics(kafka)
        self._proxies: dict[tuple[Kind, ServerKind], Proxy] = {}
        for kind in KINDS:
            self._proxy(stack, kind, "kafka", int(kafka.bootstrap.rpartition(":")[2]))
            self._proxy(stack, kind, "redis", _port_of(redis.url))
        self._receiver = stack.enter_context(http_receiver())
        self._receiver.answer = channels.refuses_some()
        policy = channels.policy(self._receiver.url)
        (order.folder / POLICY_FILE).write_text(policy)
        self._policy = policy_file.parse(policy)
        self._taps = {topic: Tap(kafka.bootstrap, topic, PARTITIONS) for topic in TOPICS}
        for tap in self._taps.values():
            await tap.start()
            stack.push_async_callback(tap.stop)
        self._fleet = Fleet(order.folder, self._guard, self._env_of, self._log, code=order.product)
        stack.push_async_callback(self._fleet.stop)
        first: Mapping[Kind, int] = {
            "scorer": order.scorers, "alerts": order.alerts, "delivery": order.deliveries,
            "history": order.histories, "gateway": order.gateways,
        }  # fmt: skip
        for kind, count in first.items():
            for _ in range(count):
                self._fleet.add(kind)
        await self._until_up()
        self._watching = asyncio.create_task(self._watch(), name="watch")
        stack.callback(self._watching.cancel)
        pace = 1e6 if order.minutes is None else order.events / (order.minutes * 60)
        self._driver = Driver(
            bootstrap=lambda: self._servers.kafka.bootstrap,
            gateways=lambda: [worker.url for worker in self._fleet.of("gateway")],
            log_number=lambda: self._taps[ACTIVITY].log,
            pace=pace,
        )
        self._commander = Commander(
            alerts=self._taps[ALERTS].records,
            gateways=lambda: [worker.url for worker in self._fleet.of("gateway")],
            random=random.Random(order.seed + 2),
        )
        self._began = time.monotonic()

    def _proxy(self, stack: AsyncExitStack, kind: Kind, server: ServerKind, target: int) -> None:
        proxy = Proxy(f"{kind}-{server}", target, kafka=server == "kafka")
        proxy.start()
        stack.callback(proxy.close)
        self._proxies[kind, server] = proxy

    def _env_of(self, kind: Kind) -> Mapping[str, str]:
        return {
            **self._env(),
            "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self._proxies[kind, 'kafka'].port}",
            "EBBTIDE_REDIS_URL": (
                self._servers.redis.url  # its nodes name each other's addresses
                if self._order.cluster
                else f"redis://127.0.0.1:{self._proxies[kind, 'redis'].port}/0"
            ),
        }

    def _env(self) -> Mapping[str, str]:
        """Past every proxy."""
        return os.environ | {
            "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": self._servers.kafka.bootstrap,
            "EBBTIDE_REDIS_URL": self._servers.redis.url,
            "EBBTIDE_KAFKA_IDEMPOTENCE": str(self._servers.kafka.idempotence).lower(),
            "EBBTIDE_SESSION_TIMEOUT_MS": str(self._order.session_timeout_ms),
            "EBBTIDE_PARTITIONS": str(PARTITIONS),
            "EBBTIDE_CLOCK": "stream",
            "EBBTIDE_ALERT_POLICY": str(self._order.folder / POLICY_FILE),
            "EBBTIDE_PUBLIC_URL": channels.PUBLIC_URL,
            "EBBTIDE_DELIVERY_LEASE_SECONDS": "2",
            "EBBTIDE_MODEL_DIR": str(self._order.model_dir.resolve()),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    async def _until_up(self) -> None:
        deadline = time.monotonic() + UP_WITHIN_S
        for worker in self._fleet.all():
            while not await self._fleet.ready(worker):
                words = "\n".join(worker.child.last_lines(20))
                if not worker.child.is_running():
                    raise RuntimeError(f"{worker.name} ended:\n{words}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{worker.name} does not become ready:\n{words}")
                await asyncio.sleep(0.1)

    async def _end_servers(self) -> None:
        await asyncio.to_thread(servers.end, self._servers.kafka)
        for server in (self._servers.redis, *self._servers.more):
            await asyncio.to_thread(servers.end, server)

    async def _watch(self) -> None:
        """Revive workers, follow the watermarks, notice taps that failed."""
        reviving = asyncio.create_task(self._fleet.watch())
        try:
            while True:
                for tap in self._taps.values():
                    if (failure := tap.failed()) is not None:
                        raise failure
                if reviving.done():
                    reviving.result()
                await self._look()
                await asyncio.sleep(POLL_S)
        finally:
            reviving.cancel()

    async def _look(self) -> None:
        try:
            async with self._redis() as redis:
                for topic, ledger in HANDLED:
                    found = await state.progress(redis, topic, PARTITIONS, ledger)
                    self._progress[ledger] = found
        except UNKNOWN:
            self._progress.clear()  # nobody knows

    @asynccontextmanager
    async def _redis(self) -> AsyncIterator[Redis]:
        client = connect(self._servers.redis.url)
        try:
            yield client
        finally:
            await client.aclose()

    # History

    async def _drive(self, plan: Plan) -> None:
        def told() -> object:
            for item in history.history(plan):
                self._moment = max(self._moment, item.timestamp_ms)
                yield item

        await self._driver.send(told())  # type: ignore[arg-type]

    async def _command(self, driving: asyncio.Task[None]) -> None:
        driving.add_done_callback(lambda _: setattr(self._commander, "done", True))
        await self._commander.run()

    # Faults

    async def _strike_all(self, driving: asyncio.Task[None]) -> None:
        order = self._order
        chance = random.Random(order.seed + 1)
        usable = [kind for kind in order.kinds if kind.needs <= self._servers.has]
        left_out = sorted({kind.name for kind in order.kinds} - {kind.name for kind in usable})
        if left_out:
            self._log(f"these servers cannot show: {', '.join(left_out)}")
        due = sorted(
            chance.uniform(FIRST_FAULT, LAST_FAULT) * order.events for _ in range(order.faults)
        )
        locks: dict[str, asyncio.Lock] = {}
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for number, (at, fault) in enumerate(zip(due, _drawn(usable, chance), strict=False)):
                while self._driver.sent < at and not driving.done():  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.05)
                await room.acquire()
                stage = Stage(
                    random=random.Random(order.seed * 7919 + number),
                    workers=self._fleet,
                    servers=self._servers,
                    proxies=self._proxies,
                    folder=order.folder,
                    log=self._log,
                    locks=locks,
                    new_log=self._new_log,
                    env=self._env,
                    code=order.product,
                )
                group.create_task(self._strike(fault, stage, room))

    async def _strike(self, fault: Fault, stage: Stage, room: asyncio.Semaphore) -> None:
        struck = Struck(fault.name, time.monotonic())
        self._struck.append(struck)
        self._log(f"fault {len(self._struck)}: {fault.name}")
        try:
            await fault.strike(stage)
        except Exception as error:  # one fault that fails must not hide the others
            self._failed.append(f"{fault.name}: {error!r}")
            self._log(f"could not be carried out: {fault.name}: {error!r}")
            return
        finally:
            room.release()
        struck.healed = time.monotonic()
        try:
            await self._until_handled()
        except RuntimeError as failure:
            self._failed.append(f"after {fault.name}: {failure}")
            self._log(self._failed[-1])
            return
        struck.recovered = time.monotonic() - struck.healed
        self._log(f"recovered from {fault.name} in {struck.recovered:.1f} s")

    async def _until_handled(self) -> None:
        """Until the effects of what is in the logs at this moment are in the store."""
        for topic, ledger in HANDLED:
            tap = self._taps[topic]
            while (ends := await tap.ends()) is None:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
            log = tap.log
            deadline = time.monotonic() + self._order.patience_s
            while not self._reached(ledger, log, ends):
                if time.monotonic() > deadline:
                    where = self._where(topic, ledger, ends)
                    raise RuntimeError(f"{ledger} is not handled: {where}")
                await asyncio.sleep(POLL_S)

    def _reached(self, ledger: str, log: int, ends: dict[int, int]) -> bool:
        return ledger in self._progress and self._progress[ledger].reached(log, ends)

    def _where(self, topic: str, ledger: str, ends: dict[int, int]) -> str:
        marks = self._progress[ledger].marks if ledger in self._progress else ()
        lowest = [min((str(mark) for mark in row), default="-") for row in marks]
        ends_said = {p: f"{self._taps[topic].log}:{end}" for p, end in ends.items()}
        return f"watermarks {lowest}, ends {ends_said}"

    @asynccontextmanager
    async def _new_log(self, topics: Collection[str]) -> AsyncIterator[None]:
        async with self._between, self._commander.quiet:
            tapped = [topic for topic in topics if topic in self._taps]
            await self._driver.hold()
            try:
                moment = self._moment  # the history goes on being written behind our back
                await self._driver.tick(moment, PARTITIONS)
                await self._until_quiet(moment)
                for topic in tapped:
                    await self._taps[topic].stop()
                yield
                for topic in tapped:
                    await self._taps[topic].new_log()
                # So that workers meet this log, however soon the next one comes.
                await self._driver.tick(moment, PARTITIONS)
            finally:
                self._driver.go_on()

    # The end

    async def _finish(self) -> None:
        end = history.end_ms()
        await self._driver.tick(end, PARTITIONS)
        self._log("the last tick is sent")
        try:
            await self._until_quiet(end, told=True)
        except RuntimeError as failure:
            self._failed.append(str(failure))
            self._log(str(failure))
        self._caught_up = time.monotonic()

    async def _until_quiet(self, clock_ms: int, *, told: bool = False) -> None:
        """Until all logs are handled, no timer is due by `clock_ms`, and the taps have it all.

        told: until all deliveries are over, too. Many may wait at the end of a long run: patience
        begins anew whenever they are fewer.
        """
        deadline = time.monotonic() + self._order.patience_s
        quiet, before = 0, None
        fewest = self._undelivered = float("inf")
        while quiet < 3:
            await asyncio.sleep(2 * POLL_S)
            now = await self._stillness(clock_ms, told=told)
            quiet = quiet + 1 if now is not None and now == before else 0
            before = now
            if self._undelivered < fewest:
                fewest = self._undelivered
                deadline = time.monotonic() + self._order.patience_s
            if time.monotonic() > deadline:
                said = [
                    f"{ledger}: {self._where(topic, ledger, await self._taps[topic].ends() or {})}"
                    for topic, ledger in HANDLED
                ]
                if told:
                    said.append(f"deliveries that wait: {self._undelivered:,.0f}")
                raise RuntimeError(f"not caught up in {self._order.patience_s:.0f} s: {said}")

    async def _stillness(self, clock_ms: int, *, told: bool) -> list[int] | None:
        """How long the logs are, if everything is done with them."""
        lengths = []
        for topic, tap in self._taps.items():
            ends = await tap.ends()
            if ends is None or not await tap.at_end():
                return None
            lengths.append(sum(ends.values()))
            ledgers = [ledger for read, ledger in HANDLED if read == topic]
            if not all(self._reached(ledger, tap.log, ends) for ledger in ledgers):
                return None
        try:
            async with self._redis() as redis:
                due = await state.earliest_timer(redis, PARTITIONS) <= clock_ms
                waiting = await state.waiting_commands(redis, PARTITIONS)
                if told:
                    self._undelivered = await state.waiting_deliveries(redis, channels.KINDS)
                    waiting += int(self._undelivered)
                if due or waiting:
                    return None
        except UNKNOWN:
            return None
        return lengths

    async def _verdict(self) -> oracle.Verdict:
        async with self._redis() as redis:
            records = await state.records(redis)
            timers = await state.timers(redis, PARTITIONS)
            waiting = await state.waiting_commands(redis, PARTITIONS)
            told = oracle.read_alerts(self._taps[ALERTS].records)
            wanted = {(a.user_id, row_id(a.alert_id, c)) for a in told for c in channels.KINDS}
            deliveries = await state.deliveries(redis, wanted)
            kept = await state.kept(redis, PARTITIONS)
        rules = AlertsSettings().fold_rules
        evidence = oracle.Evidence(
            activity=self._taps[ACTIVITY].records,
            scores=self._taps[SCORES].records,
            alerts=self._taps[ALERTS].records,
            dead_letters=self._taps[dead_letter(ACTIVITY)].records,
            records=records,
            timers=timers,
            accepted_ids=self._driver.ledger.by_id,
            accepted_places=self._driver.ledger.by_place,
            commands=self._taps[COMMANDS].records,
            accepted_commands=self._commander.accepted,
            waiting_commands=waiting,
            received=list(self._receiver.taken),
            deliveries=deliveries,
            kept=kept,
        )
        self._log("comparing")
        with (self._order.folder / "evidence.pickle").open("wb") as kept:
            pickle.dump(evidence, kept)
        model = artefact.load(self._order.model_dir)
        began = time.monotonic()
        verdict = await asyncio.to_thread(
            oracle.judge_run,
            evidence,
            rules,
            self._policy,
            model,
            PARTITIONS,
            past.Keeping.of(HistorySettings(), whole_hours=not self._order.cluster),
        )
        self._log(f"compared in {time.monotonic() - began:.1f} s")
        if self._order.events >= LEAST_EVENTS_FOR_ALERTS and not verdict.figures["alerts"]:
            self._failed.append("there was no alert, so that nothing was shown of alerts")
        return verdict

    def _log(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:7.1f} s  {text}")


def _drawn(kinds: list[Fault], chance: random.Random) -> list[Fault]:
    """Kinds in random order, each as often as any other: enough of them for any run."""
    drawn: list[Fault] = []
    for _ in range(1_000):
        drawn += chance.sample(kinds, len(kinds))
    return drawn


def _features(cluster: bool) -> frozenset[str]:
    """What of `Fault.needs` the chosen servers have."""
    source = servers.source()
    has = {f"{source}-kafka", "redis-cluster" if cluster else "single-redis"}
    if source in ("embedded", "native"):
        has.add("local-redis")
        if can_mount():
            has.add("mounts")
    return frozenset(has)


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


async def _create_topics(kafka: servers.KafkaServer) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        wanted = [
            NewTopic(
                topic,
                PARTITIONS,
                1,
                topic_configs=topic_config(topic),
            )
            for topic in TOPICS
        ]
        answer = await admin.create_topics(wanted)
        for name, code, *message in answer.topic_errors:
            if code:
                raise RuntimeError(f"{name}: {code} {message}")
    finally:
        await admin.close()


def table(struck: list[Struck]) -> list[tuple[str, int, float, float]]:
    """(kind, how many, median and longest recovery in seconds), by kind."""
    rows = []
    for name in sorted({s.name for s in struck}):
        seconds = [s.recovered for s in struck if s.name == name and s.recovered is not None]
        if seconds:
            rows.append((name, len(seconds), statistics.median(seconds), max(seconds)))
    return rows
