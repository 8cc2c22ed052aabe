"""Every Redis key Ebbtide uses, in one place.

Keys of a user carry a hash tag for their shard, so that one script can touch a shard's keys
together on a Redis Cluster. What is folded from the log carries its generation, too: a rebuild
makes the next one beside the one that serves (`scorer.rebuild`).

| key | type | holds | lifetime |
|---|---|---|---|
| `ebb:{07}:<g>:u:<user>` | string | one packed record (`contracts.record`) | `record_ttl_ms` |
| `ebb:{07}:<g>:t:<partition>` | zset | silence timers: user by due time, indexes the records | - |
| `ebb:{07}:<g>:rank` | zset | user by risk (`contracts.ranks`) | - |
| `ebb:{07}:<g>:worth` | zset | user by risk times money, who have any | - |
| `ebb:{07}:m:<topic>:<g>` | hash | watermark, clock and what was sent home, per partition | - |
| `ebb:{07}:gen:<topic>` | string | the generation that serves; none: the first | - |
| `ebb:{07}:new:<topic>` | string | the generation that was made last, or is being made | - |
| `ebb:{07}:hold:<topic>` | string | the generation that takes over: no other may save | 10 s |
| `ebb:{07}:e:<user>` | string | the user's alert episode | `record_ttl_ms` |
| `ebb:{07}:alerts` | zset | recent alerts by time, trimmed | - |
| `ebb:{07}:et:<partition>` | zset | when alert episodes need a look: user by time | - |
| `ebb:{07}:cmd:<partition>` | zset | commands not done yet, by their offset | - |
| `ebb:{07}:top:<partition>` | string | how often each risk is reached, for `top N a day` | - |
| `ebb:{07}:a:<id>` | string | whom an alert_id or dedup_key is about | `alert_index.KEPT_MS` |
| `ebb:{07}:ids:<user>` | zset | those ids of a user, by time, trimmed | - |
| `ebb:{07}:ua:<user>` | string | the user's latest alerts (`runtime.alert_history`) | 90 days |
| `ebb:{07}:open` | zset | users with an open episode by their last alert, trimmed | - |
| `ebb:{07}:v:<episode>` | string | the verdict that stands on it | `verdicts.KEPT_MS` |
| `ebb:{07}:vl` | zset | episodes by the time of their verdict, trimmed | - |
| `ebb:{07}:trials:<partition>` | string | the holdout's sums (`contracts.trials`) | - |
| `ebb:{07}:d:<delivery>` | string | a message for a channel, and its state | 30 days when over |
| `ebb:{07}:dq:<channel>` | zset | deliveries by the time of their next attempt | - |
| `ebb:{07}:dp:<place>` | zset | deliveries held by the storm guard, or for a digest | - |
| `ebb:{07}:dl` | zset | the delivery log: deliveries by their last change, trimmed | - |
| `ebb:{07}:ds:<state>:<channel>` | zset | the same of one channel and state, trimmed | - |
| `ebb:{07}:du:<user>` | string | the user's deliveries | 90 days |
| `ebb:{07}:dc` | zset | openings by time, for the storm guard | some windows |
| `ebb:{00}:delivery:<what>` | any | who dispatches, the storm, volumes, caps, channels | - |
| `ebb:{07}:<g>:ev:<user>` | list | the user's last events (`runtime.timeline`) | the retention |
| `ebb:{00}:policy` | string | the alert policy in force, without secrets | - |
| `ebb:{07}:h:<user>` | string | kept scores (`contracts.history`) | retention and a month |
| `ebb:{07}:ht:<partition>` | hash | users by risk band, last-seen day and cohort | - |
| `ebb:{07}:hp:<partition>` | hash | the same summed up, and over time: what pages read | - |
| `ebb:log:<topic>:<g>` | hash | log identity, partition count, rules digest | - |
| `ebb:names` | hash | category hash to its name, for people | - |
| `ebb:{00}:held:<topic>` | zset | partitions that wait for a person: `partition@log:offset` | - |
| `ebb:{00}:replaying:<topic>` | string | who sends its dead letters back | 1 min |
| `ebb:{00}:workers` | zset | worker processes by when they last told of themselves | trimmed |
| `ebb:{00}:worker:<id>` | string | what a worker told (`runtime.heartbeat`) | 15 min |
| `ebb:session:<digest>` | string | a login (`ingest_api.sessions`) | the session's |
| `ebb:{00}:audit` | list | who did what, the latest (`ingest_api.audit`), trimmed | - |
| `ebb:{00}:audit-reads` | list | who read of many users, the latest, trimmed | - |
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
    return record_prefix(shard_of(user_id), generation) + user_id


def record_prefix(shard: int, generation: int = FIRST) -> str:
    """What stands before the user in the key of a record, for who has many of one shard."""
    return f"{_TAGS[shard]}{generation}:u:"


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


def worth(shard: int, generation: int = FIRST) -> str:
    return f"{_TAGS[shard]}{generation}:worth"


def alert_timers(shard: int, partition: int) -> str:
    return f"{_TAGS[shard]}et:{partition}"


def commands(shard: int, partition: int) -> str:
    return f"{_TAGS[shard]}cmd:{partition}"


def tops(partition: int) -> str:
    return f"{_TAGS[partition % SHARDS]}top:{partition}"


def recent_alerts(shard: int) -> str:
    return f"{_TAGS[shard]}alerts"


def alert(shard: int, known: str) -> str:
    """What leads from an alert_id or a dedup_key to a user of the shard."""
    return f"{_TAGS[shard]}a:{known}"


def alert_of(user_id: str, known: str) -> str:
    """The same, of a user."""
    return alert(shard_of(user_id), known)


def alert_ids(user_id: str) -> str:
    return f"{_TAGS[shard_of(user_id)]}ids:{user_id}"


def delivery(shard: int, row_id: str) -> str:
    return f"{_TAGS[shard]}d:{row_id}"


def delivery_queue(shard: int, channel: str) -> str:
    return f"{_TAGS[shard]}dq:{channel}"


def delivery_place(shard: int, place: str) -> str:
    """Where deliveries wait for something else than a time to come: `held` or `digest`."""
    return f"{_TAGS[shard]}dp:{place}"


def delivery_log(shard: int) -> str:
    return f"{_TAGS[shard]}dl"


def deliveries_of(user_id: str) -> str:
    return f"{_TAGS[shard_of(user_id)]}du:{user_id}"


def crossings(shard: int) -> str:
    return f"{_TAGS[shard]}dc"


def dispatch(what: str) -> str:
    """What is one for all channels or for a whole channel, and written by who dispatches."""
    return f"{_TAGS[0]}delivery:{what}"


def trail(user_id: str) -> str:
    return trail_prefix(shard_of(user_id)) + user_id


def trail_prefix(shard: int) -> str:
    """What stands before the user in the key of a score history."""
    return f"{_TAGS[shard]}h:"


def tally(shard: int, partition: int) -> str:
    return f"{_TAGS[shard]}ht:{partition}"


def population(partition: int) -> str:
    return f"{_TAGS[partition % SHARDS]}hp:{partition}"


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


def replaying(topic: str) -> str:
    """Who sends dead letters of the topic back."""
    return f"{_TAGS[HELD_SHARD]}replaying:{topic}"


def held(topic: str) -> str:
    return f"{_TAGS[HELD_SHARD]}held:{topic}"


def timeline(user_id: str, generation: int = FIRST) -> str:
    return timeline_prefix(shard_of(user_id), generation) + user_id


def timeline_prefix(shard: int, generation: int = FIRST) -> str:
    return f"{_TAGS[shard]}{generation}:ev:"


WORKERS = f"{_TAGS[0]}workers"


def worker(worker_id: str) -> str:
    return f"{_TAGS[0]}worker:{worker_id}"


POLICY = f"{_TAGS[0]}policy"


def alerts_of(user_id: str) -> str:
    return f"{_TAGS[shard_of(user_id)]}ua:{user_id}"


def open_episodes(shard: int) -> str:
    return f"{_TAGS[shard]}open"


def verdict(shard: int, dedup_key: str) -> str:
    return f"{_TAGS[shard]}v:{dedup_key}"


def verdict_log(shard: int) -> str:
    return f"{_TAGS[shard]}vl"


def trials(shard: int, partition: int) -> str:
    return f"{_TAGS[shard]}trials:{partition}"


def deliveries_in(shard: int, state: str, channel: str) -> str:
    """The log of one channel's deliveries in one state."""
    return f"{_TAGS[shard]}ds:{state}:{channel}"


def session(digest: str) -> str:
    return f"ebb:session:{digest}"


AUDIT = f"{_TAGS[0]}audit"
AUDIT_READS = f"{_TAGS[0]}audit-reads"
