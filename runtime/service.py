"""What every worker's main() is made of: settings, signals, connections, the consumer loop.

A worker starts without Kafka and Redis: it serves its health, says what it waits for, and connects
when they appear.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from redis.asyncio import Redis

from contracts.errors import LogUnavailable, Misconfigured, Unavailable
from contracts.workers import Standing
from runtime import kafka, logs
from runtime.consumer import Consumer
from runtime.dead_letters import DeadLetters
from runtime.handler import OpenPartition
from runtime.health import Health, served
from runtime.heartbeat import Heartbeat, beating, standing
from runtime.kafka import LogConsumer, Publisher, ensure_topics
from runtime.ledger import Ledger, RedisLedger
from runtime.log_identity import LogIdentity
from runtime.metrics import WorkerMetrics
from runtime.partition_loop import RETRY_SECONDS
from runtime.progress import Limits, Stalled
from runtime.pulse import Pulse
from runtime.settings import ServiceSettings
from runtime.store import check_policy, connect
from runtime.topic_id import TopicIds

logger = structlog.get_logger(__name__)

STOP_SECONDS = 3.0
"""How long a client may take to say goodbye to a broker that does not answer."""
RESTARTS = 3
"""Times a worker starts itself again in vain before the process ends."""
START_AGAIN = 75
"""Exit code of a worker whose process has to be started anew; EX_TEMPFAIL of sysexits.h."""
CANCEL_SECONDS = 2.0
GROUP_PREFIX = "ebbtide-"
"""How the consumer group of a service begins; the rest is what people call it."""
GARBAGE_OBJECTS = 100_000
"""How many objects more make Python look for cycles among them. A batch makes tens of thousands,
none of them in a cycle; by default they would be looked at hundreds of times."""

T = TypeVar("T")
S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True, slots=True)
class Work:
    """What one worker does: the topic it reads, the topics it needs, where it shows its health."""

    topic: str
    group: str
    rules: str
    """Digest of the rules that are pinned beside the log identity."""
    topics: Sequence[str]
    """Created when missing, with their dead letters; includes `topic`."""
    health_host: str
    health_port: int
    scores: bool = False
    """Whether it publishes scores, many and much alike: they are compressed."""
    has_time: bool = False
    """Whether a tenth of a second more is nothing to it: then it asks a broker less often."""
    ledger: str = ""
    """Name of its watermarks, where another service reads the topic, too; empty: the topic."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The connected parts a worker builds its handlers from."""

    redis: Redis
    publisher: Publisher
    ledger: Ledger
    dead_letters: DeadLetters
    health: Health
    metrics: WorkerMetrics


Prepare = Callable[[Parts], Awaitable[OpenPartition]]
"""Builds what opens partitions, once everything is connected."""


def run(
    name: str, load: Callable[[], S], serve: Callable[[S, asyncio.Event], Awaitable[None]]
) -> int:
    """Run a service until SIGTERM or SIGINT and return its exit code.

    load: reads the settings from the environment. serve: ends soon after the event is set.
    The code is 0 after a clean stop, 2 when a person has to look and START_AGAIN when the worker
    stalled and starting it again in this process did not help, with the reason on stderr. A bug
    raises. A stop that takes longer than the settings grant is given up, with code 0: whoever owns
    the partitions next starts at the watermarks.
    """
    try:
        settings = load()
    except ValidationError as error:
        print(_settings_message(error), file=sys.stderr)  # noqa: T201 - logs are not set up yet
        return 2
    logs.configure(settings, name)
    gc.set_threshold(GARBAGE_OBJECTS)
    try:
        # uvloop makes the gateway's small requests faster, but not a worker's batches.
        asyncio.run(_until_signalled(settings, serve))
    except Misconfigured as error:
        logger.error("refused_to_run", reason=str(error))
        return 2
    except Stalled as stall:
        logger.error("giving_up", reason=str(stall))
        return START_AGAIN
    return 0


