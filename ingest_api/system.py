"""`GET /system`: what the machine depends on, who works in it, and how far behind it is.

Every part is asked for by itself, within a bound, and says so when it cannot be known: the page is
for the moments in which something is away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeVar

import msgspec
from fastapi import APIRouter
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoPermissionError, ResponseError
from starlette.responses import Response

from contracts.errors import StoreUnavailable, Unavailable
from contracts.times import from_ms
from contracts.topics import ACTIVITY, ALERTS, COMMANDS, SCORES, dead_letter
from contracts.workers import SILENT_SECONDS, Standing
from ingest_api import openapi
from ingest_api.kept import Kept
from runtime import heartbeat, timeline, watermarks
from runtime.clock import wall_ms
from runtime.heartbeat import Heard
from runtime.kafka import Message
from runtime.ledger import Mark
from runtime.letter_box import Wanted
from runtime.letter_log import Newest
from runtime.letters import Letter
from runtime.log_ends import Ends as PartitionEnds
from runtime.log_ends import TopicEnds
from runtime.redis_errors import redis_errors
from runtime.watermarks import Timers, Watermark

PART_SECONDS: Final = 3.5
"""What any one part may take: a page that waits for a dead dependency shows nothing of the rest."""
REMEMBERED_SECONDS: Final = 2.0
"""However many look, everything is asked this often."""

NEEDED: Final = (
    (ACTIVITY, "", "scorer"),
    (SCORES, "", "alerts"),
    (COMMANDS, "", "alerts"),
)
"""Topic, name of the watermarks, service: without those there is no score and no alert."""
CHOSEN: Final = (
    (ALERTS, "", "delivery"),
    (SCORES, f"{SCORES}.history", "history"),
    (ACTIVITY, timeline.LEDGER, "history"),
)
"""Those a deployment may do without: told of once they have worked. Others tell of themselves."""

T = TypeVar("T")


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """A server we need."""

    state: str
    """`ok`, or what is wrong."""
    seconds: float | None
    """What one round trip took; null: none came to its end."""
    version: str | None
    """As far as it tells."""
    memory_bytes: int | None
    memory_limit_bytes: int | None
    """null: none set."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process, by its own word."""

    id: str
    service: str
    host: str
    pid: int
    version: str
    since: datetime
    state: Literal["ready", "waiting", "silent"]
    """`waiting`: see `reasons`. `silent`: it has not told anything for 15 s."""
    seconds_ago: float
    """When it last told of itself, by the clock of Redis."""
    reasons: dict[str, str]
    partitions: int
    totals: dict[str, float]
    """Since its start."""
    rates: dict[str, float]
    """A second, over the last 5."""


class PartitionLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far one partition's effects are behind its log."""

    partition: int
    watermark: int | None
    """The next offset whose effects Redis does not hold; null: none stored, or not known."""
    end: int | None
    """The offset the next record will get; null: not known."""
    lag: int | None
    """Records between the two."""
    worker: str | None
    """Who has it in hand."""
    stage: str | None
    still_seconds: float | None
    newest: datetime | None
    """Log time of the newest record that worker has handled."""
    refusal: str | None
    held: str | None
    """log:offset at which it waits for a person."""


class TopicLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a service is behind with a topic."""

    topic: str
    service: str
    ledger: str
    lag: int | None
    """Of all partitions together; null as long as that of one is not known."""
    exists: bool | None
    """Whether Kafka has the topic; null: not known."""
    partitions: tuple[PartitionLag, ...]


class TimerState(msgspec.Struct, frozen=True, kw_only=True):
    """The timers of one kind."""

    kind: Literal["silence", "alert"]
    waiting: int
    earliest: datetime | None
    overdue_seconds: float
    """How far the clock is beyond the earliest: 0 where none is due."""
    partition: int | None
    """Whose timer is the most overdue."""


class ParkedRecords(msgspec.Struct, frozen=True, kw_only=True):
    """How much lies in a dead-letter topic."""

    topic: str
    """Whose dead letters."""
    records: int
    """At least as many as letters: large ones take several, and replays leave a note each."""


class SystemPage(msgspec.Struct, frozen=True, kw_only=True):
    """The machine. A list that is null could not be read; `troubles` says why."""

    as_of: datetime
    """By this gateway's clock."""
    clock: Literal["wall", "stream"]
    model: str
    kafka: Dependency
    redis: Dependency
    workers: tuple[Worker, ...] | None
    missing: tuple[str, ...]
    """Services needed, or known to have worked, of which nobody was heard for 15 minutes."""
    topics: tuple[TopicLag, ...]
    rates: dict[str, float]
    """A second, of all live workers: `events`, `scores`, `alerts`, ...; empty: nobody tells."""
    newest_event: datetime | None
    """Log time of the newest event folded."""
    newest_score: datetime | None
    """When the scorers were last seen to publish one, up to 5 s late."""
    timers: tuple[TimerState, ...] | None
    dead_letters: tuple[ParkedRecords, ...] | None
    troubles: tuple[str, ...]


