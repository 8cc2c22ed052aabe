"""A store that knows its users already: records with scores, curves and timers, as in service."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import redis

from bench.stream.load import user_name
from bench.stream.stand import Stand
from contracts.activity import FoldRules
from contracts.events import ACTIVE, EVENT_ROW, NO_VALUE
from contracts.partition import SHARDS, home
from contracts.record import HAS_CURVE, HAS_SCORE, LEVELS, blank_records
from contracts.times import DAY_MS, HOUR_MS, NEVER
from contracts.topics import ACTIVITY
from model.artefact import Model
from model.fold import fold
from runtime import keys
from runtime.ledger import Effects
from scorer.keeping import keep

_CHUNK: Final = 20_000
_VISITS: Final = 3
"""Days on which each user was there before the benchmark begins."""
_CURVE: Final = (np.arange(LEVELS) * 40 + 20).astype("u2")
_SAMPLED: Final = 1_000


@dataclass(frozen=True)
class Memory:
    """Bytes a user in the store, all in and by kind."""

    total: float
    record: float
    timer: float
    rank: float


def fill(stand: Stand, users: int, model: Model, *, partitions: int, now_ms: int) -> Memory:
    """Empty the store, put in `users` known users and say what they weigh."""
    with redis.Redis.from_url(stand.redis_url) as client:
        # SYNC: else the server frees memory later, while we measure.
        client.execute_command("FLUSHALL", "SYNC")
        empty = _used(client)
        for start in range(0, users, _CHUNK):
            numbers = np.arange(start, min(start + _CHUNK, users))
            write(client, _effects(numbers, model, partitions, now_ms))
        memory = _weighed(client, users, empty, partitions)
        # As it is once a model has been in service for a while.
        active: Mapping[Any, Any] = {f"model:{p}": model.version for p in range(partitions)}
        client.hset(keys.marks(0, ACTIVITY, keys.FIRST), mapping=active)
    return memory


def _effects(numbers: np.ndarray, model: Model, partitions: int, now_ms: int) -> Effects:
    names = [user_name(number) for number in numbers.tolist()]
    homes = [home(name, partitions) for name in names]
    records = known_records(numbers, model, np.array(homes), now_ms)
    effects = Effects()
    keep(
        effects, names, records, generation=keys.FIRST, homes=homes,
        gone=np.zeros(len(names), bool), ttl_ms=None,
    )  # fmt: skip
    return effects


def known_records(numbers: np.ndarray, model: Model, homes: np.ndarray, now_ms: int) -> np.ndarray:
    """(n,) RECORD of users who came on three of the last days and have a score and a curve."""
    n = len(numbers)
    rows = np.zeros(n * _VISITS, EVENT_ROW)
    user = np.tile(np.arange(n), _VISITS)
    ago = np.repeat(np.arange(_VISITS, 0, -1), n) * DAY_MS + (numbers[user] % 1_000) * 3_000
    rows["occurred_at"] = rows["log_time"] = now_ms - ago
    rows["id"] = np.arange(len(rows)) * n + numbers[user]
    rows["signup_at"] = NEVER
    rows["cents"] = NO_VALUE
    rows["log_number"] = 0
    rows["pages"] = 1 + user % 5
    rows["seconds"] = 60 + user % 600
    rows["kind"] = ACTIVE
    records = blank_records(n)
    records["facts"] = fold(records["facts"], rows, user, FoldRules())
    outlook = records["outlook"]
    outlook["scored_at"] = records["facts"]["last_seen"]
    outlook["probability"] = 100_000 + numbers % 800_000
    outlook["model"] = model.hash
    outlook["curve"] = _CURVE
    outlook["home"] = homes
    outlook["state"] = HAS_CURVE | HAS_SCORE
    outlook["due"] = now_ms + (1 + numbers % 480) * HOUR_MS
    return records


def write(client: redis.Redis, effects: Effects) -> None:
    """The operations of a save, in few commands."""
    strings: dict[str, bytes] = {}
    scores: defaultdict[str, dict[Any, float]] = defaultdict(dict)
    for letter, names, arguments in effects.operations:
        if letter == "S":
            strings |= zip(names, cast("Sequence[bytes]", arguments), strict=True)
        elif letter == "Z":
            placed = zip(arguments[1::2], map(float, arguments[::2]), strict=True)
            scores[names[0]] |= dict(placed)
    with client.pipeline(transaction=False) as pipe:
        pipe.mset(strings)
        for key, members in scores.items():
            pipe.zadd(key, members)
        pipe.execute()


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def _weighed(client: redis.Redis, users: int, empty: int, partitions: int) -> Memory:
    total = (_used(client) - empty) / users
    # samples=0 walks the whole key; of records a sample will do, they are all alike.
    step = max(users // _SAMPLED, 1)
    names = [keys.record(user_name(n), keys.FIRST) for n in range(0, users, step)]
    timers = [keys.timers(s, p, keys.FIRST) for s in range(SHARDS) for p in range(partitions)]
    ranks = [keys.rank(s, keys.FIRST) for s in range(SHARDS)]

    def weight(of: list[str]) -> float:
        with client.pipeline(transaction=False) as pipe:
            for key in of:
                pipe.memory_usage(key, samples=200)
            return float(sum(told or 0 for told in pipe.execute()))

    return Memory(total, weight(names) / len(names), weight(timers) / users, weight(ranks) / users)
