"""What a user costs in the record store: bytes, and CPU time of client and server.

    python -m bench.store [--users 100000] [--batch 2000] [--rounds 40] [--redis redis://...]

The embedded store unless another is named, which is emptied. Users are read and written as the
scorer does, a partition's batch at a time, everything of them changed: record, timer and ranks. CPU
time is of the whole process on either side; the server's own count of a command leaves out what it
takes to receive it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from redis.asyncio import Redis

from bench.stream.load import user_name
from contracts.activity import FoldRules
from contracts.events import ACTIVE, EVENT_ROW, NO_VALUE
from contracts.partition import SHARDS, home
from contracts.record import HAS_CURVE, HAS_SCORE, LEVELS, blank_records
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, NEVER
from contracts.topics import ACTIVITY
from ebbtide import embedded
from ebbtide.child import Child
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, free_port
from model.fold import fold
from runtime import keys
from runtime.ledger import Effects, Mark, Marks, RedisLedger
from runtime.records import RecordStore
from runtime.store import connect
from scorer.keeping import keep

PARTITIONS: Final = 8
NOON: Final = 20_000 * DAY_MS + DAY_MS // 2
_SAMPLED: Final = 1_000
_CURVE: Final = (np.arange(LEVELS) * 40 + 20).astype("u2")


@dataclass(frozen=True)
class Habit:
    """How users came before the benchmark: on how many days in a row, how often a day."""

    title: str
    days: int
    visits: int
    pay: bool = False
    """Whether they bring money, and so stand in the index by worth, too."""


HABITS: Final = (
    Habit("3 days, once a day", 3, 1),
    Habit("10 days, twice a day", 10, 2),
    Habit("28 days, four times a day", 28, 4),
    Habit("10 days, twice, and pay", 10, 2, pay=True),
)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=2_000, help="users read and written at once")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--redis", help="address of a server to use (and empty)")
    args = parser.parse_args()
    with store_at(args.redis) as url:
        asyncio.run(_print_all(url, args.users, args.batch, args.rounds))


async def _print_all(url: str, users: int, batch: int, rounds: int) -> None:
    redis = connect(url)
    try:
        print(f"{users} users, bytes of each in the store")
        print(f"{'they came on':27} {'all in':>7} {'record':>7} {'timer':>7} {'rank':>7}  value")
        for habit in HABITS:
            told = await _bytes(redis, habit, users)
            print(
                f"{habit.title:27} {told['total']:7.0f} {told['record']:7.0f} "
                f"{told['timer']:7.0f} {told['rank']:7.0f}  {told['value']:.0f}"
            )
        print(f"\nusers read and written {batch} at once, microseconds of CPU time a user")
        print(f"{'they came on':27} {'client':>28}   {'server':>28}")
        print(f"{'':27} {'load':>9}{'effects':>9}{'save':>9}   {'mget':>9}{'script':>9}{'all':>9}")
        for habit in HABITS:
            await _bytes(redis, habit, users)
            took = await _cpu(redis, habit, users, batch, rounds)
            print(
                f"{habit.title:27} {took['load']:9.2f}{took['effects']:9.2f}{took['save']:9.2f}   "
                f"{took['mget']:9.2f}{took['script']:9.2f}{took['server']:9.2f}"
            )
    finally:
        await redis.aclose()


async def _bytes(redis: Redis, habit: Habit, users: int) -> Mapping[str, float]:
    """Empty the store, put users in, and say what they weigh."""
    # SYNC: else the server frees memory later, while we measure.
    await redis.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]
    empty = (await redis.info("memory"))["used_memory"]
    ledger = RedisLedger(redis, ACTIVITY)
    for partition, numbers in _by_home(users).items():
        marks = await ledger.marks(partition)
        for start in range(0, len(numbers), 2_000):
            part = numbers[start : start + 2_000]
            effects = _effects(part, _records(part, habit, partition), partition)
            marks = await ledger.save(marks, Mark(1, start + 1), NOON, effects)
    total = (await redis.info("memory"))["used_memory"] - empty
    sample = [keys.record(user_name(n)) for n in range(0, users, max(users // _SAMPLED, 1))]
    timers = [keys.timers(s, p) for s in range(SHARDS) for p in range(PARTITIONS)]
    ranks = [keys.rank(s) for s in range(SHARDS)]
    lengths = [len(value or b"") for value in await redis.mget(sample)]
    return {
        "total": total / users,
        "record": await _weight(redis, sample) / len(sample),
        "timer": await _weight(redis, timers) / users,
        "rank": await _weight(redis, ranks) / users,
        "value": sum(lengths) / len(lengths),
    }


async def _weight(redis: Redis, names: list[str]) -> float:
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.memory_usage(name, samples=200)
        return float(sum(told or 0 for told in await pipe.execute()))


async def _cpu(
    redis: Redis, habit: Habit, users: int, batch: int, rounds: int
) -> Mapping[str, float]:
    """Microseconds a user by step, of a store that holds them."""
    random = np.random.default_rng(3)
    ledger, store = RedisLedger(redis, ACTIVITY), RecordStore(redis, keys.FIRST)
    homes = _by_home(users)
    marks = {partition: await ledger.marks(partition) for partition in homes}
    spent = {"load": 0.0, "effects": 0.0, "save": 0.0}
    done = 0
    before = await _server(redis)
    for number in range(rounds):
        partition = number % PARTITIONS
        who = homes[partition]
        chosen = random.choice(who, min(batch, len(who)), replace=False)
        names = [user_name(n) for n in chosen.tolist()]
        with _timed(spent, "load"):
            records = await store.load(names)
        _act(records, random)
        with _timed(spent, "effects"):
            effects = _effects(chosen, records, partition)
        with _timed(spent, "save"):
            marks[partition] = await _saved(ledger, marks[partition], number, effects)
        done += len(names)
    after = await _server(redis)
    server = {name: after[name] - before[name] for name in after}
    return {name: value / done * 1e6 for name, value in {**spent, **server}.items()}


async def _saved(ledger: RedisLedger, marks: Marks, number: int, effects: Effects) -> Marks:
    return await ledger.save(marks, Mark(2, number + 1), NOON, effects)


def _act(records: np.ndarray, random: np.random.Generator) -> None:
    """Everybody comes once more."""
    facts, outlook = records["facts"], records["outlook"]
    facts["last_seen"] += MINUTE_MS
    facts["offset"] += 1
    facts["pages"] += 1
    outlook["due"] += MINUTE_MS
    outlook["scored_at"] += MINUTE_MS
    outlook["probability"] = random.integers(0, 1_000_000, len(records))


def _effects(numbers: np.ndarray, records: np.ndarray, partition: int) -> Effects:
    names = [user_name(number) for number in numbers.tolist()]
    effects = Effects()
    keep(
        effects, names, records, generation=keys.FIRST, homes=[partition] * len(names),
        gone=np.zeros(len(names), bool), ttl_ms=None,
    )  # fmt: skip
    return effects


def _by_home(users: int) -> dict[int, np.ndarray]:
    """Numbers of the users of each partition."""
    homes = np.array([home(user_name(number), PARTITIONS) for number in range(users)])
    return {partition: np.flatnonzero(homes == partition) for partition in range(PARTITIONS)}


def _records(numbers: np.ndarray, habit: Habit, partition: int) -> np.ndarray:
    """(n,) RECORD of users with this habit who have a score and a curve."""
    n = len(numbers)
    each = habit.days * habit.visits
    rows = np.zeros(n * each, EVENT_ROW)
    user = np.tile(np.arange(n), each)
    visit = np.repeat(np.arange(each), n)
    ago = (habit.days - visit // habit.visits) * DAY_MS - visit % habit.visits * 3 * HOUR_MS
    rows["occurred_at"] = rows["log_time"] = NOON - ago + (numbers[user] % 1_000) * 3_000
    random = np.random.default_rng(numbers[:1])
    rows["id"] = random.integers(1, 2**48, len(rows))
    rows["offset"] = 1_000_000 + np.arange(len(rows))
    rows["signup_at"], rows["cents"], rows["log_number"] = NEVER, NO_VALUE, 1
    rows["pages"] = 1 + random.integers(0, 9, len(rows))
    rows["seconds"] = 60 + random.integers(0, 900, len(rows))
    rows["type_slot"] = random.integers(0, 4, len(rows))
    for name in ("location", "device_type"):
        rows[name] = random.integers(1, 2**32, n)[user]
    rows["kind"] = ACTIVE
    records = blank_records(n)
    records["facts"] = fold(records["facts"], rows, user, FoldRules())
    if habit.pay:
        cents = random.integers(500, 50_000, n)
        records["facts"]["value_cents"] = records["facts"]["purchase_cents"] = cents
    outlook = records["outlook"]
    outlook["scored_at"] = records["facts"]["last_seen"]
    outlook["probability"] = random.integers(0, 1_000_000, n)
    outlook["model"] = 0x9E3779B9
    outlook["curve"] = _CURVE
    outlook["home"] = partition
    outlook["state"] = HAS_CURVE | HAS_SCORE
    outlook["due"] = NOON + (1 + numbers % 480) * HOUR_MS
    return records


@contextmanager
def _timed(spent: dict[str, float], step: str) -> Iterator[None]:
    began = time.process_time()
    yield
    spent[step] += time.process_time() - began


async def _server(redis: Redis) -> dict[str, float]:
    """CPU seconds of the server: in reads, in scripts, in all."""
    commands: Any = await redis.info("commandstats")
    cpu: Any = await redis.info("cpu")

    def seconds(command: str) -> float:
        return float(commands.get(f"cmdstat_{command}", {"usec": 0})["usec"]) / 1e6

    return {
        "mget": seconds("mget"),
        "script": seconds("evalsha"),
        "server": float(cpu["used_cpu_user"] + cpu["used_cpu_sys"]),
    }


@contextmanager
def store_at(url: str | None) -> Iterator[str]:
    """The address of the server: the one named, or one of the benchmark's own."""
    if url is not None:
        yield url
        return
    guard = Guard()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        store: Child = embedded.store(port, data=Path(folder), log_folder=Path(folder), guard=guard)
        store.start()
        try:
            while not store.is_ready():
                if store.exit_code() is not None:
                    raise RuntimeError("\n".join(["the store does not start", *store.last_lines()]))
                time.sleep(0.01)
            yield f"redis://{LOOPBACK}:{port}/0"
        finally:
            store.stop()
            guard.close()


if __name__ == "__main__":
    main()
