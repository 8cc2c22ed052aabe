"""The consumer loop: own partitions, hand their records to a handler, sweep its timers.

A partition is opened at its watermarks, never at a committed offset, and opened again whenever
what Redis holds or what Kafka serves is not what we believed. Commits feed the lag tools only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
)

from contracts.errors import LogMismatch, LogUnavailable, Refused, Unavailable
from contracts.times import NEVER
from runtime.clock import partition_clock, wall_ms
from runtime.health import Health
from runtime.ledger import Ledger, Marks
from runtime.log_identity import REMEDY, Log, LogIdentity
from runtime.metrics import WorkerMetrics

logger = structlog.get_logger(__name__)

BATCH_RECORDS = 2_000
POLL_MS = 100
CHECK_MS = 2_000
"""How often an idle partition looks whether Redis was rolled back or the topic recreated."""
COMMIT_MS = 1_000
PAST_END_MS = 10_000
HELD_SECONDS = 0.5
COMMIT_SECONDS = 2.0
"""aiokafka retries a commit for ever; lag tools are not worth a stalled partition."""
LEAVE_SECONDS = 5.0
"""What a batch in hand may take when its partition goes, well inside the rebalance timeout.

Longer means that Kafka or Redis is away. Giving the batch up is then as good as finishing it: the
next owner starts at the watermarks.
"""
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


class Record(Protocol):
    """What a handler reads of a Kafka record."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Handler(Protocol):
    """What a service does with one partition while it owns it."""

    marks: Marks
    """The marks as of the last save."""
    log_time: int
    """Running maximum of the record timestamps handled, NEVER before the first."""
    suspicious: bool
    """Whether `held` has to be asked."""

    async def handle(self, records: Sequence[Record]) -> None:
        """Bring the records' effects and the new watermark into the store, or raise."""
        ...

    async def sweep(self, clock_ms: int) -> bool:
        """Fire timers due by `clock_ms`; whether more may be due at once."""
        ...

    async def held(self) -> bool:
        """Whether a person has to look before the partition may go on."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a handler starts: the log, the partition's marks, the log's first offset."""

    log: Log
    marks: Marks
    beginning: int


OpenPartition = Callable[[Opening], Awaitable[Handler]]


