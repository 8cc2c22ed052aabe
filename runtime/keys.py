"""Every Redis key Ebbtide uses, in one place.

Keys of a user carry a hash tag for their shard, so that one script can touch a shard's keys
together on a Redis Cluster.

| key | type | holds | lifetime |
|---|---|---|---|
| `ebb:{07}:u:<user>` | string | one packed record (`contracts.record`) | `record_ttl_ms` |
| `ebb:{07}:t:<partition>` | zset | silence timers: user by due time, an index of the records | - |
| `ebb:{07}:rank` | zset | user by risk | - |
| `ebb:{07}:m:<topic>` | hash | watermark and clock per partition | - |
| `ebb:{07}:e:<user>` | string | the user's alert episode | `record_ttl_ms` |
| `ebb:{07}:alerts` | zset | recent alerts by time, trimmed | - |
| `ebb:log:<topic>` | hash | log identity, partition count, rules digest | - |
| `ebb:names` | hash | category hash to its name, for people | - |
| `ebb:held:<topic>` | hash | partitions that wait for a person to look at dead letters | - |
"""

from __future__ import annotations

from contracts.partition import SHARDS
from contracts.partition import shard as shard_of

NAMES = "ebb:names"

_TAGS = tuple(f"ebb:{{{shard:02d}}}:" for shard in range(SHARDS))


def record(user_id: str) -> str:
    return f"{_TAGS[shard_of(user_id)]}u:{user_id}"


def any_record(shard: int) -> str:
    """Pattern of all records of a shard."""
    return f"{_TAGS[shard]}u:*"


def any_timers(shard: int) -> str:
    """Pattern of all timer indexes of a shard."""
    return f"{_TAGS[shard]}t:*"


def episode(user_id: str) -> str:
    return f"{_TAGS[shard_of(user_id)]}e:{user_id}"


def timers(shard: int, partition: int) -> str:
    return f"{_TAGS[shard]}t:{partition}"


def rank(shard: int) -> str:
    return f"{_TAGS[shard]}rank"


def recent_alerts(shard: int) -> str:
    return f"{_TAGS[shard]}alerts"


def marks(shard: int, topic: str) -> str:
    return f"{_TAGS[shard]}m:{topic}"


def log(topic: str) -> str:
    return f"ebb:log:{topic}"


def held(topic: str) -> str:
    return f"ebb:held:{topic}"
