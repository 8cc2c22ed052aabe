"""The consumer loop: what it does about troubles, on a Kafka that is told what to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Literal, cast
from uuid import UUID

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError
from prometheus_client import CollectorRegistry

from contracts.errors import LogMismatch, LogUnavailable, Misconfigured, StoreUnavailable
from runtime import consumer, partition_loop
from runtime.clock import Awake, wall_ms
from runtime.consumer import Consumer
from runtime.handler import CONFIRMED, Opening, Record
from runtime.health import Health
from runtime.ledger import Effects, Mark
from runtime.log_identity import Log, LogIdentity
from runtime.metrics import WorkerMetrics
from runtime.progress import Limits, Stalled
from runtime.testing import FakeLedger, FakeRecord, FakeRedis, record

TOPIC = "things"
HERE = TopicPartition(TOPIC, 0)
LOG = Log(TOPIC, 1, UUID(int=1), 1)


class Kafka:
    """As much of an AIOKafkaConsumer as the loop uses."""

    def __init__(self, records: Sequence[FakeRecord] = ()) -> None:
        self.records = records
        self.at = 0
        self.group_errors: list[Exception] = []
        self.seen_at: Callable[[], int] = wall_ms
        self.asked = 0
        self.end: Callable[[], int | None] = lambda: len(self.records)
        self.defect: str | None = None

    def subscribe(self, topics: list[str], listener: Consumer) -> None:
        pass

    async def getmany(
        self, tp: TopicPartition, *, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, Sequence[FakeRecord]]:
        await asyncio.sleep(0)
        if tp != HERE:
            if self.group_errors:
                raise self.group_errors[0]
            return {}
        self.asked += 1
        batch = self.records[self.at :]
        self.at = max(self.at, len(self.records))
        return {tp: batch}

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at = offset

    async def position(self, tp: TopicPartition) -> int:
        return self.at

    def highwater(self, tp: TopicPartition) -> int | None:
        return self.end()

    def last_stable_offset(self, tp: TopicPartition) -> int | None:
        return self.end()

    def last_poll_timestamp(self, tp: TopicPartition) -> int:
        return self.seen_at()

    def broken(self) -> str | None:
        return self.defect

    def group_state(self) -> dict[str, Any]:
        return {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        pass


class Identity:
    """One log that never changes."""

    async def current(self) -> Log:
        return LOG

    async def still(self, log: Log, partition: int) -> bool:
        return True


class Keeper:
    """A handler that moves the watermark and notes the clocks it was swept with."""

    def __init__(self, opening: Opening, ledger: FakeLedger) -> None:
        self.marks = opening.marks
        self.log_time = 0
        self.suspicious = False
        self.clocks: list[int] = []
        self.fails: Exception | None = None
        self._ledger = ledger

    async def handle(
        self, records: Sequence[Record], confirmed: Awaitable[None] = CONFIRMED
    ) -> None:
        await confirmed
        if self.fails is not None:
            raise self.fails
        self.log_time = records[-1].timestamp
        to = Mark(1, records[-1].offset + 1)
        self.marks = await self._ledger.save(self.marks, to, self.log_time, Effects())

    async def sweep(self, clock_ms: int) -> bool:
        self.clocks.append(clock_ms)
        return False

    async def held(self) -> bool:
        return False


class Stand:
    """A consumer of one partition; `open_partition` may be replaced before it is assigned."""

    def __init__(
        self, kafka: Kafka | None = None, clock: Literal["wall", "stream"] = "wall"
    ) -> None:
        self.kafka = kafka or Kafka()
        self.ledger = FakeLedger(FakeRedis(), TOPIC)
        self.health = Health()
        self.metrics = WorkerMetrics(CollectorRegistry(), TOPIC)
        self.handlers: list[Keeper] = []
        self.open_partition: Callable[[Opening], Awaitable[Keeper]] = self.opened
        self.consumer = Consumer(
            cast("Any", self.kafka),
            TOPIC,
            identity=cast("LogIdentity", Identity()),
            ledger=self.ledger,
            open_partition=self._opened,
            clock=clock,
            health=self.health,
            metrics=self.metrics,
            check=self._check,
            abandon=self._abandon,
            limits=Limits(stall=5.0, joining=60.0),
        )
        self.stop = asyncio.Event()
        self.trouble: Exception | None = None
        self.abandoned = 0
        self.look: Callable[[], Awaitable[None]] = partial(asyncio.sleep, 0)

    async def _abandon(self) -> None:
        self.abandoned += 1

    async def _check(self) -> None:
        await self.look()
        if self.trouble is not None:
            raise self.trouble

    async def opened(self, opening: Opening) -> Keeper:
        self.handlers.append(Keeper(opening, self.ledger))
        return self.handlers[-1]

    async def opened_hanging(self, opening: Opening) -> Keeper:
        keeper = await self.opened(opening)

        async def forever(*_: object) -> None:
            await asyncio.Event().wait()

        keeper.handle = forever  # type: ignore[assignment, method-assign]
        return keeper

    async def _opened(self, opening: Opening) -> Keeper:
        return await self.open_partition(opening)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.consumer.run(self.stop))
        await asyncio.sleep(0)
        try:
            yield task
        finally:
            self.stop.set()
            await asyncio.wait({task})


async def until(holds: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the loop under test is all that runs
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for a clock."""
    monkeypatch.setattr(partition_loop, "RETRY_SECONDS", (0.0,))
    monkeypatch.setattr(consumer, "LEAVE_SECONDS", 0.01)
    monkeypatch.setattr(consumer, "GROUP_CHECK_SECONDS", 0.0)


