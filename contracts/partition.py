"""Where a user lives: the home partition in Kafka and the shard in Redis.

Home follows Kafka's Java client (murmur2 of the key, `org.apache.kafka.common.utils.Utils`), so
that most producers put users there by themselves. The shard uses another hash (CRC-32), so that
users of one partition spread over all shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

import numpy as np
from aiokafka.partitioner import murmur2

SHARDS: Final = 16
"""Fixed: every key's hash tag, so a Redis Cluster can spread them. Changing it is a rebuild."""


_SEED: Final = np.uint32(0x9747B28C)
_MIX: Final = np.uint32(0x5BD1E995)


@lru_cache(maxsize=65_536)
def home(user_id: str, partitions: int) -> int:
    """Partition in 0..partitions-1 that Kafka's Java client would choose for this user."""
    return int((murmur2(user_id.encode()) & 0x7FFFFFFF) % partitions)


def homes(user_ids: Sequence[str], partitions: int) -> np.ndarray:
    """(n,) `home` of each, by the same rule for all at once: a cache of users would be too small.

    Texts are laid out as words of four bytes, padded with zeros, and hashed word by word.
    """
    keys = [user_id.encode() for user_id in user_ids]
    length = np.fromiter(map(len, keys), np.uint32, len(keys))
    whole, rest = length // 4, length % 4
    width = int(whole.max(initial=0)) + 1
    words = np.array(keys, f"S{4 * width}").view("<u4").reshape(len(keys), width)
    hashed: np.ndarray = length ^ _SEED
    for column in range(width - 1):
        word: np.ndarray = words[:, column] * _MIX
        word = (word ^ word >> 24) * _MIX
        hashed = np.where(column < whole, hashed * _MIX ^ word, hashed)
    last = words[np.arange(len(keys)), whole]
    hashed = np.where(rest > 0, (hashed ^ last) * _MIX, hashed)
    hashed = (hashed ^ hashed >> 13) * _MIX
    hashed ^= hashed >> 15
    found: np.ndarray = (hashed & 0x7FFFFFFF).astype(np.intp) % partitions
    return found


def shard(user_id: str) -> int:
    """Shard in 0..SHARDS-1 whose hash tag this user's keys carry."""
    return crc32(user_id.encode()) % SHARDS
