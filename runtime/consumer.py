"""Membership of a consumer group: which partitions are ours, and a loop over each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError

from contracts.errors import Misconfigured, Unavailable
from runtime.clock import Awake
from runtime.handler import OpenPartition
from runtime.health import Health
from runtime.kafka import LogConsumer
from runtime.ledger import Ledger
from runtime.log_identity import LogIdentity
from runtime.metrics import WorkerMetrics
from runtime.partition_loop import PartitionLoop, Surroundings
from runtime.progress import PUBLISHING, Limits, Stall, Stalled, judge

logger = structlog.get_logger(__name__)

GROUP_CHECK_SECONDS = 1.0
LEAVE_SECONDS = 5.0
"""What a batch in hand may take when its partition goes, well inside the rebalance timeout.

Longer means that Kafka or Redis is away. Giving the batch up is then as good as finishing it: the
next owner starts at the watermarks.
"""
GIVE_UP_SECONDS = 2.0
"""What a loop may take to end once it was cancelled."""
WATCH_SECONDS = 1.0
CHECK_SECONDS = 5.0
"""How often a worker looks whether what it counts on still holds."""
PROBE_SECONDS = 10.0
"""A dependency that takes longer to answer a small question is away."""


@dataclass(frozen=True, slots=True)
class _Running:
    loop: PartitionLoop
    task: asyncio.Task[None]
    leave: asyncio.Event


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs one handler per assigned partition, each in a loop of its own."""

    def __init__(
        self,
        source: LogConsumer,
        topic: str,
        *,
        identity: LogIdentity,
        ledger: Ledger,
        open_partition: OpenPartition,
        clock: Literal["wall", "stream"],
        health: Health,
        metrics: WorkerMetrics,
        check: Callable[[], Awaitable[None]],
        abandon: Callable[[], Awaitable[None]],
        limits: Limits,
    ) -> None:
        """check: asks Kafka and Redis a small question; raises Unavailable when they do not answer,
        Misconfigured when what we count on no longer holds. abandon: makes sure that nothing of a
        batch that was given up is published later."""
        self._source = source
        self._topic = topic
        self._health = health
        self._metrics = metrics
        self._check = check
        self._abandon = abandon
        self._limits = limits
        self._awake = Awake()
        self._got_on = False
        self._joining_since: float | None = 0.0
        self._around = Surroundings(
            source, identity, ledger, open_partition, clock, health, metrics, self._awake.now
        )
        self._loops: dict[TopicPartition, _Running] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, then finish what is in hand.

        Raises what a person has to look at (Misconfigured), Stalled when it has to be started
        again with a new source, and any bug; troubles that pass are waited for, with the reason in
        the health.
        """
        self._source.subscribe([self._topic], listener=self)
        stopped = asyncio.ensure_future(stop.wait())
        watching = [
            asyncio.create_task(watch(), name=watch.__name__)
            for watch in (self._watch_group, self._watch_progress, self._watch_surroundings)
        ]
        for task in watching:
            task.add_done_callback(self._notice_failure)
        try:
            await asyncio.wait((stopped, self._failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True  # a rebalance under way must not start loops again
            stopped.cancel()
            for task in watching:
                task.cancel()  # a client may keep that to itself: they look at `_stopping`, too
            await asyncio.wait(watching)  # what they hold of Redis has to be back before it closes
            try:
                await self._leave(list(self._loops))
            except Stalled as stall:
                if not self._failed.done():
                    self._failed.set_exception(stall)
            if self._leaving:  # in a rebalance that was under way
                await asyncio.wait(self._leaving, timeout=LEAVE_SECONDS)
            for about in ("group", "topic"):
                self._health.goes_on(about)
        if self._failed.done():  # also by what failed while leaving
            self._failed.result()

    def known(self) -> list[dict[str, Any]]:
        """What is known of each partition in hand (`PartitionLoop.known`)."""
        return [running.loop.known() for running in self._loops.values()]

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._health.waits("start", "joining the consumer group")
        self._joining_since = self._awake.now()
        with self._noticing_failure():
            await self._leave(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        if self._stopping:
            return
        with self._noticing_failure():
            self._start(assigned)
        self._joining_since = None
        self._health.goes_on("start")

    def _start(self, assigned: Collection[TopicPartition]) -> None:
        for tp in assigned:
            if tp not in self._loops:
                leave = asyncio.Event()
                loop = PartitionLoop(tp, self._around)
                task = asyncio.create_task(loop.run(leave), name=str(tp))
                task.add_done_callback(self._notice_failure)
                self._loops[tp] = _Running(loop, task, leave)
        logger.info("partitions_assigned", partitions=sorted(tp.partition for tp in assigned))

    async def _leave(self, partitions: Collection[TopicPartition]) -> None:
        """Let the loops finish the batch in hand; what they fetched beyond it is dropped.

        Raises Stalled when one had to be given up in the middle of a batch.
        """
        loops = [self._loops.pop(tp) for tp in partitions if tp in self._loops]
        if not loops:
            return
        tasks = {running.task for running in loops}
        self._leaving |= tasks
        for running in loops:
            running.leave.set()
        try:
            _, late = await asyncio.wait(tasks, timeout=LEAVE_SECONDS)
            if late:
                await self._give_up([running for running in loops if running.task in late])
        finally:
            self._leaving -= tasks
            for tp in partitions:
                self._metrics.forget(tp.partition)

    async def _give_up(self, late: Collection[_Running]) -> None:
        """Cancel loops; raises Stalled unless none of them can have published anything.

        What is half published must not go on to be while the next owner reads it again.
        """
        publishing = any(running.loop.seen().stage in PUBLISHING for running in late)
        for running in late:
            logger.warning("batch_given_up", partition=running.task.get_name())
            running.task.cancel()
        names = ", ".join(running.task.get_name() for running in late)
        _, endless = await asyncio.wait([running.task for running in late], timeout=GIVE_UP_SECONDS)
        if publishing or endless:
            await self._abandon()
        if endless:
            raise Stalled(f"the loop of {names} does not end", got_on=False)
        if publishing:
            raise Stalled(f"gave up a batch of {names}", got_on=True)

    def _notice_failure(self, task: asyncio.Task[None]) -> None:
        failure: BaseException | None
        if not task.cancelled():
            failure = task.exception()
        elif any(task is running.task for running in self._loops.values()):
            # Nobody told it to leave: some future it waited for was cancelled under it.
            failure = Stalled(f"the loop of {task.get_name()} was cancelled", got_on=self._got_on)
        else:
            failure = None
        if failure is not None and not self._failed.done():
            self._failed.set_exception(failure)

    @contextmanager
    def _noticing_failure(self) -> Iterator[None]:
        """Around what aiokafka calls: it logs and forgets an exception, and we would do nothing."""
        try:
            yield
        except Exception as failure:
            if not self._failed.done():
                self._failed.set_exception(failure)
            raise

    async def _watch_group(self) -> None:
        """Ask for the group's troubles, which aiokafka keeps, and waits, until somebody does.

        Reading a partition asks too, but who could not join the group reads none.
        """
        nowhere = TopicPartition(self._topic, -1)
        last: KafkaError | None = None
        while not self._stopping:
            try:
                await self._source.getmany(nowhere)
            except InvalidSessionTimeoutError as error:
                raise Misconfigured(
                    "Kafka refuses EBBTIDE_SESSION_TIMEOUT_MS: choose one between its "
                    "group.min.session.timeout.ms and group.max.session.timeout.ms"
                ) from error
            except KafkaError as error:
                if error is last:
                    # The group's own task has ended with it: nothing will ever change.
                    raise Stalled(f"the consumer group: {error!r}", got_on=self._got_on) from error
                last = error
                self._health.waits("group", f"Kafka, in the consumer group: {error!r}")
                logger.warning("group_trouble", reason=repr(error))
            else:
                last = None
                self._health.goes_on("group")
            await asyncio.sleep(GROUP_CHECK_SECONDS)

    async def _watch_surroundings(self) -> None:
        """Look now and then whether what we count on still holds; raises Misconfigured.

        A worker without partitions looks, too: a topic that vanished leaves nobody any.
        """
        while not self._stopping:
            await asyncio.sleep(CHECK_SECONDS)
            trouble = await self._probe()
            if trouble is None:
                self._health.goes_on("topic")
            else:
                self._health.waits("topic", trouble)
                logger.warning("surroundings", reason=trouble)

    async def _probe(self) -> str | None:
        """What Kafka or Redis lacks, None when both serve us; raises Misconfigured."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._check()
        except Unavailable as trouble:
            return str(trouble)
        except TimeoutError:
            return f"Kafka or Redis has not answered for {PROBE_SECONDS:.0f} s"
        return None

    async def _watch_progress(self) -> None:
        """Raise Stalled once the worker stands still for no fault but its own."""
        excused_until = 0.0
        while not self._stopping:
            await asyncio.sleep(WATCH_SECONDS)
            self._awake.tick()
            broken = self._source.broken()
            if broken is not None:
                raise self._stalled(Stall(broken, ()), self._got_on)
            partitions = [running.loop.seen() for running in self._loops.values()]
            self._got_on = self._got_on or any(seen.moves for seen in partitions)
            now = self._awake.now()
            stall = judge(partitions, self._joining_since, now, self._limits, excused_until)
            if stall is None:
                if all(seen.moves or seen.stage == "held" for seen in partitions):
                    self._health.goes_on("progress")
                continue
            self._health.waits("progress", stall.reason)
            trouble = await self._probe()
            if trouble is None:
                raise self._stalled(stall, stall.got_on)
            # A restart would not bring it back; that it is away is what has to be told.
            self._health.waits("progress", f"{stall.reason}: {trouble}")
            excused_until = now

    def _stalled(self, stall: Stall, got_on: bool) -> Stalled:
        self._health.waits("progress", stall.reason)
        logger.error(
            "stalled",
            reason=stall.reason,
            group=self._source.group_state(),
            partitions=self.known(),
        )
        return Stalled(stall.reason, got_on=got_on)
