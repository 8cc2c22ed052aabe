"""Which log we read: its number, its partition count and its fold rules, pinned in Redis.

A topic that was recreated, or an embedded broker that started again, is a new log with a higher
number, so its offsets are never mistaken for repeats of the old ones. Partition count and fold
rules decide where users live and what their facts are, so another value is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from redis.asyncio import Redis

from contracts.errors import LogMismatch, LogUnavailable
from runtime import generations, keys
from runtime.redis_errors import redis_errors
from runtime.topic_id import TopicIds

_REGISTER_LUA = """
-- KEYS[1]: the log's hash. ARGV: topic id, partition count, rules digest.
-- Returns {number of this id, number of the newest, partitions, rules}.
local id = 'id:' .. ARGV[1]
local number = redis.call('HGET', KEYS[1], id)
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[2])
redis.call('HSETNX', KEYS[1], 'rules', ARGV[3])
local pinned = redis.call('HMGET', KEYS[1], 'partitions', 'rules')
if not number and pinned[1] == ARGV[2] and pinned[2] == ARGV[3] then
  number = redis.call('HINCRBY', KEYS[1], 'number', 1)
  redis.call('HSET', KEYS[1], id, number)
end
return {tostring(number or 0), redis.call('HGET', KEYS[1], 'number') or '0', pinned[1], pinned[2]}
"""

REMEDY = "run `ebbtide rebuild`, and start the workers again"


@dataclass(frozen=True, slots=True)
class Log:
    """One incarnation of a topic under Ebbtide's own number."""

    topic: str
    number: int
    topic_id: UUID
    partitions: int
    generation: int = keys.FIRST
    """The generation of records the number and the partition count are pinned for."""


class LogIdentity:
    """Reads a topic's id from Kafka and its number from Redis."""

    def __init__(self, topic: str, rules: str, topic_ids: TopicIds, redis: Redis) -> None:
        self._topic = topic
        self._rules = rules
        self._topic_ids = topic_ids
        self._redis = redis
        self._register = redis.register_script(_REGISTER_LUA)

    async def current(self) -> Log:
        """Find, or on first sight register, the log the brokers serve now.

        Raises LogMismatch when partition count or rules are not the pinned ones, LogUnavailable
        when the topic is missing or a broker still shows an older incarnation.
        """
        incarnation = await self._topic_ids.incarnation(self._topic)
        if incarnation is None:
            raise LogUnavailable(f"topic {self._topic} does not exist")
        generation = await generations.current(self._redis, self._topic)
        with redis_errors("registering the log"):
            answer = await self._register(
                keys=[keys.log(self._topic, generation)],
                args=[str(incarnation.topic_id), incarnation.partitions, self._rules],
            )
        number, newest, partitions, rules = (value.decode() for value in answer)
        if int(partitions) != incarnation.partitions:
            raise LogMismatch(
                f"{self._topic} has {incarnation.partitions} partitions, but the records in Redis "
                f"were made with {partitions}, and users would change homes: {REMEDY}"
            )
        if rules != self._rules:
            raise LogMismatch(
                f"the activity types or the retention changed (rules {rules} -> {self._rules}), "
                f"and the records in Redis were folded under the old ones: {REMEDY}"
            )
        if number != newest:
            raise LogUnavailable(f"a broker still shows an older {self._topic}")
        return Log(
            self._topic, int(number), incarnation.topic_id, incarnation.partitions, generation
        )

    async def still(self, log: Log, partition: int) -> bool:
        """Whether the partition's leader serves this very log.

        Asked after a fetch and before its effects are saved, so that records of a recreated topic
        are never taken for the old one's.
        """
        incarnation = await self._topic_ids.incarnation(self._topic, partition)
        return (
            incarnation is not None
            and incarnation.topic_id == log.topic_id
            # More partitions are other homes: `current` refuses them, naming the remedy.
            and incarnation.partitions == log.partitions
        )
