"""The loop over one partition: open it at its watermarks, hand on its records, sweep its timers.

A partition is opened at its watermarks, never at a committed offset, and opened again whenever
what Redis holds or what Kafka serves is not what we believed. Commits feed the lag tools only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
)

from contracts.errors import LogMismatch, LogUnavailable, Refused, Unavailable
from contracts.times import NEVER
from runtime.clock import partition_clock, wall_ms
from runtime.handler import Handler, Opening, OpenPartition
from runtime.health import Health
from runtime.kafka import LogConsumer
from runtime.ledger import Ledger
from runtime.log_identity import REMEDY, Log, LogIdentity
from runtime.metrics import WorkerMetrics
from runtime.progress import Progress, Seen

logger = structlog.get_logger(__name__)

BATCH_RECORDS = 4_000
"""At most; what is there is taken at once, so batches are this large only behind. Larger ones cost
as much per record, keep Redis busy for longer, and let other partitions wait."""
POLL_MS = 100
CHECK_MS = 2_000
"""How often an idle partition looks whether Redis was rolled back or the topic recreated."""
COMMIT_MS = 1_000
PAST_END_MS = 10_000
"""A log may seem too short for a moment, while its leader changes; for longer it is."""
SILENT_MS = 30_000
"""Fetches are answered several times a second; after this without any, Kafka is as good as away."""
HELD_SECONDS = 0.5
COMMIT_SECONDS = 2.0
"""aiokafka retries a commit for ever; lag tools are not worth a stalled partition."""
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)


class _Reopen(Exception):
    """What we believed of the partition no longer holds."""


class _Unheard(LogUnavailable):
    """Fetches are not answered: our own conclusion, nobody told us."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all partition loops of a worker share."""

    source: LogConsumer
    identity: LogIdentity
    ledger: Ledger
    open_partition: OpenPartition
    clock: Literal["wall", "stream"]
    health: Health
    metrics: WorkerMetrics
    now: Callable[[], float]
    """Seconds, for the account of progress."""