class Ends(Protocol):
    """Where topics end: `runtime.log_ends.LogEnds`."""

    async def of(self, topics: Iterable[str]) -> dict[str, TopicEnds]:
        """Raises LogUnavailable."""
        ...


class Letters(Protocol):
    """Who reads dead-letter topics: `runtime.letter_log.LetterLog`."""

    async def newest(self, topic: str, ends: Mapping[int, PartitionEnds], most: int) -> Newest:
        """Raises LogUnavailable."""
        ...


class Back(Protocol):
    """A way back to a topic: `runtime.letter_box.Returns`."""

    async def send(self, going: Sequence[tuple[Letter, Message]], now_ms: int) -> None:
        """Raises LogUnavailable."""
        ...


class Box(Protocol):
    """The dead letters of a topic: `runtime.letter_box.LetterBox`. All raises LogUnavailable."""

    def letters(self, wanted: Wanted) -> AsyncGenerator[Letter, None]:
        """Those that are meant."""
        ...

    def returning(self, timeout_ms: int) -> AbstractAsyncContextManager[Back]:
        """A way back."""
        ...


@dataclass(frozen=True, slots=True)
class Machine:
    """What those who look after the machine look at."""

    redis: Redis
    ends: Ends
    letters: Letters
    boxes: Callable[[str], Box]
    """A topic's dead letters, to be sent back."""
    now: Callable[[], int] = wall_ms
    """Epoch ms, by this machine's clock, also where the stream's is the one for users."""


class Look:
    """One look at everything, shared by all who ask within REMEMBERED_SECONDS."""

    def __init__(
        self,
        machine: Machine,
        *,
        ping_kafka: Callable[[], Awaitable[None]],
        clock: Literal["wall", "stream"],
        model_version: str,
    ) -> None:
        """ping_kafka: one round trip; raises LogUnavailable."""
        self._machine = machine
        self._ping_kafka = ping_kafka
        self._now = machine.now
        self._clock = clock
        self._model = model_version
        self._kept = Kept(self._look, REMEMBERED_SECONDS)

    async def page(self) -> SystemPage:
        """Never older than REMEMBERED_SECONDS when it was asked for."""
        return await self._kept.answer()

    async def _look(self) -> SystemPage:
        redis, troubles = self._machine.redis, Troubles()
        kafka_state, redis_state, heard = await asyncio.gather(
            asked(self._ping_kafka), asked_redis(redis), troubles.of(heartbeat.read(redis))
        )
        readers = list(dict.fromkeys([*NEEDED, *CHOSEN, *_readers_of(heard or ())]))
        sources = sorted({topic for topic, _, _ in readers})
        parked = [dead_letter(topic) for topic in sources]
        ends, stored = await asyncio.gather(
            troubles.of(self._machine.ends.of([*sources, *parked])),
            asyncio.gather(*(self._stored(reader[0], reader[1], troubles) for reader in readers)),
        )
        numbers = await self._log_numbers(sources, ends or {}, troubles)
        standings = [s for each in heard or () if is_live(each) for s in each.beat.partitions]
        owners = {
            (s.topic, s.ledger, s.partition): each.beat.id
            for each in heard or ()
            if is_live(each)
            for s in each.beat.partitions
        }
        here = {each.beat.service for each in heard or ()}
        both = list(zip(readers, stored, strict=True))
        both = [(r, found) for r, found in both if r not in CHOSEN or found.marks or r[2] in here]
        wanted = dict.fromkeys(service for (_, _, service), _ in both)
        topics = tuple(
            _topic_lag(
                reader,
                found,
                ends=ends,
                number=numbers.get(reader[0]),
                standings=standings,
                owners=owners,
            )
            for reader, found in both
        )
        home = next(found for reader, found in both if reader == NEEDED[0])
        events, scores = freshness(heard or ())
        return SystemPage(
            as_of=from_ms(self._now()),
            clock=self._clock,
            model=self._model,
            kafka=kafka_state,
            redis=redis_state,
            workers=None if heard is None else tuple(map(_worker, heard)),
            missing=() if heard is None else tuple(each for each in wanted if each not in here),
            topics=topics,
            rates=_rates(heard or ()),
            newest_event=events,
            newest_score=scores,
            timers=await self._timers(home.marks or {}, troubles),
            dead_letters=None
            if ends is None
            else tuple(
                ParkedRecords(topic=topic, records=_records(ends[dead_letter(topic)]))
                for topic in sources
                if dead_letter(topic) in ends
            ),
            troubles=tuple(troubles.told),
        )

    async def _stored(self, topic: str, ledger: str, troubles: Troubles) -> _Stored:
        redis = self._machine.redis
        marks, held = await asyncio.gather(
            troubles.of(watermarks.of(redis, topic, ledger)),
            troubles.of(watermarks.held(redis, topic)),
        )
        return _Stored(marks, held or {})

    async def _log_numbers(
        self, sources: Sequence[str], ends: dict[str, TopicEnds], troubles: Troubles
    ) -> dict[str, int | None]:
        redis = self._machine.redis
        topics = [topic for topic in sources if topic in ends]
        numbers = await asyncio.gather(
            *(
                troubles.of(watermarks.log_number(redis, topic, ends[topic].topic_id))
                for topic in topics
            )
        )
        return dict(zip(topics, numbers, strict=True))

    async def _timers(
        self, home: dict[int, Watermark], troubles: Troubles
    ) -> tuple[TimerState, ...] | None:
        partitions = max(home, default=-1) + 1
        if not partitions:
            return ()
        redis = self._machine.redis
        silence, alert = await asyncio.gather(
            troubles.of(watermarks.silence_timers(redis, ACTIVITY, partitions)),
            troubles.of(watermarks.alert_timers(redis, partitions)),
        )
        if silence is None or alert is None:
            return None
        now = self._now()
        clocks = {
            number: now if self._clock == "wall" else mark.clock_ms for number, mark in home.items()
        }
        return (
            timer_state("silence", silence, clocks, now),
            timer_state("alert", alert, clocks, now),
        )


