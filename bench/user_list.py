"""What the list of users costs with many users: each request's time, reads, and the loop's pauses.

    python -m bench.user_list [--users 1000000] [--rounds 15] [--redis redis://...]

The embedded store unless another is named, which is emptied. The gateway's own list answers over
its own reader, in this process. Half of the users have been gone for months, a fifth have
cancelled, a sixth have no rhythm, two in five bring money. `pause` is the longest that the event
loop, which answers `/predict` too, was kept from a task that wants it every millisecond.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import redis

from bench.serving import model as bench_model
from bench.store import store_at
from bench.stream.known import write
from bench.stream.load import user_name
from contracts.activity import FoldRules
from contracts.events import ACTIVE, EVENT_ROW, NO_VALUE, category_hash
from contracts.lapse import has_lapsed
from contracts.partition import home
from contracts.record import CANCELLED, HAS_CURVE, HAS_SCORE, LAPSED, LEVELS, blank_records
from contracts.times import DAY_MS, HOUR_MS, NEVER
from ingest_api.mass_reads import Read
from ingest_api.records import RedisUsers
from ingest_api.user_export import Exports
from ingest_api.user_list import Part, RankedUsers, Selection, UserList
from model.artefact import Model
from model.fold import fold
from model.reasons import Explainer
from model.silence import value_at
from runtime import keys
from runtime.ledger import Effects
from runtime.store import connect
from scorer.keeping import keep

NOON: Final = 20_000 * DAY_MS + DAY_MS // 2
PARTITIONS: Final = 8
CHUNK: Final = 20_000
PLACES: Final = ("Oslo", "Lima", "Rome", "Kyoto")
RARE: Final = "Tuvalu"
RARE_OF: Final = 20_000
"""One user in so many lives there."""
PAGES: Final = 20
FOUND: Final = 10
"""Of those who live there, when the search for them ends."""
EXPORTED: Final = 20_000

QUERIES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("first page", {}),
    ("first page of 200", {"limit": "200"}),
    ("by value", {"order": "value"}),
    ("by change", {"order": "change"}),
    ("a place one in four has", {"location": ["Oslo"]}),
    (f"a place one in {RARE_OF:,} has", {"location": [RARE]}),
    ("seen within a week", {"silent_days_max": "7"}),
    ("risk below 0.5", {"max_risk": "0.5"}),
    ("a search that many match", {"search": "user-00"}),
    ("a search that few match", {"search": "user-0000012"}),
    ("a rule nobody has an alert of", {"rule": "none"}),
    ("who has lapsed", {"lapsed": "only"}),
    ("everybody", {"cancelled": "include", "evidence": "any", "lapsed": "include"}),
)


@dataclass(frozen=True)
class Cost:
    """Of one request: seconds, the loop's longest pause in seconds, and what it answered."""

    seconds: float
    pause: float
    rows: int
    walked: int
    read: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--redis", help="address of a server to use (and empty)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, store_at(args.redis) as url:
        model = bench_model.write(Path(folder) / "model")
        began = time.perf_counter()
        bytes_each = fill(url, args.users, model)
        took = time.perf_counter() - began
        print(f"{args.users:,} users, {bytes_each:.0f} bytes each, put in within {took:.0f} s")
        asyncio.run(_print_all(url, model, args.rounds))


def fill(url: str, users: int, model: Model) -> float:
    """Empty the store and put users in; bytes of each."""
    with redis.Redis.from_url(url) as client:
        client.execute_command("FLUSHALL", "SYNC")
        empty = int(client.info("memory")["used_memory"])
        for name in (*PLACES, RARE):
            client.hset(keys.NAMES, str(category_hash(name)), name.lower())
        for start in range(0, users, CHUNK):
            numbers = np.arange(start, min(start + CHUNK, users))
            names = [user_name(number) for number in numbers.tolist()]
            effects = Effects()
            keep(
                effects, names, _records(numbers, model), generation=keys.FIRST,
                homes=[home(name, PARTITIONS) for name in names],
                gone=np.zeros(len(names), bool), ttl_ms=None,
            )  # fmt: skip
            write(client, effects)
        return (int(client.info("memory")["used_memory"]) - empty) / users


