"""What the history must hold at the end, from `churn-score` and what its docs say it keeps.

Twice. Points, users by band, hours and days are counted here, from the scores alone. And the whole
log is read by a history worker in memory, whom nobody disturbs: every field in the store, cohorts
and all, must be as it leaves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final
from uuid import UUID

import msgspec
from prometheus_client import CollectorRegistry

from contracts import population as stored
from contracts.bands import CELLS, band_of, cell_of, is_simulated, kind_in, standing_of
from contracts.errors import Misconfigured
from contracts.history import decode
from contracts.lapse import lapsed_after_days
from contracts.population import DAYS_KEPT, HOURS_KEPT, NOW, Closing, PopulationNow
from contracts.scores import ChurnScore
from contracts.times import DAY_MS, HOUR_MS, SECOND_MS, from_ms, to_ms
from contracts.topics import SCORES
from history.handler import Archive, HistoryHandler
from history.main import LEDGER
from history.settings import HistorySettings
from runtime import keys
from runtime.handler import Opening
from runtime.history import Point, history_of
from runtime.log_identity import Log
from runtime.metrics import WorkerMetrics
from runtime.testing import FakeLedger, FakeRedis, RedisState
from tests.chaos.check import Check
from tests.chaos.tap import Tapped
from tests.chaos.wire import WireScore, is_clock

BATCH: Final = 2_000


@dataclass(frozen=True)
class Keeping:
    """What the settings of a run ask to keep."""

    points: int
    retention_days: int
    timeline_events: int
    whole_hours: bool = True
    """Not on a Redis Cluster: an hour that closes while a save fails in part may hold more."""

    @classmethod
    def of(cls, settings: HistorySettings, *, whole_hours: bool) -> Keeping:
        return cls(
            settings.history_points,
            settings.retention_days,
            settings.timeline_events,
            whole_hours,
        )


@dataclass(frozen=True)
class Kept:
    """What the store holds of the past."""

    trails: Mapping[str, bytes] = field(default_factory=dict)
    """By user."""
    counts: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Hashes of tallies and populations, by key, by field."""
    timelines: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    """By user."""


def checks(
    records: Sequence[Tapped],
    scores: Sequence[WireScore],
    kept: Kept,
    partitions: int,
    keeping: Keeping,
) -> list[Check]:
    """All that is said here of trails and counts; records, scores: of `churn-score`."""
    counted = counted_from(records, scores, partitions, keeping)
    return [
        points_check(counted, kept, keeping),
        population_check(counted, kept, keeping),
        undisturbed_check(asyncio.run(undisturbed(records, partitions, keeping)), kept, keeping),
    ]


# Counted from the scores.


@dataclass(slots=True)
class _User:
    """Where somebody stands, and all their scores since their history began."""

    order: tuple[int, int, int]
    cell: int
    seen_day: int
    is_counted: bool = False
    points: list[Point] = field(default_factory=list)
    model: str = ""