class _Reopen(Exception):
    """What we believed of the partition no longer holds."""


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs one handler per assigned partition, each in a loop of its own."""

    def __init__(
        self,
        source: AIOKafkaConsumer,
        topic: str,
        *,
        identity: LogIdentity,
        ledger: Ledger,
        open_partition: OpenPartition,
        clock: Literal["wall", "stream"],
        health: Health,
        metrics: WorkerMetrics,
    ) -> None:
        self._source = source
        self._topic = topic
        self._identity = identity
        self._ledger = ledger
        self._open_partition = open_partition
        self._clock = clock
        self._health = health
        self._metrics = metrics
        self._loops: dict[TopicPartition, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._past_end_since: dict[TopicPartition, int] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, then finish what is in hand.

        Raises what a person has to look at (Misconfigured) and any bug; troubles that pass are
        waited for, with the reason in the health.
        """
        self._source.subscribe([self._topic], listener=self)
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((stopped, self._failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True  # a rebalance under way must not start loops again
            stopped.cancel()
            await self._leave(list(self._loops))
        if self._failed.done():  # also by what failed while leaving
            self._failed.result()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._health.waits("start", "joining the consumer group")
        await self._leave(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        if self._stopping:
            return
        self._health.goes_on("start")
        for tp in assigned:
            if tp not in self._loops:
                leave = asyncio.Event()
                task = asyncio.create_task(self._own(tp, leave), name=str(tp))
                task.add_done_callback(self._notice_failure)
                self._loops[tp] = (task, leave)
        logger.info("partitions_assigned", partitions=sorted(tp.partition for tp in assigned))

    async def _leave(self, partitions: Collection[TopicPartition]) -> None:
        """Let the loops finish the batch in hand; what they fetched beyond it is dropped."""
        loops = [self._loops.pop(tp) for tp in partitions if tp in self._loops]
        if not loops:
            return
        for _, leave in loops:
            leave.set()
        _, late = await asyncio.wait([task for task, _ in loops], timeout=LEAVE_SECONDS)
        for task in late:
            logger.warning("batch_given_up", partition=task.get_name())
            task.cancel()
        if late:
            await asyncio.wait(late)
        for tp in partitions:
            self._metrics.forget(tp.partition)

    def _notice_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() and not self._failed.done():
            self._failed.set_exception(task.exception())  # type: ignore[arg-type]

    async def _own(self, tp: TopicPartition, leave: asyncio.Event) -> None:
        """Read one partition until told to leave, opening it again after passing troubles."""
        about = f"partition {tp.partition}"
        failures = 0
        while not leave.is_set():
            try:
                opening = await self._opening(tp)
                handler = await self._open_partition(opening)
                self._health.goes_on(about)
                failures = 0
                await self._read(tp, opening.log, handler, leave)
            except _Reopen as reason:
                logger.warning("partition_reopened", partition=tp.partition, reason=str(reason))
            except Refused as refusal:
                self._metrics.refused.labels(self._topic).inc()
                logger.warning("write_refused", partition=tp.partition, reason=str(refusal))
            except Unavailable as trouble:
                self._health.waits(about, str(trouble))
                logger.warning("partition_waits", partition=tp.partition, reason=str(trouble))
                delay = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                failures += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(leave.wait(), delay)
        self._health.goes_on(about)
        self._health.goes_on(f"dead letters of {about}")

    async def _opening(self, tp: TopicPartition) -> Opening:
        log = await self._identity.current()
        marks = await self._ledger.marks(tp.partition)
        if marks.newest_log() > log.number:
            raise LogUnavailable(f"Redis already knows a newer {self._topic} than Kafka shows")
        with _kafka_errors("finding the beginning"):
            beginning = (await self._source.beginning_offsets([tp]))[tp]
            start = marks.start(log.number, beginning)
            if start < beginning:
                raise _outside(tp, start, f"the log now begins at {beginning}")
            self._source.seek(tp, start)
        logger.info("partition_opened", partition=tp.partition, log=log.number, offset=start)
        return Opening(log, marks, beginning)

    async def _read(
        self, tp: TopicPartition, log: Log, handler: Handler, leave: asyncio.Event
    ) -> None:
        next_check = next_commit = 0
        more_due = False
        self._past_end_since.pop(tp, None)
        while not leave.is_set():
            if handler.suspicious and await handler.held():
                with suppress(TimeoutError):
                    await asyncio.wait_for(leave.wait(), HELD_SECONDS)
                continue
            records = await self._fetch(tp, log, leave, 0 if more_due else POLL_MS)
            now = wall_ms()
            if records:
                # The fetch came first, so a recreated topic shows before its records count.
                await self._confirm(log, tp)
                await handler.handle(records)
            elif now >= next_check:
                await self._confirm(log, tp)
                if (await self._ledger.marks(tp.partition)).stored != handler.marks.stored:
                    raise Refused("the store holds other watermarks than we left there")
                next_check = now + CHECK_MS
            more_due = await handler.sweep(await self._partition_clock(tp, log, handler))
            if now >= next_commit:
                await self._commit(tp)
                next_commit = now + COMMIT_MS
        await self._commit(tp)

    async def _fetch(
        self, tp: TopicPartition, log: Log, leave: asyncio.Event, wait_ms: int
    ) -> list[Any]:
        """The next records, empty when there are none or when told to leave meanwhile."""
        fetch = asyncio.ensure_future(
            self._source.getmany(tp, timeout_ms=wait_ms, max_records=BATCH_RECORDS)
        )
        leaving = asyncio.ensure_future(leave.wait())
        try:
            await asyncio.wait({fetch, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not fetch.done():
                return []
            with _kafka_errors("fetching"):
                try:
                    return list(fetch.result().get(tp, ()))
                except OffsetOutOfRangeError as error:
                    await self._confirm(log, tp)
                    position = await self._source.position(tp)
                    raise _outside(tp, position, repr(error)) from error
        finally:
            leaving.cancel()
            fetch.cancel()

    async def _confirm(self, log: Log, tp: TopicPartition) -> None:
        if not await self._identity.still(log, tp.partition):
            raise _Reopen(f"{self._topic} was recreated")

    async def _partition_clock(self, tp: TopicPartition, log: Log, handler: Handler) -> int:
        with _kafka_errors("reading the position"):
            highwater = self._source.highwater(tp)
            position = await self._source.position(tp)
        unread = 0 if highwater is None else highwater - position
        self._report_lag(tp, unread, handler.log_time)
        if unread < 0:
            await self._confirm(log, tp)
            logger.warning("watermark_past_end", partition=tp.partition, position=position,
                           highwater=highwater)  # fmt: skip
        caught_up = highwater is not None and unread == 0 and self._clock == "wall"
        return partition_clock(
            log_time=handler.log_time,
            caught_up_at=self._source.last_poll_timestamp(tp) if caught_up else None,
        )

    def _report_lag(self, tp: TopicPartition, unread: int, log_time: int) -> None:
        labels = (self._topic, str(tp.partition))
        behind = (wall_ms() - log_time) / 1000 if unread > 0 and log_time != NEVER else 0.0
        self._metrics.lag_records.labels(*labels).set(max(unread, 0))
        self._metrics.lag_seconds.labels(*labels).set(max(behind, 0.0))

    async def _commit(self, tp: TopicPartition) -> None:
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._source.commit({tp: await self._source.position(tp)})
        except (CommitFailedError, IllegalStateError):
            # A rebalance gave the partition away. Its new owner starts at the watermarks.
            logger.info("commit_skipped", partition=tp.partition)
        except (KafkaError, TimeoutError) as error:
            logger.info("commit_failed", partition=tp.partition, reason=repr(error))


def _outside(tp: TopicPartition, offset: int, why: str) -> LogMismatch:
    return LogMismatch(
        f"{tp.topic} partition {tp.partition}: the watermark {offset} lies outside the log "
        f"({why}), so events between are lost: {REMEDY}"
    )


class _kafka_errors:  # noqa: N801 - reads as the context manager it is
    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # aiokafka says "not assigned" with either, depending on the method.
        if isinstance(error, IllegalStateError | AssertionError):
            raise _Reopen("the partition is no longer assigned") from error
        if isinstance(error, KafkaError | OSError | TimeoutError):
            raise LogUnavailable(f"Kafka, {self._doing}: {error!r}") from error
