"""Scores in, trails and counts out, for one partition of `churn-score`."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import structlog
from redis.asyncio import Redis

from contracts import history
from contracts.history import Trail
from contracts.partition import SHARDS
from contracts.partition import shard as shard_of
from contracts.times import HOUR_MS, NEVER
from contracts.topics import SCORES
from history import fold
from history.course import Course
from history.tally import Tally
from history.told import Told, decode_told
from runtime import keys
from runtime.handler import CONFIRMED, Opening, Record, is_tick
from runtime.ledger import Effects, Ledger, Mark, check_unmoved
from runtime.metrics import WorkerMetrics
from runtime.redis_errors import redis_errors
from runtime.store import mget

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Archive:
    """What the handlers of all partitions share."""

    redis: Redis
    ledger: Ledger
    metrics: WorkerMetrics
    points: int
    """Kept of each user."""
    retention_days: int
    trail_ttl_ms: int


@dataclass(frozen=True, slots=True)
class Item:
    """A record that could be read: a user's score, or None for their erasure."""

    user_id: str
    told: Told | None
    offset: int
    clock: int
    """The latest time of the partition's records up to it."""


class HistoryHandler:
    """The `runtime.handler.Handler` of the history worker, the only writer of what it keeps."""

    def __init__(self, opening: Opening, archive: Archive) -> None:
        self._log = opening.log.number
        self._beginning = opening.beginning
        self._archive = archive
        self._next_offset = opening.marks.start(opening.log.number, opening.beginning)
        self._tallies: list[Tally] = []
        self._course: Course | None = None
        self.marks = opening.marks
        known = opening.marks.newest_log() == opening.log.number and opening.marks.clock_ms
        self.log_time = opening.marks.clock_ms if known else NEVER
        self.suspicious = False

    async def handle(
        self, records: Sequence[Record], confirmed: Awaitable[None] = CONFIRMED
    ) -> None:
        """Fold the scores in log order; save trails, counts and watermark together."""
        await confirmed
        archive = self._archive
        items, log_time = self._read(records)
        with archive.metrics.stage_seconds.labels("load").time():
            course = await self._loaded()
            trails = await self._trails({item.user_id for item in items})
            await check_unmoved(archive.ledger, self.marks)
        changed: dict[str, Trail | None] = {}
        for item in items:
            course.advance(item.clock)
            trail = trails[item.user_id]
            tally = self._tallies[shard_of(item.user_id)]
            if item.told is None:
                if trail is not None:
                    fold.erased(trail, tally, course.now.clock)
                    trails[item.user_id] = changed[item.user_id] = None
                continue
            after = fold.scored(trail, item.told, tally, archive.points, item.clock)
            if after is not None:
                trails[item.user_id] = changed[item.user_id] = after
                course.count(item.told, after.order.scored_at, self._log, item.offset)
        course.advance(log_time)
        effects = Effects()
        self._remember(changed, effects)
        with archive.metrics.stage_seconds.labels("save").time():
            await self._save(records[-1].offset + 1, log_time, effects)
        self.log_time = log_time
        archive.metrics.records.labels(SCORES).inc(len(records))
        archive.metrics.batch_records.labels(SCORES).observe(len(records))

    async def sweep(self, clock_ms: int) -> bool:
        """End the hours that are over although nobody was scored."""
        if clock_ms == NEVER:
            return False
        course = await self._loaded()
        if course.now.clock == NEVER or clock_ms // HOUR_MS <= course.now.clock // HOUR_MS:
            return False
        await check_unmoved(self._archive.ledger, self.marks)
        course.advance(clock_ms)
        await self._save(self._next_offset, 0, Effects())
        return False

    async def held(self) -> bool:
        """What cannot be read is passed over; the alerts worker parks it."""
        return False

    def _read(self, records: Sequence[Record]) -> tuple[list[Item], int]:
        """What is new among the records, and the latest of all times so far."""
        items: list[Item] = []
        clock = self.log_time
        for record in records:
            clock = max(clock, record.timestamp)
            if is_tick(record):
                continue
            try:
                user_id, told = _item(record)
            except (ValueError, msgspec.MsgspecError) as error:
                self._archive.metrics.skipped.labels(SCORES).inc()
                logger.warning("score_unreadable", offset=record.offset, reason=str(error))
                continue
            mark = self.marks.next_offset(shard_of(user_id), self._log, self._beginning)
            if record.offset >= mark:
                items.append(Item(user_id, told, record.offset, clock))
        return items, clock

    async def _loaded(self) -> Course:
        """The counts as stored, read once: from then on nobody else writes them."""
        if self._course is None:
            archive, partition = self._archive, self.marks.partition
            with redis_errors("loading counts"):
                async with archive.redis.pipeline(transaction=False) as pipe:
                    for shard in range(SHARDS):
                        pipe.hgetall(keys.tally(shard, partition))
                    pipe.hgetall(keys.population(partition))
                    answers = await pipe.execute()
            self._tallies = [Tally.of(fields) for fields in answers[:SHARDS]]
            self._course = Course(self._tallies, archive.retention_days)
            self._course.restore(answers[SHARDS])
        return self._course

    async def _trails(self, user_ids: Iterable[str]) -> dict[str, Trail | None]:
        users = sorted(user_ids)
        with redis_errors("loading histories"):
            values = await mget(self._archive.redis, [keys.trail(user_id) for user_id in users])
        return {
            user_id: None if value is None else history.decode(value)
            for user_id, value in zip(users, values, strict=True)
        }

    def _remember(self, changed: dict[str, Trail | None], effects: Effects) -> None:
        names: list[list[str]] = [[] for _ in range(SHARDS)]
        values: list[list[bytes]] = [[] for _ in range(SHARDS)]
        for user_id, trail in changed.items():
            shard = shard_of(user_id)
            if trail is None:
                effects.delete(keys.trail(user_id))
            else:
                names[shard].append(keys.trail(user_id))
                values[shard].append(history.encode(trail))
        for of_shard, stored in zip(names, values, strict=True):
            effects.put_all(of_shard, stored, self._archive.trail_ttl_ms)

    async def _save(self, offset: int, clock_ms: int, effects: Effects) -> None:
        course = cast("Course", self._course)
        partition = self.marks.partition
        effects.fields(keys.population(partition), course.changes())
        for shard, tally in enumerate(self._tallies):
            effects.fields(keys.tally(shard, partition), tally.changes())
        mark = Mark(self._log, offset)
        self.marks = await self._archive.ledger.save(self.marks, mark, clock_ms, effects)
        self._next_offset = offset


def _item(record: Record) -> tuple[str, Told | None]:
    """The user, and their score or None; raises ValueError or MsgspecError for neither."""
    if record.key is None:
        raise ValueError("no key")
    user_id = record.key.decode()
    if record.value is None:
        return user_id, None
    told = decode_told(record.value)
    if told.user_id != user_id:
        raise ValueError(f"the score is of {told.user_id!r}, not of the record's key")
    fits = 0 <= told.position.log < 2**32 and 0 <= told.position.offset < 2**63
    if not (fits and 0 <= told.churn_probability <= 1 and 0 < told.horizon_days < 2**16):
        raise ValueError("a position, probability or horizon that no score has")
    if not 0 <= told.evidence.active_days < 2**32:
        raise ValueError("evidence that no user has")
    return user_id, told
