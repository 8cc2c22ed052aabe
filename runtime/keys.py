"""Every Redis key Ebbtide uses, in one place.

Keys of a user carry a hash tag for their shard, so that one script can touch a shard's keys
together on a Redis Cluster. What is folded from the log carries its generation, too: a rebuild
makes the next one beside the one that serves (`scorer.rebuild`).

| key | type | holds | lifetime |
|---|---|---|---|
| `ebb:{07}:<g>:u:<user>` | string | one packed record (`contracts.record`) | `record_ttl_ms` |
| `ebb:{07}:<g>:t:<partition>` | zset | silence timers: user by due time, indexes the records | - |
| `ebb:{07}:<g>:rank` | zset | user by risk | - |
| `ebb:{07}:m:<topic>:<g>` | hash | watermark, clock and what was sent home, per partition | - |
| `ebb:{07}:gen:<topic>` | string | the generation that serves; none: the first | - |
| `ebb:{07}:new:<topic>` | string | the generation that was made last, or is being made | - |
| `ebb:{07}:hold:<topic>` | string | the generation that takes over: no other may save | 10 s |
| `ebb:{07}:e:<user>` | string | the user's alert episode | `record_ttl_ms` |
| `ebb:{07}:alerts` | zset | recent alerts by time, trimmed | - |
| `ebb:log:<topic>:<g>` | hash | log identity, partition count, rules digest | - |
| `ebb:names` | hash | category hash to its name, for people | - |
| `ebb:{00}:held:<topic>` | zset | partitions that wait for a person: `partition@log:offset` | - |
"""

from __future__ import annotations

from contracts.partition import SHARDS
from contracts.partition import shard as shard_of

NAMES = "ebb:names"

HELD_SHARD = 0
"""Whose save also stops a partition."""

FIRST = 1
"""The generation a fresh Redis serves."""

_TAGS = tuple(f"ebb:{{{shard:02d}}}:" for shard in range(SHARDS))
_SHARDS = {tag: shard for shard, tag in enumerate(_TAGS)}
_TAG_LENGTH = len(_TAGS[0])


def shard_in(key: str) -> int:
    """The shard whose hash tag a key carries."""
    return _SHARDS[key[:_TAG_LENGTH]]


def record(user_id: str, generation: int = FIRST) -> str:
    return f"{_TAGS[shard_of(user_id)]}{generation}:u:{user_id}"


def any_of(generation: int) -> str:
    """Pattern of all records, timers and ranks of a generation, in all shards."""
    return f"ebb:{{??}}:{generation}:*"


def any_record(generation: int) -> str:
    """Pattern of all records of a generation."""
    return f"ebb:{{??}}:{generation}:u:*"


def is_record(key: bytes) -> bool:
    """Whether a key of some generation (`any_of`) names a record."""
    return key.split(b":", 4)[3] == b"u"


def user_of(record_key: bytes) -> str:
    """The user whose record it is."""
    return record_key.split(b":", 4)[4].decode()


def episode(user_id: str) -> str:
    return f"{_TAGS[shard_of(user_id)]}e:{user_id}"


def timers(shard: int, partition: int, generation: int = FIRST) -> str:
    return f"{_TAGS[shard]}{generation}:t:{partition}"


def rank(shard: int, generation: int = FIRST) -> str:
    return f"{_TAGS[shard]}{generation}:rank"


def recent_alerts(shard: int) -> str:
    return f"{_TAGS[shard]}alerts"


def marks(shard: int, topic: str, generation: int = FIRST) -> str:
    return f"{_TAGS[shard]}m:{topic}:{generation}"


def serving(shard: int, topic: str) -> str:
    return f"{_TAGS[shard]}gen:{topic}"


def newest(shard: int, topic: str) -> str:
    return f"{_TAGS[shard]}new:{topic}"


def hold(shard: int, topic: str) -> str:
    return f"{_TAGS[shard]}hold:{topic}"


def log(topic: str, generation: int = FIRST) -> str:
    return f"ebb:log:{topic}:{generation}"


def held(topic: str) -> str:
    return f"{_TAGS[HELD_SHARD]}held:{topic}"