async def _until_signalled(
    settings: S, serve: Callable[[S, asyncio.Event], Awaitable[None]]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _told(stop) as told:
        with Pulse(loop, limit=settings.stall_seconds, exit_code=START_AGAIN):
            serving = asyncio.ensure_future(serve(settings, stop))
            await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await asyncio.wait({serving}, timeout=settings.stop_seconds)
            if not serving.done():
                logger.error("stop_given_up", seconds=settings.stop_seconds)
                serving.cancel()
                await asyncio.wait({serving}, timeout=CANCEL_SECONDS)
            if serving.done() and not serving.cancelled():
                serving.result()


def _settings_message(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        name = "EBBTIDE_" + "_".join(str(part) for part in problem["loc"]).upper()
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{name}: {message}" if problem["loc"] else message)
    return "ebbtide: " + "; ".join(problems)


async def work(settings: ServiceSettings, stop: asyncio.Event, job: Work, prepare: Prepare) -> None:
    """Serve health, connect as soon as that is possible, and consume until `stop` is set.

    A worker that stalls is started again here, with new clients. Raises Stalled when that has not
    helped, Misconfigured when a person has to look, and any bug.
    """
    await work_together(settings, stop, [(job, prepare)])


async def work_together(
    settings: ServiceSettings, stop: asyncio.Event, jobs: Sequence[tuple[Work, Prepare]]
) -> None:
    """Like `work`, on several topics in one process, with one health server: the first job's.

    When one job ends with an error, the others are stopped and the error is raised.
    """
    registry = CollectorRegistry()
    first = jobs[0][0]
    health = Health()
    metrics = WorkerMetrics(registry, first.topic)
    over = asyncio.Event()
    beat = Heartbeat(first.group.removeprefix(GROUP_PREFIX), registry, health)
    async with (
        served(health, registry, first.health_host, first.health_port),
        beating(settings.redis_url, beat),
    ):
        working = [
            asyncio.create_task(
                _keep_working(
                    settings,
                    over,
                    job,
                    prepare,
                    health=health if job is first else health.part(job.topic),
                    metrics=metrics if job is first else metrics.of(job.topic),
                    beat=beat,
                ),
                name=job.topic,
            )
            for job, prepare in jobs
        ]
        try:
            async with _told(stop) as told:
                tasks: set[asyncio.Task[Any]] = {*working, told}
                while not (told.done() or any(task.done() for task in working)):
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            over.set()
            await asyncio.wait(working)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        for task in working:
            task.result()


async def _keep_working(
    settings: ServiceSettings,
    stop: asyncio.Event,
    job: Work,
    prepare: Prepare,
    *,
    health: Health,
    metrics: WorkerMetrics,
    beat: Heartbeat,
) -> None:
    in_vain = 0
    while True:
        try:
            await _work_once(
                settings, stop, job, prepare, health=health, metrics=metrics, beat=beat
            )
        except Stalled as stall:
            if stop.is_set():
                return
            in_vain = 1 if stall.got_on else in_vain + 1
            if in_vain > RESTARTS:
                raise
            metrics.restarts.inc()
            logger.warning("starting_again", reason=str(stall), in_vain=in_vain)
        else:
            return
        health.waits("start", "starting again after a stall")


async def _work_once(
    settings: ServiceSettings,
    stop: asyncio.Event,
    job: Work,
    prepare: Prepare,
    *,
    health: Health,
    metrics: WorkerMetrics,
    beat: Heartbeat,
) -> None:
    """Connect and consume until `stop` is set, with clients of its own; raises as `work` does."""
    async with AsyncExitStack() as stack:
        try:
            waiting = _Patience(health, stop)
            redis = connect(settings.redis_url)
            stack.push_async_callback(redis.aclose)
            await waiting.for_("redis", lambda: check_policy(redis))
            await waiting.for_("kafka", lambda: ensure_topics(settings, job.topics))
            compression = settings.score_compression if job.scores else "none"
            producer = await waiting.for_(
                "kafka", lambda: started(kafka.producer(settings, compression=compression))
            )
            stack.push_async_callback(_stopped, producer)
            topic_ids = TopicIds(settings.kafka_bootstrap_servers)
            stack.push_async_callback(topic_ids.close)
            publisher = Publisher(producer)
            parts = Parts(
                redis=redis,
                publisher=publisher,
                ledger=RedisLedger(redis, job.topic, name=job.ledger),
                dead_letters=DeadLetters(publisher, redis, job.topic, health),
                health=health,
                metrics=metrics,
            )
            open_partition = await waiting.for_("start", lambda: prepare(parts))
            source = await waiting.for_(
                "kafka",
                lambda: started(kafka.consumer(settings, group=job.group, has_time=job.has_time)),
            )
            # Last in, first out: the others in the group wait for us to leave it.
            stack.push_async_callback(_stopped, source)
        except _Stopped:
            return
        identity = LogIdentity(job.topic, job.rules, topic_ids, redis)

        async def check() -> None:
            if kafka.sends_no_more(producer):
                raise Stalled("the producer has stopped sending", got_on=True)
            await identity.current()
            await check_policy(redis)

        health.waits("start", "joining the consumer group")
        consumer = Consumer(
            source,
            job.topic,
            identity=identity,
            ledger=parts.ledger,
            open_partition=open_partition,
            clock=settings.clock,
            health=health,
            metrics=metrics,
            check=check,
            abandon=lambda: kafka.cut(producer),
            limits=Limits(
                stall=settings.stall_seconds,
                joining=settings.stall_seconds + 2 * settings.session_timeout_ms / 1000,
            ),
        )

        def partitions() -> list[Standing]:
            of = {"topic": job.topic, "ledger": job.ledger, "group": job.group}
            return [standing(known, **of) for known in consumer.known()]

        with beat.watching(partitions):
            await consumer.run(stop)


class _Stopped(Exception):
    """Told to stop before everything was connected."""


class _Patience:
    """Tries something until it works, saying in the health what it waits for."""

    def __init__(self, health: Health, stop: asyncio.Event) -> None:
        self._health = health
        self._stop = stop

    async def for_(self, about: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what the first attempt without Unavailable returns; raises _Stopped."""
        failures = 0
        async with _told(self._stop) as told:
            while True:
                trying = asyncio.ensure_future(attempt())
                try:
                    await asyncio.wait({trying, told}, return_when=asyncio.FIRST_COMPLETED)
                    if not trying.done():
                        raise _Stopped
                    result = trying.result()
                except Unavailable as trouble:
                    self._health.waits(about, str(trouble))
                    logger.warning("waiting", about=about, reason=str(trouble))
                    delay = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                    failures += 1
                    await asyncio.wait({told}, timeout=delay)
                    if told.done():
                        raise _Stopped from None
                else:
                    self._health.goes_on(about)
                    return result
                finally:
                    if not trying.done():
                        trying.cancel()
                        await asyncio.wait({trying})


@asynccontextmanager
async def _told(stop: asyncio.Event) -> AsyncIterator[asyncio.Task[bool]]:
    task = asyncio.create_task(stop.wait())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


Client = TypeVar("Client", AIOKafkaProducer, LogConsumer)


async def started(client: Client) -> Client:
    """Start a Kafka client; raises LogUnavailable, leaving nothing open."""
    try:
        await client.start()
    except BaseException as error:
        await _stopped(client)
        if isinstance(error, KafkaError | OSError | TimeoutError):
            raise LogUnavailable(f"Kafka, connecting: {error!r}") from error
        raise
    return client


async def _stopped(client: AIOKafkaProducer | LogConsumer) -> None:
    """Stop a client, but do not wait long for a broker that is gone: nothing hangs on it."""
    # A task of its own: with Kafka away, aiokafka's stop() lets a CancelledError of its inner
    # tasks out, which here would look like our own cancellation.
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait({stopping}, timeout=STOP_SECONDS)
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait({stopping}, timeout=1.0)
        if isinstance(client, AIOKafkaProducer):
            await kafka.cut(client)
    with suppress(KafkaError, OSError, TimeoutError, asyncio.CancelledError):
        if stopping.done():
            stopping.result()