class Troubles:
    """Why parts of the page are missing, each reason once."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def of(self, part: Awaitable[T]) -> T | None:
        """The part, None where it could not be had in time."""
        try:
            async with asyncio.timeout(PART_SECONDS):
                return await part
        except Unavailable as error:
            self._tell(str(error))
        except TimeoutError:
            self._tell(f"no answer within {PART_SECONDS:g} s")
        return None

    def _tell(self, reason: str) -> None:
        if reason not in self.told:
            self.told.append(reason)


@dataclass(frozen=True, slots=True)
class _Stored:
    marks: dict[int, Watermark] | None
    held: dict[int, Mark]


async def asked(ping: Callable[[], Awaitable[None]]) -> Dependency:
    """A dependency after one timed round trip."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PART_SECONDS):
            await ping()
    except Unavailable as error:
        return _dependency(str(error))
    except TimeoutError:
        return _dependency(f"no answer within {PART_SECONDS:g} s")
    return _dependency("ok", round(time.perf_counter() - began, 6))


def _dependency(state: str, seconds: float | None = None) -> Dependency:
    return Dependency(
        state=state, seconds=seconds, version=None, memory_bytes=None, memory_limit_bytes=None
    )


async def asked_redis(redis: Redis) -> Dependency:
    """Redis after one, and what it tells of itself; of a cluster only that it answers."""

    async def ping() -> None:
        with redis_errors("asking whether it is there"):
            await redis.ping()

    found = await asked(ping)
    if found.state != "ok" or isinstance(redis, RedisCluster):
        return found
    try:
        async with asyncio.timeout(PART_SECONDS):
            with redis_errors("asking for its version"):
                try:
                    told: dict[str, Any] = {
                        **await redis.info("server"),
                        **await redis.info("memory"),
                    }
                except (NoPermissionError, ResponseError):
                    return found  # managed services hide it
    except (StoreUnavailable, TimeoutError):
        return found
    name = "Valkey" if "valkey_version" in told else "Redis"
    version = told.get("valkey_version") or told.get("redis_version")
    return msgspec.structs.replace(
        found,
        version=None if version is None else f"{name} {version}",
        memory_bytes=told.get("used_memory"),
        memory_limit_bytes=told.get("maxmemory") or None,
    )


def is_live(heard: Heard) -> bool:
    """Whether the worker has told of itself as often as it should."""
    return heard.seconds_ago <= SILENT_SECONDS


