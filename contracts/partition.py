"""Where a user lives: the home partition in Kafka and the shard in Redis.

Home follows Kafka's Java client (murmur2 of the key, `org.apache.kafka.common.utils.Utils`), so
that most producers put users there by themselves. The shard uses another hash (CRC-32), so that
users of one partition spread over all shards.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from zlib import crc32

from aiokafka.partitioner import murmur2

SHARDS: Final = 16
"""Fixed: every key's hash tag, so a Redis Cluster can spread them. Changing it is a rebuild."""


@lru_cache(maxsize=65_536)
def home(user_id: str, partitions: int) -> int:
    """Partition in 0..partitions-1 that Kafka's Java client would choose for this user."""
    return int((murmur2(user_id.encode()) & 0x7FFFFFFF) % partitions)


def shard(user_id: str) -> int:
    """Shard in 0..SHARDS-1 whose hash tag this user's keys carry."""
    return crc32(user_id.encode()) % SHARDS
