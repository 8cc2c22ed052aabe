"""Forgetting what was folded, so that the log is folded anew from its beginning.

The remedy when users would change homes (partition count), when the fold rules change, and when
events between the watermark and the log's first record are gone. Offline: the scorers must be
stopped. Log numbers are kept, so that what is published again is not newer than what was known.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from contracts.errors import LogUnavailable, Misconfigured
from contracts.partition import SHARDS
from contracts.topics import ACTIVITY
from runtime import keys
from runtime.redis_errors import redis_errors
from runtime.settings import ServiceSettings
from runtime.store import text

_PAGE = 1_000


async def check_nobody_scores(settings: ServiceSettings, group: str) -> None:
    """Raise Misconfigured while a scorer is a member of the consumer group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    try:
        await admin.start()
        [answer] = await admin.describe_consumer_groups([group])
        members = sum(len(described[5]) for described in answer.groups)
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"Kafka, looking for running scorers: {error!r}") from error
    finally:
        await admin.close()
    if members:
        raise Misconfigured(f"{members} scorer(s) still run in group {group}: stop them first")


async def check_log_is_whole(settings: ServiceSettings, redis: Redis) -> None:
    """Raise Misconfigured when folding Kafka's log anew would lose what is in Redis.

    That is so when retention cut the log, or when the topic was recreated, since an earlier
    incarnation's events are in the records but no longer in Kafka.
    """
    with redis_errors("reading the log's number"):
        number = await redis.hget(keys.log(ACTIVITY), "number")
    if number is not None and int(text(number)) > 1:
        raise Misconfigured(
            f"{ACTIVITY} is incarnation {text(number)} of the topic: events of earlier ones are in "
            "the records but no longer in Kafka, and would be lost; --accept-truncated does it "
            "nevertheless"
        )
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)
    try:
        await consumer.start()
        if ACTIVITY not in await consumer.topics():
            raise Misconfigured(f"Kafka has no topic {ACTIVITY}: there is nothing to fold anew")
        partitions = [TopicPartition(ACTIVITY, p) for p in range(settings.partitions)]
        beginnings = await consumer.beginning_offsets(partitions)
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"Kafka, finding the log's beginning: {error!r}") from error
    finally:
        await consumer.stop()
    cut = sorted(tp.partition for tp, offset in beginnings.items() if offset > 0)
    if cut:
        raise Misconfigured(
            f"retention has cut the log of {ACTIVITY} (partitions {cut}): what was cut would be "
            "lost; --accept-truncated does it nevertheless"
        )


async def forget_records(redis: Redis) -> int:
    """Delete every record, timer, rank and watermark of the scorer; how many records there were.

    Alert episodes and the log's number stay. Watermarks go last: should this stop half way, the
    scorers go on where they were and it can be run again.
    """
    records = 0
    with redis_errors("forgetting records"):
        for shard in range(SHARDS):
            records += await _delete(redis, keys.any_record(shard))
            await _delete(redis, keys.any_timers(shard))
            await redis.delete(keys.rank(shard))
        for shard in range(SHARDS):
            await redis.delete(keys.marks(shard, ACTIVITY))
        await redis.hdel(keys.log(ACTIVITY), "partitions", "rules")
    return records


async def _delete(redis: Redis, pattern: str) -> int:
    count = 0
    async for key in redis.scan_iter(match=pattern, count=_PAGE):
        count += await redis.unlink(key)
    return count