def freshness(heard: Sequence[Heard]) -> tuple[datetime | None, datetime | None]:
    """Log time of the newest event folded, and when a score was last seen to go out."""
    events = [
        standing.log_time
        for each in heard
        for standing in each.beat.partitions
        if standing.topic == ACTIVITY and each.beat.service == "scorer"
        if standing.log_time is not None
    ]
    scores = [each.beat.grew_at["scores"] for each in heard if "scores" in each.beat.grew_at]
    newest_event = max(events, default=None)
    newest_score = max(scores, default=None)
    return (
        None if newest_event is None else from_ms(newest_event),
        None if newest_score is None else from_ms(newest_score),
    )


def timer_state(
    kind: Literal["silence", "alert"], timers: Timers, clocks: dict[int, int], now: int
) -> TimerState:
    """The timers against the clock of each partition, epoch ms."""
    overdue = {number: clocks.get(number, now) - due for number, due in timers.earliest.items()}
    worst = max(overdue, key=lambda number: overdue[number], default=None)
    earliest = min(timers.earliest.values(), default=None)
    return TimerState(
        kind=kind,
        waiting=timers.waiting,
        earliest=None if earliest is None else from_ms(earliest),
        overdue_seconds=0.0 if worst is None else max(overdue[worst], 0) / 1000,
        partition=worst if worst is not None and overdue[worst] > 0 else None,
    )


def _worker(heard: Heard) -> Worker:
    beat = heard.beat
    return Worker(
        id=beat.id,
        service=beat.service,
        host=beat.host,
        pid=beat.pid,
        version=beat.version,
        since=from_ms(beat.since),
        state="silent" if not is_live(heard) else "waiting" if beat.reasons else "ready",
        seconds_ago=round(heard.seconds_ago, 1),
        reasons=beat.reasons,
        partitions=len(beat.partitions),
        totals=beat.totals,
        rates=beat.rates,
    )


def _readers_of(heard: Sequence[Heard]) -> list[tuple[str, str, str]]:
    """Topic, ledger and service of whoever reads something under a name of its own."""
    return [
        (s.topic, s.ledger, each.beat.service)
        for each in heard
        for s in each.beat.partitions
        if s.ledger != s.topic
    ]


def _rates(heard: Sequence[Heard]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in heard:
        if is_live(each):
            for name, rate in each.beat.rates.items():
                found[name] = round(found.get(name, 0.0) + rate, 3)
    return found


def _records(topic: TopicEnds) -> int:
    return sum(ends.end - ends.begin for ends in topic.partitions.values())


def _topic_lag(
    reader: tuple[str, str, str],
    stored: _Stored,
    *,
    ends: dict[str, TopicEnds] | None,
    number: int | None,
    standings: Sequence[Standing],
    owners: dict[tuple[str, str, int], str],
) -> TopicLag:
    topic, ledger, service = reader
    found = None if ends is None else ends.get(topic)
    mine = {s.partition: s for s in standings if (s.topic, s.ledger) == (topic, ledger or topic)}
    marks = stored.marks
    numbers = sorted({*(found.partitions if found else ()), *(marks or ()), *mine})
    partitions = []
    for partition in numbers:
        mark = None if marks is None else marks.get(partition)
        end = None if found is None else found.partitions.get(partition)
        standing = mine.get(partition)
        lag = None
        if end is not None and marks is not None:
            # Effects of an older incarnation of the topic say nothing of this one.
            is_of_it = mark is not None and mark.log == number
            done = mark.offset if mark is not None and is_of_it else 0
            lag = max(end.end - max(done, end.begin), 0)
        held = stored.held.get(partition)
        log_time = None if standing is None else standing.log_time
        partitions.append(
            PartitionLag(
                partition=partition,
                watermark=None if mark is None else mark.offset,
                end=None if end is None else end.end,
                lag=lag,
                worker=owners.get((topic, ledger or topic, partition)),
                stage=None if standing is None else standing.stage,
                still_seconds=None if standing is None else standing.still_seconds,
                newest=None if log_time is None else from_ms(log_time),
                refusal=None if standing is None else standing.refusal,
                held=None if held is None else str(held),
            )
        )
    lags = [each.lag for each in partitions if each.lag is not None]
    return TopicLag(
        topic=topic,
        service=service,
        ledger=ledger or topic,
        lag=sum(lags) if lags and len(lags) == len(partitions) else None,
        exists=None if ends is None else found is not None,
        partitions=tuple(partitions),
    )


def router(*, look: Look) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["operation"])

    @routes.get(
        "/system",
        summary="Dependencies, workers, lag, timers",
        responses=openapi.responses(
            {200: openapi.of(SystemPage, "As far as it can be known now; never 503 for a part.")},
            503,
        ),
    )
    async def system() -> Response:
        return openapi.reply(await look.page())

    return routes