def _records(numbers: np.ndarray, model: Model) -> np.ndarray:
    """(n,) RECORD of users with three visits, a score and a curve."""
    n = len(numbers)
    random = np.random.default_rng(int(numbers[0]))
    silent = np.where(random.random(n) < 0.5, 90 * random.random(n) + 30, random.exponential(6, n))
    last_seen = NOON - (silent * DAY_MS).astype(np.int64) - HOUR_MS
    visits = 3
    rows = np.zeros(n * visits, EVENT_ROW)
    user = np.tile(np.arange(n), visits)
    back = np.repeat(np.arange(visits)[::-1], n)
    rows["occurred_at"] = rows["log_time"] = last_seen[user] - back * 3 * DAY_MS
    rows["id"] = random.integers(1, 2**48, len(rows))
    rows["signup_at"], rows["cents"] = NEVER, NO_VALUE
    rows["pages"] = 1 + random.integers(0, 9, len(rows))
    rows["seconds"] = 60 + random.integers(0, 900, len(rows))
    hashes = np.array([category_hash(place) for place in PLACES])
    rows["location"] = np.where(
        numbers % RARE_OF == 0, category_hash(RARE), hashes[random.integers(0, len(PLACES), n)]
    )[user]
    rows["kind"] = ACTIVE
    records = blank_records(n)
    records["facts"] = fold(records["facts"], rows, user, FoldRules())
    facts = records["facts"]
    facts["gaps"] = np.where(random.random(n) < 1 / 6, 1, facts["gaps"])
    facts["flags"] |= np.where(random.random(n) < 0.2, CANCELLED, 0).astype("u1")
    facts["value_cents"] = np.where(random.random(n) < 0.4, random.lognormal(8, 1, n), 0)
    facts["purchase_cents"] = facts["value_cents"]
    outlook = records["outlook"]
    steps = random.integers(1, 40, (n, LEVELS)).cumsum(axis=1) - 20
    outlook["curve"] = np.maximum(steps, 0)
    reached = value_at(outlook["curve"], model.levels, silent * DAY_MS / HOUR_MS)
    outlook["probability"] = np.maximum(reached, 0.02) * 1e6 + random.integers(0, 20_000, n)
    outlook["scored_at"] = last_seen
    outlook["model"] = model.hash
    lapsed = has_lapsed(last_seen, model.horizon_days, np.full(n, NOON))
    outlook["state"] = HAS_CURVE | HAS_SCORE | lapsed * LAPSED
    outlook["due"] = NOON + (1 + numbers % 480) * HOUR_MS
    return records


async def _print_all(url: str, model: Model, rounds: int) -> None:
    client = connect(url, timeout_seconds=10.0)
    explainer = Explainer(model)
    explainer.prepare()

    async def wall(records: np.ndarray) -> np.ndarray:
        return np.full(len(records), NOON, np.int64)

    users = UserList(
        model=model, reader=RedisUsers(client, timeout_seconds=10.0), moments=wall,
        alert_threshold=0.7, explainer=explainer, rules=FoldRules(), now=lambda: NOON,
    )  # fmt: skip
    # As the gateway does: a full collection would look at all that is there.
    gc.freeze()
    try:
        await users.page(Part())
        print(f"{'':34}{'ms':>7}{'worst':>7}{'pause':>7}{'rows':>6}{'walked':>8}{'read':>7}")
        for title, query in QUERIES:
            part = Part.model_validate(query)
            _print(title, [await _cost(partial(users.page, part)) for _ in range(rounds)])
        costs, cursor = [], ""
        for _ in range(PAGES):
            part = Part(cursor=cursor)
            costs.append(await _cost(partial(users.page, part)))
            cursor = (await users.page(part)).next or ""
        _print(f"each of {PAGES} pages in turn", costs)
        page, pages, began = None, 0, time.perf_counter()
        found = 0
        while page is None or (page.next and found < FOUND):
            cursor = "" if page is None or page.next is None else page.next
            page = await users.page(Part(location=[RARE], cursor=cursor))
            pages, found = pages + 1, found + len(page.users)
        took = time.perf_counter() - began
        print(f"{found} who live in {RARE}: {pages} requests, {took:.1f} s in all")
        began, rows = time.perf_counter(), 0
        async for piece in Exports(users).pieces(Selection(), Read(is_export=True)):
            rows += piece.count(b"\n")
            if rows > EXPORTED:
                break
        took = time.perf_counter() - began
        print(f"export: {rows / took:,.0f} rows a second")
    finally:
        await client.aclose()


def _print(title: str, costs: list[Cost]) -> None:
    last = costs[-1]
    print(
        f"{title:34}{1e3 * median(c.seconds for c in costs):7.1f}"
        f"{1e3 * max(c.seconds for c in costs):7.1f}{1e3 * max(c.pause for c in costs):7.1f}"
        f"{last.rows:6}{last.walked:8}{last.read:7}"
    )


async def _cost(ask: Callable[[], Awaitable[RankedUsers]]) -> Cost:
    pauses: list[float] = []

    async def tick() -> None:
        while True:
            at = time.perf_counter()
            await asyncio.sleep(0.001)
            pauses.append(time.perf_counter() - at - 0.001)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    began = time.perf_counter()
    page = await ask()
    took = time.perf_counter() - began
    ticking.cancel()
    return Cost(
        took, max(pauses, default=0.0), len(page.users), page.looked.walked, page.looked.read
    )


if __name__ == "__main__":
    main()