@pytest.fixture
def impatient_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every turn of the loop counts as a second."""
    monkeypatch.setattr(consumer, "WATCH_SECONDS", 0.0)
    monkeypatch.setattr(consumer, "CHECK_SECONDS", 0.0)
    turns = iter(range(2**62))
    monkeypatch.setattr(consumer, "Awake", lambda: Awake(lambda: float(next(turns))))


async def test_records_reach_the_handler_and_the_partition_is_ready() -> None:
    """From the watermark on, each record once."""
    stand = Stand(Kafka([record(b"", offset=i, timestamp=i) for i in range(3)]))
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: stand.ledger.saves and not stand.health.reasons)
    await task

    assert Mark(1, 3) == stand.handlers[0].marks.stored[0]


async def test_a_loop_that_is_cancelled_from_below_has_to_be_started_again() -> None:
    """A future cancelled inside a client must not leave a partition that nobody reads."""
    stand = Stand()

    async def cancelled(_: Opening) -> Keeper:
        raise asyncio.CancelledError

    stand.open_partition = cancelled
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await until(task.done)

    with pytest.raises(Stalled, match="cancelled"):
        task.result()


async def test_a_bug_in_a_handler_ends_the_worker() -> None:
    """What is no trouble of ours by name is raised to whoever runs the worker."""
    stand = Stand()

    async def broken(_: Opening) -> Keeper:
        raise KeyError("bug")

    stand.open_partition = broken
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await until(task.done)

    with pytest.raises(KeyError):
        task.result()


async def test_a_failure_inside_a_rebalance_ends_the_worker() -> None:
    """aiokafka logs what its listeners raise and goes on: the worker must not go on with it."""
    stand = Stand()

    def broken(partition: int) -> None:
        raise KeyError(partition)

    stand.metrics.forget = broken  # type: ignore[assignment, method-assign]
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        with pytest.raises(KeyError):
            await stand.consumer.on_partitions_revoked([HERE])
        await until(task.done)

    with pytest.raises(KeyError):
        task.result()


async def test_troubles_of_the_group_are_told_without_any_partition() -> None:
    """aiokafka waits until somebody asks for them; a worker without partitions asks too."""
    stand = Stand()
    async with stand.running():
        await stand.consumer.on_partitions_assigned([])
        stand.kafka.group_errors = [KafkaError("GroupAuthorizationFailed")]
        await until(lambda: "Authorization" in stand.health.reasons.get("group", ""))


async def test_troubles_of_the_group_that_pass_are_forgotten() -> None:
    """Ready again as soon as the group has nothing to say."""
    stand = Stand()
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([])
        stand.kafka.group_errors = [KafkaError("once")]
        await until(lambda: stand.health.reasons)
        stand.kafka.group_errors = []
        await until(lambda: not stand.health.reasons)
        assert not task.done()


async def test_a_dead_group_has_to_be_started_again() -> None:
    """The very same error again means that aiokafka's own task has ended with it."""
    stand = Stand()
    stand.kafka.group_errors = [KafkaError("Unexpected error during coordination")]
    async with stand.running() as task:
        await until(task.done)

    with pytest.raises(Stalled, match="Unexpected"):
        task.result()


async def test_a_dead_fetcher_has_to_be_started_again(impatient_watch: None) -> None:
    """At once: nothing has to be waited for to know that no record will come."""
    stand = Stand()
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: not stand.health.reasons)
        stand.kafka.defect = "the fetcher has ended"
        await until(task.done)

    with pytest.raises(Stalled, match="fetcher"):
        task.result()


async def test_a_handler_that_never_returns_is_a_stall(impatient_watch: None) -> None:
    """Kafka and Redis answer, the batch does not end: unready, and up for a new start."""
    stand = Stand(Kafka([record(b"")]))
    stand.open_partition = stand.opened_hanging
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await until(task.done)

        assert "partition 0 (handling)" in stand.health.reasons["progress"]
    with pytest.raises(Stalled, match=r"handling") as stalled:
        task.result()
    assert not stalled.value.got_on