class Counted:
    """One partition: its users by cell as time goes on."""

    def __init__(self, retention_days: int) -> None:
        self.users: dict[str, _User] = {}
        self.counts = [0] * CELLS
        self.lapsed: list[int] = []
        """Of the counts; nothing before a model was met."""
        self.hours: dict[int, Closing] = {}
        self.days: dict[int, Closing] = {}
        self.clock: int | None = None
        self._retention_days = retention_days
        self._gone = self._silent = -1
        """Who was last seen on these days or before has expired, and has lapsed."""
        self._horizon_days: int | None = None
        self._hour, self._day = [0, 0], [0, 0]

    def reaches(self, moment: int) -> None:
        """Time comes so far: hours and days end with what was known by then."""
        before, self.clock = self.clock, moment if self.clock is None else max(self.clock, moment)
        if before is None:
            self._expires(self.clock // DAY_MS)
            return
        for hour in range(before // HOUR_MS, self.clock // HOUR_MS):
            self.hours[hour] = self._closing(self._hour)
            self._hour = [0, 0]
            if (hour + 1) * HOUR_MS % DAY_MS == 0:
                day = hour * HOUR_MS // DAY_MS
                self.days[day] = self._closing(self._day)
                self._day = [0, 0]
                self._expires(day + 1)

    def _closing(self, brought: Sequence[int]) -> Closing:
        activity, scores = brought
        return Closing(list(self.counts), activity, scores, list(self.lapsed))

    def _expires(self, today: int) -> None:
        """Whoever was last seen a retention before yesterday's midnight is counted no more."""
        self._gone = max(self._gone, today - self._retention_days - 1)
        for user in self.users.values():
            if user.is_counted and user.seen_day <= self._gone:
                self._leaves(user)
        self._lapses(today)

    def _lapses(self, today: int) -> None:
        """Whoever was last seen as long ago as the model's knowledge reaches is told apart."""
        if self._horizon_days is None:
            return
        self._silent = today - lapsed_after_days(self._horizon_days) - 1
        self.lapsed = [0] * CELLS
        for user in self.users.values():
            self.lapsed[user.cell] += user.is_counted and user.seen_day <= self._silent

    def _enters(self, user: _User) -> None:
        user.is_counted = user.seen_day > self._gone
        self._counts(user, user.is_counted)

    def _leaves(self, user: _User) -> None:
        self._counts(user, -user.is_counted)
        user.is_counted = False

    def _counts(self, user: _User, by: int) -> None:
        self.counts[user.cell] += by
        if user.seen_day <= self._silent:
            self.lapsed[user.cell] += by

    def erases(self, user_id: str) -> None:
        if (user := self.users.pop(user_id, None)) is not None:
            self._leaves(user)

    def tells(self, score: ChurnScore) -> None:
        """Count a score, unless its user has a higher one."""
        scored_at = to_ms(score.scored_at)
        order = (score.position.log, score.position.offset, scored_at)
        before = self.users.get(score.user_id)
        if before is not None and order <= before.order:
            return
        standing = standing_of(score.origin, score.cancelled, score.evidence.usual_gap_hours)
        seen = scored_at if score.last_seen_at is None else to_ms(score.last_seen_at)
        user = _User(
            order,
            cell_of(band_of(score.churn_probability), standing),
            seen // DAY_MS,
            model=score.model_version,
        )
        new_model = False
        if before is not None:
            self._leaves(before)
            if before.seen_day > self._gone:
                user.points = before.points
                new_model = before.model != user.model
        self.users[score.user_id] = user
        self._enters(user)
        if self._horizon_days is None and self.clock is not None:
            self._horizon_days = score.horizon_days  # a run has one model
            self._lapses(self.clock // DAY_MS)
        user.points.append(
            Point(
                at=from_ms(scored_at // SECOND_MS * SECOND_MS),
                probability=round(score.churn_probability * 1e6) / 1e6,
                trigger=score.trigger,
                new_model=new_model,
                little_evidence=kind_in(standing) == "little_evidence",
                cancelled=kind_in(standing) == "cancelled",
                simulated=is_simulated(standing),
            )
        )
        for activity_and_all in (self._hour, self._day):
            activity_and_all[0] += score.trigger == "activity"
            activity_and_all[1] += 1


def counted_from(
    records: Sequence[Tapped], scores: Sequence[WireScore], partitions: int, keeping: Keeping
) -> list[Counted]:
    """By partition, what comes of the records one by one; scores: those among them, in order."""
    counted = [Counted(keeping.retention_days) for _ in range(partitions)]
    told = iter(scores)
    for record in _in_order(records):
        here = counted[record.partition]
        here.reaches(record.timestamp)
        if is_clock(record):
            continue
        score = next(told).score
        if score is None:
            here.erases((record.key or b"").decode())
        else:
            here.tells(score)
    return counted


def kept_of(points: Sequence[Point], found: int, most: int) -> tuple[Point, ...]:
    """Those that stay: the last quarter, and before it of each UTC day the highest and the last.

    found: how many there are. Of the days' points the oldest go; one more than had to may be gone,
    where the highest point of a day became its last.
    """
    last = -(-most // 4)
    earlier: list[Point] = []
    for _, of_day in groupby(points[:-last], key=lambda point: point.at.date()):
        day = list(of_day)
        highest = max(day, key=lambda point: point.probability)
        earlier += [highest, day[-1]] if highest is not day[-1] else [highest]
    room = most - last
    enough = min(max(found - last, room - 1), room)
    kept = [*earlier[max(len(earlier) - enough, 0) :], *points[-last:]]
    return tuple(_models_told(points, kept))


def _models_told(points: Sequence[Point], kept: Sequence[Point]) -> Iterator[Point]:
    """A change of the model is told by the first point kept after it; the first one tells none."""
    changes, numbers = 0, {}
    for point in points:
        changes += point.new_model
        numbers[id(point)] = changes
    before = numbers[id(kept[0])] if kept else 0
    for point in kept:
        number = numbers[id(point)]
        yield msgspec.structs.replace(point, new_model=number != before)
        before = number


def points_check(counted: Sequence[Counted], kept: Kept, keeping: Keeping) -> Check:
    """Everybody's points against their scores."""
    check = Check("each user's history shows the scores it is to keep, each once")
    users = {user_id: user for here in counted for user_id, user in here.users.items()}
    for user_id, user in users.items():
        try:
            shown = history_of(decode(kept.trails[user_id])) if user_id in kept.trails else None
        except Misconfigured as error:
            check.differs(f"{user_id}: {error}")
            continue
        found = () if shown is None else shown.points
        expected = kept_of(user.points, len(found), keeping.points)
        check.expect(
            expected == found,
            f"{user_id}: {len(found)} of {len(expected)} points, from {_unlike(expected, found)}",
        )
    for user_id in kept.trails.keys() - users.keys():
        check.differs(f"{user_id}: a history of nobody")
    return check


def _unlike(expected: Sequence[Point], found: Sequence[Point]) -> str:
    for a, b in zip(expected, found, strict=False):
        if a != b:
            return f"{b} instead of {a}"
    return "the end"


def population_check(counted: Sequence[Counted], kept: Kept, keeping: Keeping) -> Check:
    """Users by band: now, and when each kept hour and day ended, with what it brought."""
    check = Check("users by band, each hour and each day, are as the scores say")
    for partition, here in enumerate(counted):
        fields = dict(kept.counts.get(keys.population(partition), {}))
        if here.clock is None:
            check.expect(not fields, f"partition {partition}: counts of nothing")
            continue
        now = stored.unpack(fields[NOW], PopulationNow) if NOW in fields else None
        check.expect(
            now is not None and (now.counts, now.lapsed) == (here.counts, here.lapsed),
            f"partition {partition}: {now} instead of {here.counts} and {here.lapsed}",
        )
        hours = here.clock // HOUR_MS - HOURS_KEPT
        days = here.clock // DAY_MS - DAYS_KEPT
        expected = {stored.hour_field(n): each for n, each in here.hours.items() if n >= hours}
        expected |= {stored.day_field(n): each for n, each in here.days.items() if n >= days}
        found = {
            name: stored.unpack(value, Closing)
            for name, value in fields.items()
            if name[0] in "hd" and name[1:].isdigit()
        }
        for name in sorted(expected.keys() | found.keys()) if keeping.whole_hours else ():
            check.expect(
                expected.get(name) == found.get(name),
                f"partition {partition}, {name}: {found.get(name)} instead of {expected.get(name)}",
            )
    return check


# By a worker that nobody disturbs.


async def undisturbed(records: Sequence[Tapped], partitions: int, keeping: Keeping) -> RedisState:
    """What a history worker leaves that reads the log in large steps and never fails."""
    redis = FakeRedis()
    ledger = FakeLedger(redis, LEDGER)
    archive = Archive(
        redis=redis.client,
        ledger=ledger,
        metrics=WorkerMetrics(CollectorRegistry(), SCORES),
        points=keeping.points,
        retention_days=keeping.retention_days,
        trail_ttl_ms=1,
    )
    for (log, partition), of_one in groupby(_in_order(records), key=lambda r: (r.log, r.partition)):
        rows = list(of_one)
        marks = await ledger.marks(partition)
        handler = HistoryHandler(
            Opening(Log(SCORES, log, UUID(int=log), partitions), marks, 0), archive
        )
        for start in range(0, len(rows), BATCH):
            await handler.handle(rows[start : start + BATCH])
    return redis.state


def undisturbed_check(expected: RedisState, kept: Kept, keeping: Keeping) -> Check:
    """Every trail and every field of every count, byte by byte."""
    check = Check("trails, counts and cohorts equal those of a worker nobody disturbs")
    trails = {name.split(":", 3)[3]: value for name, value in expected.strings.items()}
    for user_id in trails.keys() | kept.trails.keys():
        check.expect(
            trails.get(user_id) == kept.trails.get(user_id), f"{user_id}: another trail is stored"
        )
    hashes = {name: fields for name, fields in expected.hashes.items() if _is_count(name)}
    for name in hashes.keys() | kept.counts.keys():
        wanted, found = hashes.get(name, {}), kept.counts.get(name, {})
        for each in wanted.keys() | found.keys():
            if not keeping.whole_hours and (each[0] in "hd" or each == NOW):
                continue  # `population_check` has looked at what is exact of them
            check.expect(
                wanted.get(each) == found.get(each),
                f"{name} {each}: {_readable(found, each)} instead of {_readable(wanted, each)}",
            )
    return check


def _is_count(key: str) -> bool:
    return key.split(":", 3)[2] in ("ht", "hp")


def _readable(fields: Mapping[str, bytes], name: str) -> object:
    return msgspec.msgpack.decode(fields[name]) if name in fields else None


def _in_order(records: Sequence[Tapped]) -> list[Tapped]:
    return sorted(records, key=lambda r: (r.log, r.partition, r.offset))
