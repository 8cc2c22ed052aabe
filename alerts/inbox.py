"""Commands that were read from `alert-command` and not done yet.

Two logs meet here. The intake reads one and puts what it finds into an inbox beside the episodes;
the handler of the scores, who alone writes episodes, empties it. Each moves its own watermark in
the step that changes the inbox, so a command is put in once and done once. A verdict concerns no
episode's life: the intake keeps the one that stands for people to read (`runtime.verdicts`), and
all of them stay on the topic.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import cast

from redis.asyncio import Redis

from contracts.commands import AlertCommand, decode_command, encode_command
from contracts.partition import SHARDS, home
from contracts.partition import shard as shard_of
from contracts.topics import COMMANDS
from runtime import alert_history, keys, verdicts
from runtime.dead_letters import DeadLetters, Run, told_apart
from runtime.handler import CONFIRMED, Opening, Record
from runtime.kafka import Publisher
from runtime.ledger import Effects, Ledger, Mark
from runtime.metrics import WorkerMetrics
from runtime.readings import command_of
from runtime.redis_errors import redis_errors

COMMANDS_AT_ONCE = 500


class Inbox:
    """Reads the commands that wait in one partition of `churn-score`."""

    def __init__(self, redis: Redis, partition: int) -> None:
        self._redis = redis
        self._partition = partition
        self._keys = [keys.commands(shard, partition) for shard in range(SHARDS)]

    async def waiting(self) -> list[tuple[AlertCommand, bytes]]:
        """Some of them with their stored form, each user's in order; raises StoreUnavailable."""
        with redis_errors("reading commands"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in self._keys:
                    pipe.zrange(key, 0, COMMANDS_AT_ONCE - 1)
                answers = await pipe.execute()
        members = [cast("bytes", member) for answer in answers for member in answer]
        return [(decode_command(member), member) for member in members]

    def done(self, command: AlertCommand, stored: bytes, effects: Effects) -> None:
        """Add to the effects that a command is done."""
        effects.index(keys.commands(shard_of(command.user_id), self._partition), stored, None)


class Intake:
    """The `runtime.handler.Handler` of one partition of `alert-command`."""

    def __init__(
        self,
        opening: Opening,
        *,
        ledger: Ledger,
        publisher: Publisher,
        dead_letters: DeadLetters,
        metrics: WorkerMetrics,
        redis: Redis,
        topic: str,
        bell: set[int],
    ) -> None:
        """topic: whose handlers empty the inbox. bell: their partitions that should look."""
        self._log = opening.log.number
        self._beginning = opening.beginning
        self._ledger = ledger
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._redis = redis
        self._topic = topic
        self._bell = bell
        self._run = Run()
        self.marks = opening.marks
        self.log_time = opening.marks.clock_ms
        self.suspicious = True

    async def handle(
        self, records: Sequence[Record], confirmed: Awaitable[None] = CONFIRMED
    ) -> None:
        """Put commands into the inbox of their user's home; park what is none."""
        await confirmed
        effects = Effects()
        given: list[AlertCommand] = []
        rung = set()
        good, letters, tripped = told_apart(
            (record for record in records if record.value is not None), command_of, self._run
        )
        for record, command in good:
            shard = shard_of(command.user_id)
            if record.offset < self.marks.next_offset(shard, self._log, self._beginning):
                continue
            if command.kind == "verdict":
                given.append(command)
                continue
            partition = home(command.user_id, await self._publisher.partitions(self._topic))
            place = float(record.offset)
            effects.index(keys.commands(shard, partition), encode_command(command), place)
            rung.add(partition)
        stored = await alert_history.load(self._redis, {verdict.user_id for verdict in given})
        for verdict in given:
            alerts = alert_history.unpack(stored[verdict.user_id])
            verdicts.remember(verdict, alerts, effects)
        if letters:
            await self._dead_letters.park(self.marks.partition, self._log, letters)
            self._metrics.parked.labels(COMMANDS).inc(len(letters))
        mark = Mark(self._log, records[-1].offset + 1)
        if tripped:
            self._dead_letters.hold(effects, self.marks.partition, mark)
            self.suspicious = True
        self.log_time = max(self.log_time, *(record.timestamp for record in records))
        self.marks = await self._ledger.save(self.marks, mark, self.log_time, effects)
        self._bell |= rung
        self._metrics.records.labels(COMMANDS).inc(len(records))

    async def sweep(self, clock_ms: int) -> bool:
        """Nothing is ever due."""
        return False

    async def held(self) -> bool:
        """Whether bad records made the partition wait for a person."""
        self.suspicious = await self._dead_letters.held(self.marks.partition)
        return self.suspicious