async def test_a_dependency_that_is_away_is_no_stall(impatient_watch: None) -> None:
    """However long: starting again would not bring it back, and it is named."""
    stand = Stand(Kafka([record(b"")]))
    stand.open_partition = stand.opened_hanging
    stand.trouble = StoreUnavailable("Redis is away")
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: "Redis is away" in stand.health.reasons.get("progress", ""))
        for _ in range(200):
            await asyncio.sleep(0)
        assert not task.done()

        stand.trouble = None
        await until(task.done)
    with pytest.raises(Stalled):
        task.result()


async def test_what_no_longer_holds_ends_a_worker_without_partitions(
    impatient_watch: None,
) -> None:
    """A partition count that changed, say: whoever waits for partitions is told as well."""
    stand = Stand()
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([])
        stand.trouble = LogMismatch("5 partitions, made with 4")
        await until(task.done)

    with pytest.raises(LogMismatch):
        task.result()


async def test_a_look_at_the_surroundings_that_swallows_its_cancellation_ends_all_the_same(
    impatient_watch: None,
) -> None:
    """Clients do so when the answer comes in the same moment; the worker stops nevertheless."""
    stand = Stand()
    looking = asyncio.Event()

    async def look() -> None:
        if not looking.is_set():
            looking.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.sleep(0)

    stand.look = look
    task = asyncio.create_task(stand.consumer.run(stand.stop))
    await looking.wait()
    stand.stop.set()
    await until(task.done)


async def test_a_topic_that_vanished_is_told_and_waited_for(impatient_watch: None) -> None:
    """Nobody has any partition then; that is no reason to look ready."""
    stand = Stand()
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([])
        await until(lambda: not stand.health.reasons)
        stand.trouble = LogUnavailable("topic things does not exist")
        await until(lambda: "does not exist" in stand.health.reasons.get("topic", ""))
        stand.trouble = None
        await until(lambda: not stand.health.reasons)
        assert not task.done()


async def test_a_batch_that_is_given_up_is_not_published_later() -> None:
    """Before the partition goes to another owner; the worker starts again with new clients."""
    stand = Stand(Kafka([record(b"")]))
    stand.open_partition = stand.opened_hanging
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: stand.handlers and stand.kafka.at == 1)
        with pytest.raises(Stalled):
            await stand.consumer.on_partitions_revoked([HERE])
        assert 1 == stand.abandoned
        await until(task.done)

    with pytest.raises(Stalled, match="gave up") as stalled:
        task.result()
    assert stalled.value.got_on


async def test_a_loop_that_does_not_even_end_when_cancelled_is_a_stall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rebalance does not wait for it for ever."""
    monkeypatch.setattr(consumer, "GIVE_UP_SECONDS", 0.01)
    stand = Stand()
    released = asyncio.Event()

    async def stubborn(_: Opening) -> Keeper:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        raise StoreUnavailable("released")

    stand.open_partition = stubborn
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await asyncio.sleep(0)
        stand.stop.set()
        await asyncio.wait({task}, timeout=5)
        released.set()

    with pytest.raises(Stalled, match="does not end"):
        task.result()


async def test_a_session_timeout_kafka_refuses_is_named() -> None:
    """A person has to look; the message names the variable."""
    stand = Stand()
    stand.kafka.group_errors = [InvalidSessionTimeoutError()]
    async with stand.running() as task:
        await until(task.done)

    with pytest.raises(Misconfigured, match="EBBTIDE_SESSION_TIMEOUT_MS"):
        task.result()


async def test_a_partition_given_up_leaves_no_reason_behind() -> None:
    """It is another worker's now: this one is ready."""
    stand = Stand()
    attempts: list[int] = []

    async def hangs(_: Opening) -> Keeper:
        attempts.append(1)
        if len(attempts) == 1:
            raise StoreUnavailable("gone")
        await asyncio.Event().wait()
        raise AssertionError

    stand.open_partition = hangs
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: len(attempts) == 2)
        assert "partition 0" in stand.health.reasons
        await stand.consumer.on_partitions_revoked([HERE])
        await stand.consumer.on_partitions_assigned([])

        assert {} == stand.health.reasons


