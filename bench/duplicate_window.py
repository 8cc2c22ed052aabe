"""What the duplicate window costs: bytes a user, time in the fold, and events dropped by mistake.

    python -m bench.duplicate_window [--users 20000]

Bytes are what the embedded store says of records of this size and of sizes around it. Time is
the fold of batches of 2,000 events with and without the window, on one core. Mistakes are
n / 2**bits for each event: the chance that its id has the hash of one of the n in the window.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import redis

from contracts.activity import FoldRules
from contracts.events import ACTIVE, EVENT_ROW, NO_VALUE
from contracts.record import FACTS, ID_WINDOW, RECORD, blank_facts
from contracts.times import DAY_MS, MINUTE_MS, NEVER
from ebbtide import embedded
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, free_port
from model import fold as folding

RULES = FoldRules()
BATCH = 2_000
BATCHES = 40
NOON = 20_000 * DAY_MS + DAY_MS // 2
_ID_BYTES = 6


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--users", type=int, default=20_000)
    users: int = parser.parse_args().users
    window = ID_WINDOW * _ID_BYTES + 1
    print(f"{window} of {FACTS.itemsize} bytes of facts, {RECORD.itemsize} of a record")
    _print_bytes(users)
    _print_time(users)
    _print_mistakes()


def _print_bytes(users: int) -> None:
    print("\nrecord bytes   ids of 48 bits   bytes a user in the store, key and overhead included")
    guard = Guard()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        store = embedded.store(port, data=Path(folder), log_folder=Path(folder), guard=guard)
        store.start()
        client = redis.Redis(host=LOOPBACK, port=port)
        try:
            _until(client.ping)
            for ids in (0, 8, 16, 17, 24, 32, 38):
                size = RECORD.itemsize + (ids - ID_WINDOW) * _ID_BYTES
                print(f"{size:12}   {ids:14}   {_bytes_a_user(client, users, size):8.0f}")
        finally:
            client.close()
            store.stop()
            guard.close()


def _until(ping: Callable[[], object]) -> None:
    for _ in range(200):
        try:
            ping()
        except redis.ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the store does not start")


def _bytes_a_user(client: redis.Redis, users: int, size: int) -> float:
    client.flushall()
    pipe = client.pipeline(transaction=False)
    for user in range(users):
        pipe.set(f"ebb:{{{user % 16:02d}}}:u:user-{user:08d}", bytes(size))
    pipe.execute()
    sample = [f"ebb:{{{user % 16:02d}}}:u:user-{user:08d}" for user in range(0, users, 97)]
    return statistics.mean(int(client.memory_usage(key) or 0) for key in sample)


def _print_time(users: int) -> None:
    batches = _batches(users)
    with_window = _seconds(users, batches)
    kept, remember = folding.kept, folding.remember
    folding.kept = lambda facts, ids, at: np.ones(len(ids), np.bool_)
    folding.remember = lambda facts, ids, at: None
    try:
        without = _seconds(users, batches)
    finally:
        folding.kept, folding.remember = kept, remember
    each, bare = (seconds / (BATCH * BATCHES) * 1e6 for seconds in (with_window, without))
    share = 1 - bare / each
    print(f"\nfold: {each:.2f} us an event; {bare:.2f} without the window, which takes {share:.0%}")


def _batches(users: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows, their users within the batch, and those users; one event in fifty is a repeat."""
    random = np.random.default_rng(1)
    made = []
    for number in range(BATCHES):
        rows = np.zeros(BATCH, EVENT_ROW)
        rows["occurred_at"] = rows["log_time"] = NOON + number * MINUTE_MS
        rows["offset"] = number * BATCH + np.arange(BATCH)
        rows["id"] = random.integers(1, 2**48, BATCH)
        again = np.flatnonzero(random.random(BATCH) < 0.02)[1:]
        rows["signup_at"], rows["cents"] = NEVER, NO_VALUE
        rows["log_number"], rows["pages"], rows["kind"] = 1, 1, ACTIVE
        who = random.integers(0, users, BATCH)
        who[again], rows["id"][again] = who[again - 1], rows["id"][again - 1]
        known, at = np.unique(who, return_inverse=True)
        made.append((rows, at.astype(np.intp), known))
    return made


def _seconds(users: int, batches: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """The best of five passes."""
    best = float("inf")
    for _ in range(5):
        facts = blank_facts(users)
        began = time.process_time()
        for rows, at, known in batches:
            facts[known] = folding.fold(facts[known], rows, at, RULES)
        best = min(best, time.process_time() - began)
    return best


def _print_mistakes() -> None:
    room = ID_WINDOW * _ID_BYTES
    print(f"\nin the same {room} bytes: bits of a hash, ids, events dropped by mistake in 10^12")
    for size in (3, 4, 5, 6, 8):
        ids = room // size
        print(f"{size * 8:4} {ids:5}   {ids / 2 ** (size * 8) * 1e12:.3g}")


if __name__ == "__main__":
    main()
