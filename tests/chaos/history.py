"""The events of a run: a pure function of the seed.

Users visit in sessions, fall silent, some for good. Among their events are all the things that
make exactly-once hard: late and repeated ones, backfills, snapshots, users whose producer hashes
otherwise, erasures, and records that are no events at all.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal
from zlib import crc32

import numpy as np

from contracts.partition import home
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS

START_MS: Final = 1_735_689_600_000
"""2025-01-01. Everything lies in the past: Kafka refuses records of the future."""
DAYS: Final = 240
"""Simulated length, whatever the number of events."""
QUIET_DAYS: Final = 45
"""Time that passes after the last event, so that every silence is told to its end."""

Lane = Literal["http", "kafka"]

LATE, BACKFILL, REPEAT, SNAPSHOT, PASSIVE, MONEY, CANCEL, NAMELESS, ERASURE, GARBAGE = (
    0.04, 0.012, 0.03, 0.015, 0.05, 0.05, 0.002, 0.02, 0.0008, 0.003,
)  # fmt: skip
FOREIGN_USERS: Final = 0.06
REPEAT_WITHIN: Final = 5
"""A repeated id lies at most so many of its user's events back: inside the duplicate window."""
MOST_EVENTS_A_SESSION: Final = 7


@dataclass(frozen=True, slots=True)
class Item:
    """A record to be: by HTTP only `value` travels."""

    lane: Lane
    user_id: str
    partition: int
    """Where a direct producer puts it; not its home if the producer hashes otherwise."""
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    event_id: str | None
    """None: the log gives it one, or it is none."""
    valid: bool = True
    """Whether it should change its user's record."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made of."""

    seed: int
    events: int
    partitions: int

    @property
    def users(self) -> int:
        """Thousands in a long run, hundreds in a short one."""
        return min(max(self.events // 60, 200), 5_000)


def history(plan: Plan) -> Iterator[Item]:
    """About `plan.events` items in the order of their log time."""
    chance = random.Random(plan.seed)
    moments, who, speech = _visits(plan)
    users = [_User(number, plan) for number in range(plan.users)]
    for moment, number, opens in zip(moments, who, speech, strict=True):
        yield from users[number].does(int(moment), bool(opens), chance)


def end_ms() -> int:
    """The moment the run's clock reaches at its end."""
    return START_MS + (DAYS + QUIET_DAYS) * DAY_MS


def _visits(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) epoch ms ascending, (n,) user, (n,) whether it is a session's first event."""
    draw = np.random.default_rng(plan.seed)
    share = draw.gamma(1.2, size=plan.users).clip(0.08, 4.0)
    joined = draw.uniform(0, 0.5 * DAYS, plan.users)
    # A third leave for good, at any time; the others have holidays that are long for them.
    left = np.where(draw.random(plan.users) < 0.35, draw.uniform(joined, DAYS), DAYS)
    budget = share * np.maximum(left - joined, 3.0)
    sessions = np.maximum(
        np.rint(budget / budget.sum() * plan.events / (0.5 * (1 + MOST_EVENTS_A_SESSION))), 1
    ).astype(int)
    first = np.repeat(np.arange(plan.users), sessions)
    days = draw.uniform(joined[first], left[first])
    away = draw.uniform(joined, np.maximum(left - 20, joined))
    on_holiday = (days > away[first]) & (days < away[first] + 14) & (sessions[first] > 3)
    days = np.where(on_holiday, days + 14, days).clip(max=DAYS - 0.2)
    length = draw.integers(1, MOST_EVENTS_A_SESSION + 1, len(first))
    who = np.repeat(first, length)
    opens = np.concatenate([[True], np.diff(np.repeat(np.arange(len(first)), length)) > 0])
    within = draw.exponential(3 * MINUTE_MS, len(who)).clip(1, 20 * MINUTE_MS)
    within[opens] = 0
    steps = np.cumsum(within)
    steps -= np.repeat(steps[opens], length)
    moments = START_MS + np.repeat(days * DAY_MS, length) + steps
    order = np.argsort(moments, kind="stable")
    return moments[order].astype(np.int64), who[order], opens[order]


class _User:
    """Who somebody is, and the last things they did."""

    def __init__(self, number: int, plan: Plan) -> None:
        traits = random.Random(plan.seed * 1_000_003 + number)
        self.user_id = f"u{number}-{traits.randrange(16**6):06x}"
        self.lane: Lane = "http" if traits.random() < 0.4 else "kafka"
        self.partition = home(self.user_id, plan.partitions)
        if self.lane == "kafka" and traits.random() < FOREIGN_USERS / 0.6:
            self.partition = crc32(self.user_id.encode()) % plan.partitions
        self.location = traits.choice(("Oslo", "Lima", "Kyoto", "Cádiz"))
        self.plan = traits.choice(("free", "pro", "team"))
        self.pages = 0
        self.minutes = 0.0
        self.told = 0
        self.recent: list[Item] = []

    def does(self, moment: int, opens: bool, chance: random.Random) -> Iterator[Item]:
        """One event, and what goes with it."""
        yield self._remembered(self._event(moment, opens, chance))
        if chance.random() < REPEAT and self.recent:
            yield chance.choice(self.recent)
        if chance.random() < SNAPSHOT:
            yield self._remembered(self._snapshot(moment, chance))
        if self.lane == "kafka":
            if chance.random() < ERASURE / 0.6:
                self.recent.clear()
                yield self._item(None, moment, None)
            if chance.random() < GARBAGE / 0.6:
                yield self._garbage(moment, chance)
        elif chance.random() < GARBAGE:
            yield Item(
                "http", self.user_id, self.partition, None, b'{"user_id": 7}', moment, None, False
            )

    def _event(self, moment: int, opens: bool, chance: random.Random) -> Item:
        what = chance.random()
        fields: dict[str, object] = {"type": "page_view"}
        if what < PASSIVE:
            fields["type"] = chance.choice(("email_opened", "invoice_paid", "system_note"))
        elif what < PASSIVE + MONEY:
            fields["type"] = chance.choice(("purchase", "purchase", "return"))
            fields["value"] = round(chance.uniform(0.01, 900.0), 2)
        elif what < PASSIVE + MONEY + CANCEL:
            fields["type"] = "subscription_cancelled"
        else:
            if opens and chance.random() < 0.3:
                fields["type"] = "login"
            fields["pages_visited"] = chance.randint(0, 9)
            fields["time_spent"] = round(chance.uniform(0.0, 12.0), 3)
            self.pages += 1
        if opens and chance.random() < 0.2:
            fields |= {"location": self.location, "plan": self.plan, "is_logged_in": True}
        occurred = moment
        if chance.random() < LATE:
            occurred -= chance.randrange(40 * MINUTE_MS)
        elif chance.random() < BACKFILL:
            occurred -= chance.randrange(2 * HOUR_MS, 50 * DAY_MS)
        fields["occurred_at"] = max(occurred, START_MS)
        return self._item(fields, moment, self._next_id(chance))

    def _snapshot(self, moment: int, chance: random.Random) -> Item:
        self.minutes += chance.uniform(0, 60)
        fields: dict[str, object] = {
            "type": "snapshot",
            "occurred_at": moment,
            "pages_visited": self.pages * chance.randint(3, 6),
            "time_spent": round(self.minutes, 2),
            "days_since_signup": chance.randint(1, 2_000),
        }
        return self._item(fields, moment, self._next_id(chance))

    def _next_id(self, chance: random.Random) -> str | None:
        self.told += 1
        if self.lane == "kafka" and chance.random() < NAMELESS / 0.6:
            return None
        return f"{self.user_id}.{self.told}"

    def _item(self, fields: dict[str, object] | None, moment: int, event_id: str | None) -> Item:
        value = None
        timestamp = moment
        if fields is not None:
            named = {"user_id": self.user_id} | fields
            if event_id is not None:
                named["event_id"] = event_id
            value = json.dumps(named, separators=(",", ":"), ensure_ascii=False).encode()
        return Item(
            self.lane,
            self.user_id,
            self.partition,
            self.user_id.encode(),
            value,
            timestamp,
            event_id,
        )

    def _remembered(self, item: Item) -> Item:
        if item.event_id is not None:
            self.recent = [*self.recent[1 - REPEAT_WITHIN :], item]
        return item

    def _garbage(self, moment: int, chance: random.Random) -> Item:
        key: bytes | None = self.user_id.encode()
        what = chance.randrange(7)
        if what == 0:
            value = chance.randbytes(40)
        elif what == 1:
            value = b"{" * 400
        elif what == 2:
            value = json.dumps({"user_id": self.user_id, "type": 5}).encode()
        elif what == 3:
            value = json.dumps(
                {"user_id": self.user_id, "type": "page_view", "occurred_at": moment + 9 * DAY_MS}
            ).encode()
        elif what == 4:
            value = b'{"user_id":"' + b"x" * 70_000 + b'"}'
        elif what == 5:
            value, key = b"", b"\xff\xfe"
        else:
            value = json.dumps(
                {"user_id": self.user_id, "type": "page_view", "value": 1e300}
            ).encode()
        return Item("kafka", self.user_id, self.partition, key, value, moment, None, False)
