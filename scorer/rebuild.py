"""Every record anew, from the log, into the next generation beside the one that serves.

The remedy when fold rules, partition count or record layout change, or when records are doubted.
Scorers run on meanwhile. What they have not folded is left to them: the new generation ends at
their watermarks, under a hold of a fraction of a second, and they go on from there. Nothing is
published; what was told of each user is carried over.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from contracts.activity import FoldRules
from contracts.errors import LogUnavailable, Misconfigured, Refused
from contracts.partition import SHARDS, home
from contracts.record import ERASED
from contracts.topics import ACTIVITY, SCORES
from model.fold import fold
from runtime import keys, switching
from runtime.generations import each_serving
from runtime.handler import Record
from runtime.ledger import Effects, Mark, Marks, RedisLedger
from runtime.records import unpack
from runtime.redis_errors import redis_errors
from runtime.settings import ServiceSettings
from runtime.store import mget, text
from runtime.timers import TimerIndex
from runtime.topic_id import TopicIds
from scorer.carrying import carried
from scorer.keeping import keep
from scorer.reading import Here, read
from scorer.stretches import Pins, Stretch, reaches_back

BATCH_RECORDS = 20_000
FETCH_MS = 500
TAIL_RECORDS = 2_000
"""With no more than this to catch up on, the hold is short enough to be taken."""
ROUNDS = 20
HOLDS = 10
PAGE = 2_000


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild came to."""

    generation: int
    events: int
    """Records of the log that were read."""
    seconds: float
    held_seconds: float
    """How long the scorers could not save."""
    forgotten: int
    """Records of the generation that served before."""