class PartitionLoop:
    """Reads one partition for as long as it is ours."""

    def __init__(self, tp: TopicPartition, around: Surroundings) -> None:
        self._tp = tp
        self._around = around
        self._about = f"partition {tp.partition}"
        self._logger = logger.bind(partition=tp.partition)
        self._failures = 0
        self._past_end_since: int | None = None
        self._told_at = 0
        self._position = 0
        self._read_all = False
        self._log_time: int | None = None
        self._progress = Progress(tp.partition, around.now)

    def seen(self) -> Seen:
        """How the partition gets on."""
        return self._progress.seen()

    def known(self) -> dict[str, Any]:
        """What is known of the partition, for the log: offsets, and moments in epoch ms."""
        source, tp = self._around.source, self._tp
        seen, now = self._progress.seen(), self._around.now()
        known: dict[str, Any] = {
            "partition": seen.partition,
            "stage": seen.stage,
            "stage_seconds": round(now - seen.stage_since, 1),
            "still_seconds": round(now - seen.moved_at, 1),
            "moves": seen.moves,
            "refusal": seen.refusal,
            "log_time": self._log_time,
        }
        with suppress(IllegalStateError, AssertionError):
            highwater, stable = source.highwater(tp), source.last_stable_offset(tp)
            known |= {
                "position": self._position,
                "highwater": highwater,
                "last_stable_offset": stable,
                "lag": None if highwater is None else highwater - self._position,
                "fetch_answered_ms": source.last_poll_timestamp(tp),
            }
        return known

    async def run(self, leave: asyncio.Event) -> None:
        """Read until told to leave, opening the partition again after passing troubles."""
        health, progress = self._around.health, self._progress
        try:
            while not leave.is_set():
                try:
                    progress.enters("opening")
                    opening = await self._opening()
                    handler = await self._around.open_partition(opening)
                    await self._read(opening.log, handler, leave)
                except _Reopen as reason:
                    self._logger.warning("partition_reopened", reason=str(reason))
                except Refused as refusal:
                    self._around.metrics.refused.labels(self._tp.topic).inc()
                    self._logger.warning("write_refused", reason=str(refusal))
                except Unavailable as trouble:
                    if not isinstance(trouble, _Unheard):
                        progress.is_refused(str(trouble))
                    health.waits(self._about, str(trouble))
                    self._logger.warning("partition_waits", reason=str(trouble))
                delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
                self._failures += 1
                progress.enters("retrying")
                with suppress(TimeoutError):
                    await asyncio.wait_for(leave.wait(), delay)
        finally:
            health.goes_on(self._about)
            health.goes_on(f"dead letters of {self._about}")

    def _goes_well(self) -> None:
        self._failures = 0
        self._around.health.goes_on(self._about)

    async def _opening(self) -> Opening:
        tp, around = self._tp, self._around
        log = await around.identity.current()
        marks = await around.ledger.marks(tp.partition)
        if marks.generation != log.generation:
            raise Refused(f"generation {marks.generation} took over while the partition opened")
        if marks.newest_log() > log.number:
            raise LogUnavailable(f"Redis already knows a newer {tp.topic} than Kafka shows")
        with _kafka_errors("finding the beginning"):
            beginning = (await around.source.beginning_offsets([tp]))[tp]
            start = marks.start(log.number, beginning)
            if start < beginning:
                raise _outside(tp, start, f"the log now begins at {beginning}")
            around.source.seek(tp, start)
        self._position = start
        self._logger.info("partition_opened", log=log.number, offset=start)
        return Opening(log, marks, beginning)

    async def _read(self, log: Log, handler: Handler, leave: asyncio.Event) -> None:
        next_check = next_commit = 0.0
        more_due = False
        opened_at = wall_ms()
        begun = False
        self._past_end_since = None
        progress = self._progress
        while not leave.is_set():
            if handler.suspicious and await handler.held():
                progress.enters("held")
                self._goes_well()  # but for what the handler has said of its own
                with suppress(TimeoutError):
                    await asyncio.wait_for(leave.wait(), HELD_SECONDS)
                continue
            progress.enters("fetching")
            records = await self._fetch(log, leave, 0 if more_due else POLL_MS)
            now = time.monotonic() * 1000
            if records:
                progress.enters("handling")
                await self._hand_on(records, handler, log)
                progress.moves()
            elif now >= next_check:
                progress.enters("checking")
                await self._confirm(log)
                stored = await self._around.ledger.marks(self._tp.partition)
                if not stored.like(handler.marks):
                    raise Refused("the store holds other watermarks than we left there")
                next_check = now + CHECK_MS
            progress.enters("sweeping")
            clock_ms = await self._partition_clock(log, handler)
            begun = begun or bool(records) or self._read_all
            if begun:
                # Not sooner: as far as time had come when the marks were saved, timers may be due,
                # and what their users have done since is about to be read.
                more_due = await handler.sweep(clock_ms)
            if records or self._heard(opened_at):
                # Not sooner: what fails with the same batch each time has not recovered.
                self._goes_well()
            if now >= next_commit:
                await self._commit()
                next_commit = now + COMMIT_MS
        await self._commit()

    def _heard(self, opened_at: int) -> bool:
        """Whether Kafka has told since the opening that nothing is unread.

        Raises LogUnavailable when it has told nothing for long: aiokafka keeps some of the errors
        it meets to itself.
        """
        with _kafka_errors("reading the position"):
            told_at = self._around.source.last_poll_timestamp(self._tp) or 0
        if wall_ms() - max(told_at, opened_at) > SILENT_MS:
            raise _Unheard(f"Kafka has answered no fetch for {SILENT_MS / 1000:.0f} seconds")
        return told_at > opened_at

    async def _fetch(self, log: Log, leave: asyncio.Event, wait_ms: int) -> list[Any]:
        """The next records, empty when there are none or when told to leave meanwhile."""
        source, tp = self._around.source, self._tp
        fetch = asyncio.ensure_future(
            source.getmany(tp, timeout_ms=wait_ms, max_records=BATCH_RECORDS)
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
                    await self._confirm(log)
                    position = await source.position(tp)
                    raise _outside(tp, position, repr(error)) from error
        finally:
            leaving.cancel()
            fetch.cancel()

    async def _hand_on(self, records: list[Any], handler: Handler, log: Log) -> None:
        # The fetch came first, so a recreated topic shows before its records count.
        confirmed = asyncio.ensure_future(self._confirm(log))
        try:
            await handler.handle(records, confirmed)
        finally:
            if not confirmed.done():
                confirmed.cancel()
            await asyncio.gather(confirmed, return_exceptions=True)

    async def _confirm(self, log: Log) -> None:
        if not await self._around.identity.still(log, self._tp.partition):
            raise _Reopen(f"{self._tp.topic} is another topic now, or has other partitions")

    async def _partition_clock(self, log: Log, handler: Handler) -> int:
        source, tp = self._around.source, self._tp
        with _kafka_errors("reading the position"):
            highwater = source.highwater(tp)
            position = await source.position(tp)
            self._note_progress(position, highwater)
        unread = 0 if highwater is None else highwater - position
        self._log_time = None if handler.log_time == NEVER else handler.log_time
        self._report_lag(unread, handler.log_time)
        if unread < 0:
            await self._confirm(log)
            self._check_end(position, f"the log now ends at {highwater}")
        else:
            self._past_end_since = None
        if self._around.clock == "stream":
            return partition_clock(log_time=handler.log_time, caught_up_at=None)
        caught_up = highwater is not None and unread == 0
        return partition_clock(
            # A producer whose clock is ahead cannot make our users silent.
            log_time=min(handler.log_time, wall_ms()),
            caught_up_at=source.last_poll_timestamp(tp) if caught_up else None,
        )

    def _note_progress(self, position: int, highwater: int | None) -> None:
        """Another fetch was answered and left nothing to read: that is progress, too."""
        told_at = self._around.source.last_poll_timestamp(self._tp) or 0
        stable = self._around.source.last_stable_offset(self._tp)
        # What a transaction under way holds back is unread, but not for us to read.
        end = highwater if stable is None or stable < 0 else stable
        self._read_all = end is not None and position >= end
        if told_at > self._told_at and self._read_all:
            self._progress.moves()
        self._told_at, self._position = told_at, position

    def _check_end(self, position: int, why: str) -> None:
        told_at = self._around.source.last_poll_timestamp(self._tp) or 0
        if self._past_end_since is None:
            self._past_end_since = told_at
        if told_at - self._past_end_since > PAST_END_MS:
            raise _outside(self._tp, position, why)

    def _report_lag(self, unread: int, log_time: int) -> None:
        metrics, labels = self._around.metrics, (self._tp.topic, str(self._tp.partition))
        behind = (wall_ms() - log_time) / 1000 if unread > 0 and log_time != NEVER else 0.0
        metrics.lag_records.labels(*labels).set(max(unread, 0))
        metrics.lag_seconds.labels(*labels).set(max(behind, 0.0))

    async def _commit(self) -> None:
        source, tp = self._around.source, self._tp
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await source.commit({tp: await source.position(tp)})
        except (CommitFailedError, IllegalStateError):
            # A rebalance gave the partition away. Its new owner starts at the watermarks.
            self._logger.info("commit_skipped")
        except (KafkaError, TimeoutError) as error:
            self._logger.info("commit_failed", reason=repr(error))


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
