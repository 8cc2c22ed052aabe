"""A history worker's surroundings in memory, and what it left there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from uuid import UUID

from prometheus_client import CollectorRegistry

from contracts import history
from contracts import population as stored
from contracts.bands import CELLS
from contracts.history import Trail
from contracts.partition import SHARDS
from contracts.population import Closing, Cohort, PopulationNow, TallyNow
from contracts.scores import ChurnScore, encode_score
from contracts.times import to_ms
from contracts.topics import SCORES
from history.handler import Archive, HistoryHandler
from runtime import keys
from runtime.handler import Opening
from runtime.log_identity import Log
from runtime.metrics import WorkerMetrics
from runtime.testing import FakeLedger, FakeRecord, FakeRedis, RedisState, record

PARTITION = 3
RETENTION_DAYS = 90


@dataclass
class Bench:
    """What a handler works on."""

    redis: FakeRedis = field(default_factory=FakeRedis)
    metrics: WorkerMetrics = field(
        default_factory=lambda: WorkerMetrics(CollectorRegistry(), SCORES)
    )
    points: int = 40

    def __post_init__(self) -> None:
        self.ledger = FakeLedger(self.redis, f"{SCORES}.history")

    async def opened(self, log: int = 1) -> HistoryHandler:
        """A handler as a worker that has just come to own the partition makes it."""
        marks = await self.ledger.marks(PARTITION)
        return HistoryHandler(
            Opening(Log(SCORES, log, UUID(int=log), 8), marks, 0),
            Archive(
                redis=self.redis.client,
                ledger=self.ledger,
                metrics=self.metrics,
                points=self.points,
                retention_days=RETENTION_DAYS,
                trail_ttl_ms=1_000,
            ),
        )

    def trails(self) -> dict[str, Trail]:
        """Every user's trail."""
        return {
            name.split(":h:", 1)[1]: history.decode(value)
            for name, value in self.redis.state.strings.items()
            if ":h:" in name
        }

    def now(self) -> PopulationNow:
        return stored.unpack(self._population()["now"], PopulationNow)

    def gone(self) -> int:
        """The day through which users have expired."""
        fields = self.redis.state.hashes[keys.tally(0, PARTITION)]
        return stored.unpack(fields["now"], TallyNow).gone

    def counted(self) -> list[list[int]]:
        """By shard, the users by cell."""
        hashes = (self.redis.state.hashes.get(keys.tally(n, PARTITION), {}) for n in range(SHARDS))
        return [
            stored.unpack(each["now"], TallyNow).counts if "now" in each else [0] * CELLS
            for each in hashes
        ]

    def closings(self, kind: str) -> dict[int, Closing]:
        """Of hours (`h`) or days (`d`)."""
        return {
            int(name[1:]): stored.unpack(value, Closing)
            for name, value in self._population().items()
            if name[:1] == kind and name[1:].isdigit()
        }

    def cohorts(self) -> Counter[tuple[int, int, int, str]]:
        """By day, horizon and cell: `users`, who of them `returned`, or perhaps did, and `late`."""
        found: Counter[tuple[int, int, int, str]] = Counter()
        for name, value in self._population().items():
            if name[:1] == "c":
                for each in stored.unpack(value, list[Cohort]):
                    key = (int(name[1:]), each.horizon, each.cell)
                    found[*key, "users"] += each.users
                    found[*key, "returned"] += each.returned
                    found[*key, "unknown"] += each.unknown
                    found[*key, "late"] += each.late
        return +found

    def _population(self) -> dict[str, bytes]:
        return self.redis.state.hashes.get(keys.population(PARTITION), {})


def kept(state: RedisState) -> tuple[dict[str, bytes], dict[str, dict[str, bytes]]]:
    """Everything, for comparing two workers' work."""
    return state.strings, state.hashes


def log_of(*entries: ChurnScore | str, start: int = 0) -> list[FakeRecord]:
    """Records of the partition, in the order given: scores, and users who are erased."""
    made: list[FakeRecord] = []
    time = 0
    for offset, entry in enumerate(entries, start):
        if isinstance(entry, str):
            one = record(None, key=entry, timestamp=time)
        else:
            time = to_ms(entry.scored_at)
            one = record(encode_score(entry), key=entry.user_id, timestamp=time)
        made.append(replace(one, partition=PARTITION, offset=offset))
    return made


def cuts(records: Sequence[FakeRecord], at: Iterable[int]) -> list[Sequence[FakeRecord]]:
    """The records in batches, none of them empty."""
    edges = sorted({0, len(records), *(min(each, len(records)) for each in at)})
    return [records[a:b] for a, b in pairwise(edges)]