class Rebuild:
    """One rebuild; `run` does it all. Not for use twice."""

    def __init__(
        self,
        settings: ServiceSettings,
        redis: Redis,
        source: AIOKafkaConsumer,
        topic_ids: TopicIds,
        *,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._rules = settings.fold_rules
        self._redis = redis
        self._source = source
        self._topic_ids = topic_ids
        self._say = say
        self._ledger = RedisLedger(redis, ACTIVITY, serving=keys.newest)
        self._marks: dict[int, Marks] = {}
        self._events = 0
        self._serving = self._generation = self._partitions = 0
        self._topic_id = UUID(int=0)
        self._changed_rules: FoldRules | None = None

    async def run(self, *, accept_truncated: bool = False) -> Rebuilt:
        """Make the next generation and let it serve.

        Raises Misconfigured when the log no longer holds what is in the records, unless told to
        accept it; Refused when another rebuild was started; LogUnavailable, StoreUnavailable.
        Until it ends the serving generation is untouched, and it may be run again.
        """
        began = time.monotonic()
        # Different ones only where a rebuild was killed within its switch: the older is whole.
        self._serving = min(await each_serving(self._redis, ACTIVITY))
        incarnation = await self._topic_ids.incarnation(ACTIVITY)
        if incarnation is None:
            raise Misconfigured(f"Kafka has no topic {ACTIVITY}: there is nothing to fold anew")
        self._partitions, self._topic_id = incarnation.partitions, incarnation.topic_id
        pins = await self._pins()
        stretches = pins.stretches(incarnation.topic_id)
        if pins.fields["rules"] != self._rules.digest:
            self._changed_rules = self._rules
        if not accept_truncated:
            await self._check_reach(whole=pins.is_whole(incarnation.topic_id))
        self._generation = await switching.claim(self._redis, ACTIVITY)
        for left_over in await switching.unfinished(
            self._redis, ACTIVITY, self._serving, self._generation
        ):
            await switching.forget(self._redis, ACTIVITY, left_over)
        self._say(f"generation {self._generation}, beside {self._serving}, which serves on")

        models = await self._active_models()
        for stretch in stretches:
            await self._fold_up_to(stretch, await self._ends(stretch))
        last = stretches[-1] if stretches else None
        if last is not None:
            await self._catch_up(last)
        held_seconds = await self._take_over(pins, last, models)
        seconds = time.monotonic() - began
        self._say(f"generation {self._generation} serves; deleting generation {self._serving}")
        forgotten = await switching.forget(self._redis, ACTIVITY, self._serving)
        return Rebuilt(self._generation, self._events, seconds, held_seconds, forgotten)

    async def _pins(self) -> Pins:
        with redis_errors("reading the log's identity"):
            fields = await self._redis.hgetall(keys.log(ACTIVITY, self._serving))
        if not fields:
            raise Misconfigured("no scorer has ever run on this Redis: there is nothing to rebuild")
        return Pins({text(name): text(value) for name, value in fields.items()})

    async def _active_models(self) -> dict[str, str]:
        """What `scorer.activation` keeps beside the marks."""
        with redis_errors("reading the active models"):
            fields = await self._redis.hgetall(keys.marks(0, ACTIVITY, self._serving))
        named = {text(name): text(value) for name, value in fields.items()}
        return {name: value for name, value in named.items() if name.startswith("model:")}

    # How far back the log reaches.

    async def _check_reach(self, *, whole: bool) -> None:
        """Raise Misconfigured where the log begins after somebody's first event."""
        tps = _tps(self._partitions)
        with _kafka_errors("finding the beginning"):
            beginnings = await self._source.beginning_offsets(tps)
        cut = [tp for tp in tps if beginnings[tp] > 0 or not whole]
        if not cut:
            return
        firsts = {tp.partition: await self._first_time(tp, beginnings[tp]) for tp in cut}
        lost, example = 0, ""
        async for user_ids, records in self._served_users():
            homes = records["outlook"]["home"]
            for partition, first in firsts.items():
                here = np.flatnonzero(homes == partition)
                gone = here[~reaches_back(records["facts"][here], first)]
                if len(gone):
                    lost, example = lost + len(gone), user_ids[int(gone[0])]
        if lost:
            raise Misconfigured(
                f"the log of {ACTIVITY} no longer reaches back to the first events of {lost:,} "
                f"users ({example!r}, for one), and what was cut or deleted would be lost; "
                "--accept-truncated does it nevertheless"
            )

    async def _first_time(self, tp: TopicPartition, beginning: int) -> int | None:
        """Time of the first record of a partition, None when it has none."""
        with _kafka_errors("reading the first record"):
            self._source.assign([tp])
            self._source.seek(tp, beginning)
            while True:
                batches = await self._source.getmany(tp, timeout_ms=FETCH_MS, max_records=1)
                for records in batches.values():
                    return int(records[0].timestamp)
                if await self._read_all(tp):
                    return None

    async def _served_users(self) -> AsyncIterator[tuple[list[str], np.ndarray]]:
        """Pages of users of the serving generation, with their (n,) RECORD."""
        page: list[str] = []
        pattern = keys.any_record(self._serving)
        with redis_errors("walking the records"):
            async for key in self._redis.scan_iter(match=pattern, count=PAGE):
                page.append(keys.user_of(key))
                if len(page) >= PAGE:
                    yield page, await self._records(page, self._serving)
                    page = []
        if page:
            yield page, await self._records(page, self._serving)

    # Folding.

    async def _catch_up(self, last: Stretch) -> None:
        """Follow the scorers until little is left to fold."""
        for _ in range(ROUNDS):
            read_before = self._events
            await self._fold_up_to(last, await self._ends(last))
            await self._renew_due(last)
            if self._events - read_before <= TAIL_RECORDS:
                return

    async def _ends(self, stretch: Stretch) -> dict[int, int]:
        """Offset per partition up to which the stretch is to be folded."""
        partitions = range(stretch.partitions)
        if stretch.ends is not None:
            return {partition: stretch.ends[partition] for partition in partitions}
        served = [await self._ledger.marks_of(p, self._serving) for p in partitions]
        return {
            marks.partition: marks.start(stretch.number, stretch.start(marks.partition))
            for marks in served
        }

    async def _fold_up_to(self, stretch: Stretch, ends: Mapping[int, int]) -> None:
        """Read every partition of a stretch from where we are to its end, or the log's."""
        with _kafka_errors("finding the beginning"):
            tps = _tps(stretch.partitions)
            beginnings = await self._source.beginning_offsets(tps)
        unread: dict[TopicPartition, int] = {}
        for tp, end in zip(tps, (ends[tp.partition] for tp in tps), strict=True):
            nowhere = Marks(tp.partition, (None,) * SHARDS, 0, self._generation)
            marks = self._marks.setdefault(tp.partition, nowhere)
            start = max(marks.start(stretch.number, stretch.start(tp.partition)), beginnings[tp])
            if start < end:
                unread[tp] = start
        with _kafka_errors("reading the log"):
            self._source.assign(list(unread))
            for tp, start in unread.items():
                self._source.seek(tp, start)
            while unread:
                batches = await self._source.getmany(
                    *unread, timeout_ms=FETCH_MS, max_records=BATCH_RECORDS
                )
                for tp, records in batches.items():
                    wanted = [record for record in records if record.offset < ends[tp.partition]]
                    await self._fold(stretch, tp.partition, wanted)
                for tp in list(unread):
                    position = await self._source.position(tp)
                    if position >= ends[tp.partition] or await self._read_all(tp):
                        end = min(position, ends[tp.partition])
                        await self._save(tp.partition, Mark(stretch.number, end), Effects())
                        del unread[tp]

    async def _fold(self, stretch: Stretch, partition: int, records: Sequence[Record]) -> None:
        if not records:
            return
        here = Here(
            stretch.number,
            partition,
            stretch.partitions,
            stretch.start(partition),
            self._topic_id,
        )
        reading = read(records, here, self._marks[partition], self._rules)
        effects = Effects(arrived=reading.arrived)
        if reading.rows:
            rows, user = reading.events()
            before = await self._records(reading.user_ids, self._generation)
            facts = fold(before["facts"], rows, user, self._rules)
            await self._keep(effects, reading.user_ids, facts)
        await self._save(partition, Mark(stretch.number, records[-1].offset + 1), effects)
        self._events += len(records)

    async def _keep(self, effects: Effects, user_ids: Sequence[str], facts: np.ndarray) -> None:
        """Users with what the serving generation knows to carry over."""
        homes = [home(user_id, self._partitions) for user_id in user_ids]
        serving = await self._records(user_ids, self._serving)
        records = carried(facts, serving, np.array(homes), self._changed_rules)
        keep(
            effects,
            user_ids,
            records,
            generation=self._generation,
            homes=homes,
            gone=(facts["flags"] & ERASED) != 0,
            ttl_ms=self._settings.record_ttl_ms,
        )

    async def _renew_due(self, last: Stretch) -> None:
        """Carry over again whose timer has fired since: their silence has been scored."""
        for partition in range(last.partitions):
            served = await self._ledger.marks_of(partition, self._serving)
            timers = TimerIndex(self._redis, partition, self._generation)
            due = [user_id for user_id, _ in await timers.due(served.clock_ms, 1_000_000)]
            for at in range(0, len(due), PAGE):
                page = due[at : at + PAGE]
                effects = Effects()
                facts = (await self._records(page, self._generation))["facts"]
                await self._keep(effects, page, facts)
                stood = self._marks[partition].start(last.number, last.start(partition))
                await self._save(partition, Mark(last.number, stood), effects)

    # The switch.

    async def _take_over(
        self, pins: Pins, last: Stretch | None, models: Mapping[str, str]
    ) -> float:
        """Bring the last saves over while nobody saves, and switch; seconds nobody could save."""
        for _ in range(HOLDS):
            began = time.monotonic()
            await switching.hold(self._redis, ACTIVITY, self._generation)
            try:
                ends: dict[int, int] = {}
                if last is not None:
                    ends = await self._ends(last)
                    await self._fold_up_to(last, ends)
                    await self._renew_due(last)
                await self._pin(pins, last, models)
                if await switching.is_held(self._redis, ACTIVITY, self._generation):
                    await switching.switch(self._redis, ACTIVITY, self._generation)
                    return time.monotonic() - began
            except BaseException:
                await switching.let_go(self._redis, ACTIVITY)
                raise
            self._say("the scorers went on before the rest was folded; once more")
        raise Refused("the scorers stay ahead: run it again when there is less to do")

    async def _pin(self, pins: Pins, last: Stretch | None, models: Mapping[str, str]) -> None:
        """Marks, clocks and pins of the new generation as the workers will find them."""
        incarnation = await self._topic_ids.incarnation(ACTIVITY)
        if incarnation is None or incarnation.partitions != self._partitions:
            raise Misconfigured(f"{ACTIVITY} was changed during the rebuild: run it again")
        if await self._pins() != pins:
            raise Misconfigured(f"{ACTIVITY} was recreated during the rebuild: run it again")
        stood = {
            partition: marks.start(last.number, last.start(partition))
            for partition, marks in self._marks.items()
            if last is not None
        }
        after = pins.following(incarnation.topic_id, self._partitions, self._rules.digest, stood)
        number = after.number_of(incarnation.topic_id)
        fields: dict[str, str] = {}
        for partition, marks in self._marks.items():
            if marks.newest_log():
                served = await self._ledger.marks_of(partition, self._serving)
                fields[str(partition)] = str(Mark(number or 0, stood[partition]))
                fields[f"clock:{partition}"] = str(served.clock_ms)
        still_active = await self._active_models()
        model_fields = {
            name: value for name, value in models.items() if still_active.get(name) == value
        }
        await self._set(keys.log(ACTIVITY, self._generation), after.fields)
        for shard in range(SHARDS):
            more = model_fields if shard == 0 else {}
            await self._set(keys.marks(shard, ACTIVITY, self._generation), fields | more)
        scores = await self._topic_ids.incarnation(SCORES)
        if scores is not None:
            # Alerts hang on users and their scores, not on partitions or rules: theirs stay.
            pinned = {"rules": self._rules.digest, "partitions": str(scores.partitions)}
            await self._set(keys.log(SCORES), pinned)

    async def _set(self, name: str, fields: Mapping[str, str]) -> None:
        with redis_errors("pinning the new generation"):
            for field, value in fields.items():
                await self._redis.hset(name, field, value)

    # Small change.

    async def _save(self, partition: int, to: Mark, effects: Effects) -> None:
        self._marks[partition] = await self._ledger.save(self._marks[partition], to, 0, effects)

    async def _records(self, user_ids: Sequence[str], generation: int) -> np.ndarray:
        """(n,) RECORD; blank also where there is something that this release cannot read."""
        with redis_errors("loading records"):
            values = await mget(self._redis, [keys.record(name, generation) for name in user_ids])
        try:
            return unpack(values)
        except Misconfigured:
            return unpack([value if _is_readable(value) else None for value in values])

    async def _read_all(self, tp: TopicPartition) -> bool:
        """Whether the partition has been read to its end, as of the last fetch."""
        highwater = self._source.highwater(tp)
        return highwater is not None and await self._source.position(tp) >= highwater


def _tps(partitions: int) -> list[TopicPartition]:
    return [TopicPartition(ACTIVITY, partition) for partition in range(partitions)]


def _is_readable(value: bytes | None) -> bool:
    try:
        unpack([value])
    except Misconfigured:
        return False
    return True


@contextmanager
def _kafka_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"Kafka, {doing}: {error!r}") from error
