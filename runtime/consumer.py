"""Membership of a consumer group: which partitions are ours, and a loop over each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError

from contracts.errors import Misconfigured
from runtime.handler import OpenPartition
from runtime.health import Health
from runtime.ledger import Ledger
from runtime.log_identity import LogIdentity
from runtime.metrics import WorkerMetrics
from runtime.partition_loop import PartitionLoop, Surroundings

logger = structlog.get_logger(__name__)

GROUP_CHECK_SECONDS = 1.0
LEAVE_SECONDS = 5.0
"""What a batch in hand may take when its partition goes, well inside the rebalance timeout.

Longer means that Kafka or Redis is away. Giving the batch up is then as good as finishing it: the
next owner starts at the watermarks.
"""


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
        self._health = health
        self._metrics = metrics
        self._around = Surroundings(
            source, identity, ledger, open_partition, clock, health, metrics
        )
        self._loops: dict[TopicPartition, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, then finish what is in hand.

        Raises what a person has to look at (Misconfigured) and any bug; troubles that pass are
        waited for, with the reason in the health.
        """
        self._source.subscribe([self._topic], listener=self)
        stopped = asyncio.ensure_future(stop.wait())
        watching = asyncio.create_task(self._watch_group(), name="group")
        watching.add_done_callback(self._notice_failure)
        try:
            await asyncio.wait((stopped, self._failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True  # a rebalance under way must not start loops again
            stopped.cancel()
            watching.cancel()
            await self._leave(list(self._loops))
        if self._failed.done():  # also by what failed while leaving
            self._failed.result()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._health.waits("start", "joining the consumer group")
        with self._noticing_failure():
            await self._leave(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        if self._stopping:
            return
        with self._noticing_failure():
            self._start(assigned)
        self._health.goes_on("start")

    def _start(self, assigned: Collection[TopicPartition]) -> None:
        for tp in assigned:
            if tp not in self._loops:
                leave = asyncio.Event()
                task = asyncio.create_task(PartitionLoop(tp, self._around).run(leave), name=str(tp))
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
        if not task.cancelled():
            failure = task.exception()
        elif any(task is running for running, _ in self._loops.values()):
            # Nobody told it to leave: some future it waited for was cancelled under it.
            failure = RuntimeError(f"the loop of {task.get_name()} was cancelled")
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
        while True:
            try:
                await self._source.getmany(nowhere)
            except InvalidSessionTimeoutError as error:
                raise Misconfigured(
                    "Kafka refuses EBBTIDE_SESSION_TIMEOUT_MS: choose one between its "
                    "group.min.session.timeout.ms and group.max.session.timeout.ms"
                ) from error
            except KafkaError as error:
                if error is last:
                    raise  # the group's own task has ended with it: nothing will ever change
                last = error
                self._health.waits("group", f"Kafka, in the consumer group: {error!r}")
                logger.warning("group_trouble", reason=repr(error))
            else:
                last = None
                self._health.goes_on("group")
            await asyncio.sleep(GROUP_CHECK_SECONDS)