async def test_what_fails_with_the_same_batch_is_retried_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Opening alone is no success: a full Redis must not flood the topics, nor look ready."""
    monkeypatch.setattr(partition_loop, "RETRY_SECONDS", (0.0, 0.0, 0.0, 3600.0))
    stand = Stand(Kafka([record(b"")]))
    stand.kafka.seen_at = lambda: 0 if stand.kafka.at == 0 else wall_ms()
    tries: list[Keeper] = []

    async def failing(opening: Opening) -> Keeper:
        keeper = await stand.opened(opening)
        keeper.fails = StoreUnavailable("OOM command not allowed")
        tries.append(keeper)
        return keeper

    stand.open_partition = failing
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: len(tries) == 4)
        for _ in range(50):
            await asyncio.sleep(0)

        assert 4 == len(tries)
        assert "OOM" in stand.health.reasons["partition 0"]


async def test_a_producer_ahead_of_time_does_not_move_the_wall_clock() -> None:
    """A record from 2099 makes nobody silent: the clock stays at now."""
    stand = Stand(Kafka([record(b"", timestamp=4_070_908_800_000)]))
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: stand.ledger.saves and len(stand.handlers[0].clocks) > 2)

    assert max(stand.handlers[0].clocks) <= wall_ms()


async def test_unread_records_stop_the_wall_clock() -> None:
    """While the log is longer than what was read, time is the last folded record's."""
    stand = Stand(Kafka([record(b"", timestamp=77)]))
    stand.kafka.end = lambda: 5
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: stand.ledger.saves and len(stand.handlers[0].clocks) > 2)

    assert {77} == set(stand.handlers[0].clocks)


async def test_nothing_fires_before_kafka_has_told_what_is_unread() -> None:
    """Whose timer was due when the marks were saved may have come back since."""
    stand = Stand(Kafka([record(b"", timestamp=77)]))
    await stand.ledger.save(await stand.ledger.marks(0), Mark(1, 1), 50, Effects())
    stand.kafka.end = lambda: None if stand.kafka.asked < 9 else 1
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: stand.kafka.asked == 8)
        before = list(stand.handlers[0].clocks)
        await until(lambda: stand.handlers[0].clocks)

    assert [] == before


async def test_a_stream_clock_is_the_log_time() -> None:
    """However much is read: nothing but records moves it, and records may be of any year."""
    stand = Stand(Kafka([record(b"", timestamp=4_070_908_800_000)]), clock="stream")
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: stand.ledger.saves and len(stand.handlers[0].clocks) > 2)

    assert {4_070_908_800_000} == set(stand.handlers[0].clocks)


async def test_a_caught_up_partition_believes_silence_up_to_the_last_fetch() -> None:
    """Not up to now: what was written since is not known."""
    stand = Stand()
    told_at = wall_ms() - 5_000
    stand.kafka.seen_at = lambda: told_at
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: stand.handlers and stand.handlers[0].clocks)

    assert {told_at} == set(stand.handlers[0].clocks)


async def test_a_watermark_past_the_end_of_the_log_is_refused() -> None:
    """Where the broker just answers nothing: the log stays shorter than the watermark."""
    stand = Stand()
    await stand.ledger.save(await stand.ledger.marks(0), Mark(1, 10), 0, Effects())
    told = iter(range(wall_ms(), 2**62, 6_000))
    stand.kafka.seen_at = lambda: next(told)
    stand.kafka.end = lambda: 3
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await until(task.done)

    with pytest.raises(LogMismatch, match=r"10 lies outside.*ends at 3.*ebbtide rebuild"):
        task.result()


async def test_fetches_that_are_never_answered_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiokafka only logs some errors; an unheard partition is told in the health."""
    monkeypatch.setattr(partition_loop, "SILENT_MS", -1)
    stand = Stand()
    stand.kafka.seen_at = lambda: 0
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: "no fetch" in stand.health.reasons.get("partition 0", ""))


async def test_marks_of_a_newer_log_than_kafka_shows_wait() -> None:
    """A broker that lags behind must not make us fold an old log again."""
    stand = Stand()
    await stand.ledger.save(await stand.ledger.marks(0), Mark(2, 1), 0, Effects())
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: "newer" in stand.health.reasons.get("partition 0", ""))
    assert [] == stand.handlers


async def test_a_store_that_was_rolled_back_is_noticed_while_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The partition is opened again at the stored marks and reads what Redis forgot."""
    monkeypatch.setattr(partition_loop, "CHECK_MS", 0)
    stand = Stand(Kafka([record(b"", offset=0, timestamp=1)]))
    async with stand.running():
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: stand.ledger.saves == 1)
        stand.ledger.redis.state.hashes.clear()
        await until(lambda: stand.ledger.saves == 2)

    assert Mark(1, 1) == (await stand.ledger.marks(0)).stored[0]


async def test_kafka_away_while_opening_is_waited_for() -> None:
    """The health names the partition and the reason."""
    stand = Stand()

    async def away(tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        raise KafkaError("away")

    stand.kafka.beginning_offsets = away  # type: ignore[assignment, method-assign]
    async with stand.running() as task:
        await stand.consumer.on_partitions_assigned([HERE])
        await until(lambda: "away" in stand.health.reasons.get("partition 0", ""))
        assert not task.done()
