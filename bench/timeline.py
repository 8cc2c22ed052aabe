"""What it costs to keep each user's last events: bytes, CPU time of an event, and time to read.

    python -m bench.timeline [--users 20000] [--events 60] [--keep 40] [--batch 2000] [--redis ...]

The embedded store unless another is named, which is emptied. Events of all users come interleaved,
as in a busy partition; every user gets `--events`, of which `--keep` stay.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from statistics import median
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry

from bench.store import store_at
from bench.stream.load import user_name
from contracts.activity import FoldRules
from contracts.events import ActivityEvent, encode
from contracts.times import DAY_MS, MINUTE_MS
from contracts.topics import ACTIVITY
from history.timeline import Keeping, TimelineHandler
from runtime import keys
from runtime.handler import Opening
from runtime.ledger import RedisLedger
from runtime.log_identity import Log
from runtime.metrics import WorkerMetrics
from runtime.store import connect
from runtime.testing import FakeRecord, record
from runtime.timeline import LEDGER, Timelines, counted

NOON: Final = 20_000 * DAY_MS + DAY_MS // 2
_READS: Final = 2_000


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=60, help="of each user")
    parser.add_argument("--keep", type=int, default=40, help="of each user")
    parser.add_argument("--batch", type=int, default=2_000, help="events written at once")
    parser.add_argument("--redis", help="address of a server to use (and empty)")
    args = parser.parse_args()
    with store_at(args.redis) as url:
        asyncio.run(_measure(url, args.users, args.events, args.keep, args.batch))


async def _measure(url: str, users: int, events: int, keep: int, batch: int) -> None:
    redis = connect(url)
    try:
        await redis.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]
        before = await redis.info()
        # One partition: everybody is at home there.
        log = Log(ACTIVITY, 1, UUID(int=1), 1)
        ledger = RedisLedger(redis, ACTIVITY, name=LEDGER)
        metrics = WorkerMetrics(CollectorRegistry(), ACTIVITY)
        handler = TimelineHandler(
            Opening(log, await ledger.marks(0), 0),
            Keeping(ledger, metrics, FoldRules(), keep),
        )
        total = users * events
        client = wall = 0.0
        for start in range(0, total, batch):
            records = [_record(at, users) for at in range(start, min(start + batch, total))]
            began, began_cpu = time.perf_counter(), time.process_time()
            await handler.handle(records)
            wall += time.perf_counter() - began
            client += time.process_time() - began_cpu
        after = await redis.info()
        server = sum(
            float(after[name]) - float(before[name]) for name in ("used_cpu_user", "used_cpu_sys")
        )
        weight = (after["used_memory"] - before["used_memory"]) / users
        sample = [user_name(n) for n in range(0, users, max(users // _READS, 1))]
        stored = await redis.lrange(keys.timeline(sample[0]), 0, -1)
        print(f"{total} events of {users} users, the last {keep} of each kept")
        each = sum(map(len, stored)) / len(stored)
        print(f"bytes of a user          {weight:8.0f}, all in; an event {each:.1f}")
        print(f"events a second          {total / wall:8.0f}, one partition, one at a time")
        print(f"client, us of an event   {client / total * 1e6:8.2f}")
        print(f"server, us of an event   {server / total * 1e6:8.2f}")
        timelines = Timelines(redis)
        took = []
        for user_id in sample:
            began = time.perf_counter()
            read = counted((await timelines.of(user_id, 0)).entries)
            took.append(time.perf_counter() - began)
            assert len(read) == min(keep, events)
        took.sort()
        print(
            f"to read one, ms          {median(took) * 1e3:8.2f} median, "
            f"{took[int(len(took) * 0.99)] * 1e3:.2f} at 99 %"
        )
    finally:
        await redis.aclose()


def _record(at: int, users: int) -> FakeRecord:
    """The event at an offset: everybody's first, then everybody's second, and so on."""
    user_id = user_name(at % users)
    event = ActivityEvent(
        user_id=user_id,
        type="purchase" if at % 17 == 0 else "page_view",
        event_id=f"e{at}",
        pages_visited=1 + at % 9,
        time_spent=1.5 * (at % 7),
        value=19.9 if at % 17 == 0 else None,
    )
    return record(encode(event), key=user_id, offset=at, timestamp=NOON + at // users * MINUTE_MS)


if __name__ == "__main__":
    main()
