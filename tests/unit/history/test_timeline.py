"""The job that keeps each user's last events."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from contracts.activity import FoldRules
from contracts.errors import Refused, StoreUnavailable
from contracts.partition import home, shard
from contracts.topics import ACTIVITY, CLOCK_HEADER
from history.timeline import Keeping, TimelineHandler
from runtime import keys
from runtime.arrivals import source_header
from runtime.handler import Opening
from runtime.log_identity import Log
from runtime.metrics import WorkerMetrics
from runtime.testing import FakeLedger, FakeRecord, FakeRedis, record
from runtime.timeline import LEDGER, unpack

NOON = 1_790_000_000_000
PARTITIONS = 4
USERS = [user for user in (f"u{n}" for n in range(99)) if home(user, PARTITIONS) == 0]
ADA, BOB = next((a, b) for a in USERS for b in USERS if shard(a) != shard(b))


class Stage:
    """A partition of `activity-event` and who keeps what happens there."""

    def __init__(self, keep: int = 3) -> None:
        self.redis = FakeRedis()
        self.ledger = FakeLedger(self.redis, LEDGER)
        metrics = WorkerMetrics(CollectorRegistry(), ACTIVITY)
        self.keeping = Keeping(self.ledger, metrics, FoldRules(), keep)
        self.offset = 0

    async def opened(self, log: int = 1) -> TimelineHandler:
        identity = Log(ACTIVITY, log, UUID(int=log), PARTITIONS)
        return TimelineHandler(Opening(identity, await self.ledger.marks(0), 0), self.keeping)

    def did(self, user: str, kind: str = "page_view", **more: Any) -> FakeRecord:
        event = {"user_id": user, "type": kind, **more}
        return self.record(msgspec.json.encode(event), user)

    def record(self, value: bytes | None, user: str, **more: Any) -> FakeRecord:
        self.offset += 1
        at = self.offset - 1
        return record(value, key=user, offset=at, timestamp=NOON + 1000 * at, **more)

    def seconds(self, user: str) -> list[int]:
        """When the kept events of a user occurred, in seconds after noon."""
        stored = self.redis.state.lists.get(keys.timeline(user), [])
        return [unpack(each).occurred_at - NOON // 1000 for each in stored]


async def test_the_last_events_are_kept_in_log_order():
    """Over batches, of each user as many as are asked for or a quarter more, for at least
    the retention."""
    stage = Stage(keep=4)
    handler = await stage.opened()

    await handler.handle([stage.did(ADA), stage.did(BOB), stage.did(ADA)])
    await handler.handle([stage.did(ADA) for _ in range(2)])
    await handler.handle([stage.did(BOB) for _ in range(6)])

    assert ([0, 2, 3, 4], [7, 8, 9, 10]) == (stage.seconds(ADA), stage.seconds(BOB))
    assert 2 * FoldRules().retention_ms == stage.redis.state.lifetimes_ms[keys.timeline(ADA)]


@pytest.mark.parametrize("fault", ["fails_before", "fails_after"])
async def test_a_batch_counts_once_whatever_is_lost(fault):
    """A save that fails, or whose answer is lost, leaves the same events as one that works."""
    stage = Stage(keep=9)
    batch = [stage.did(ADA), stage.did(BOB), stage.did(ADA)]
    setattr(stage.ledger, fault, StoreUnavailable("gone"))
    with pytest.raises(StoreUnavailable):
        await (await stage.opened()).handle(batch)

    await (await stage.opened()).handle([*batch, stage.did(ADA)])

    assert ([0, 2, 3], [1]) == (stage.seconds(ADA), stage.seconds(BOB))


async def test_what_was_sent_home_twice_counts_once():
    """Whatever lies between, in this batch or in another worker's."""
    stage = Stage(keep=40)

    def sent(source: int) -> FakeRecord:
        event = msgspec.json.encode({"user_id": ADA, "type": "login"})
        return stage.record(event, ADA, headers=[source_header(UUID(int=1), 2, source)])

    await (await stage.opened()).handle([sent(5), sent(6), sent(5)])
    await (await stage.opened()).handle([sent(6), *[stage.did(ADA) for _ in range(20)]])
    await (await stage.opened()).handle([sent(5), sent(7)])

    assert [0, 1, *range(4, 24), 25] == stage.seconds(ADA)


async def test_a_batch_that_holds_more_than_is_kept_leaves_no_gap():
    """What comes before the last of them goes, also what was there already."""
    stage = Stage(keep=8)
    handler = await stage.opened()

    await handler.handle([stage.did(ADA)])
    await handler.handle([stage.did(ADA) for _ in range(9)])

    assert list(range(2, 10)) == stage.seconds(ADA)


async def test_who_is_not_the_owner_any_more_writes_nothing():
    """The second of two that begin at the same marks is refused."""
    stage = Stage()
    first, second = await stage.opened(), await stage.opened()
    batch = [stage.did(ADA)]
    await first.handle(batch)

    with pytest.raises(Refused):
        await second.handle(batch)

    assert [0] == stage.seconds(ADA)


async def test_a_shard_that_is_behind_gets_what_it_lacks_only():
    """After a save that reached some shards, the events of the others follow."""
    stage = Stage()
    batch = [stage.did(ADA), stage.did(BOB)]
    await (await stage.opened()).handle(batch)
    await stage.redis.delete(keys.timeline(BOB))
    await stage.redis.hset(keys.marks(shard(BOB), LEDGER), "0", "1:0")

    await (await stage.opened()).handle(batch)

    assert ([0], [1]) == (stage.seconds(ADA), stage.seconds(BOB))


async def test_an_erased_user_begins_anew():
    """What came before the erasure goes, in the same batch and in earlier ones."""
    stage = Stage(keep=9)
    handler = await stage.opened()
    await handler.handle([stage.did(ADA), stage.did(BOB)])

    await handler.handle([stage.did(ADA), stage.record(None, ADA), stage.did(ADA)])
    assert ([4], [1]) == (stage.seconds(ADA), stage.seconds(BOB))

    await handler.handle([stage.record(None, BOB)])
    assert [] == stage.seconds(BOB)


async def test_what_is_the_scorers_is_left_to_it():
    """Clock records, what cannot be read, and users who live elsewhere leave no event."""
    stage = Stage(keep=9)
    away = next(user for user in map(str, range(99)) if home(user, PARTITIONS) == 1)
    records = [
        stage.record(None, "", headers=[(CLOCK_HEADER, b"1")]),
        stage.record(b"{", ADA),
        stage.did(ADA, occurred_at="2199-01-01T00:00:00Z"),
        stage.did(away),
        stage.did(ADA),
    ]

    handler = await stage.opened()
    await handler.handle(records)

    assert ([4], []) == (stage.seconds(ADA), stage.seconds(away))
    assert 5 == handler.marks.next_offset(0, 1)
    assert NOON + 4000 == handler.log_time


async def test_a_new_log_is_read_from_its_beginning():
    """Offsets of the log before are no repeats."""
    stage = Stage(keep=9)
    await (await stage.opened()).handle([stage.did(ADA)])
    stage.offset = 0

    await (await stage.opened(log=2)).handle([stage.did(ADA)])

    assert [0, 0] == stage.seconds(ADA)
