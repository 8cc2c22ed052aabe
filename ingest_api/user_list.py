"""The list of users: by risk, by the money at risk or by how much the risk has risen.

Users stand in an index in the order of their last score (`contracts.ranks`). A list is read from
it piece by piece, each user's record is judged as of now, and what was asked for is kept, until a
page is full or so many have been looked at; the cursor then says where to go on.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from contracts.activity import FoldRules
from contracts.alerts import Severity
from contracts.events import category_hash
from contracts.ids import digest
from contracts.lapse import has_lapsed
from contracts.partition import SHARDS
from contracts.ranks import (
    CLASSES,
    HAS_CANCELLED,
    HAS_LAPSED,
    LITTLE_EVIDENCE,
    classes,
    monthly_cents,
)
from contracts.record import (
    CANCELLED,
    ERASED,
    HAS_CURVE,
    HAS_SCORE,
    NO_CROSSING,
    blank_records,
)
from contracts.scores import DECIMALS, Attributes, Evidence
from contracts.times import DAY_MS, HOUR_MS, NEVER, from_ms, from_ms_or_none
from ingest_api import openapi
from ingest_api.background import beside
from ingest_api.mass_reads import further_page
from ingest_api.pages import once, opened, sealed
from ingest_api.problems import FieldError, Invalid
from ingest_api.records import UserReader
from model.artefact import Model
from model.features import missing, usual_gap_ms
from model.reasons import Explainer
from model.silence import at_risk_at, value_at
from runtime.open_alerts import OpenAlert
from runtime.records import unpack
from runtime.user_ranks import BY_RISK, BY_WORTH, Index, Place, Stream

Order = Literal["risk", "value", "change"]

READ_AT_MOST: Final = 10_000
"""Records one request reads."""
WALKED_AT_MOST: Final = 50_000
"""Entries of an index one request looks at: a search reads no records of other users."""
AT_ONCE: Final = 1_000
"""Entries, or records, of one step."""
LEAST_READ: Final = 8
"""Entries of each stream that are read at least, when any are."""
CHANGE_DAYS: Final = 7

_MICRO: Final = 1_000_000
_NAMED: Final = ("location", "referral_source", "device_type", "plan")

LISTS: Final = frozenset({"location", "referral_source", "device_type", "plan"})
"""The parameters that may be sent several times."""
Names = list[Annotated[str, Field(min_length=1, max_length=256)]]
MOST_NAMES: Final = 50


class Selection(BaseModel):
    """Which users, and in what order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order: Order = Field(
        default="risk",
        description="`risk`; `value`: risk times the money a user brings in a month; `change`: how "
        f"far silence has raised the risk within the last {CHANGE_DAYS} days.",
    )
    search: str = Field(
        default="", max_length=256, description="How the user_id begins, to the letter."
    )
    location: Names = Field(
        default=[], max_length=MOST_NAMES, description="Any of these; so the others."
    )
    referral_source: Names = Field(default=[], max_length=MOST_NAMES)
    device_type: Names = Field(default=[], max_length=MOST_NAMES)
    plan: Names = Field(default=[], max_length=MOST_NAMES)
    min_risk: float = Field(default=0, ge=0, le=1)
    max_risk: float | None = Field(default=None, ge=0, le=1, description="Only users below it.")
    silent_days_min: float = Field(default=0, ge=0, le=36_500, description="Days since last seen.")
    silent_days_max: float | None = Field(default=None, ge=0, le=36_500)
    rule: str = Field(
        default="", max_length=64, description="Users with an open alert of this rule."
    )
    cancelled: Literal["exclude", "include", "only"] = Field(
        default="exclude", description="Users who have cancelled and done nothing since."
    )
    lapsed: Literal["exclude", "include", "only"] = Field(
        default="exclude",
        description="Users silent for twice the horizon, and 60 days at least: where the model's "
        "knowledge ends.",
    )
    evidence: Literal["enough", "any"] = Field(
        default="enough",
        description="`enough` leaves out users who came too seldom to have a rhythm.",
    )

    @property
    def classes(self) -> list[int]:
        """The classes of users that are asked for."""
        return [
            of_class
            for of_class in range(CLASSES)
            if (self.evidence == "any" or not of_class & LITTLE_EVIDENCE)
            and self.cancelled in ("include", "only" if of_class & HAS_CANCELLED else "exclude")
            and self.lapsed in ("include", "only" if of_class & HAS_LAPSED else "exclude")
        ]

    @property
    def index(self) -> Index:
        """What is walked along."""
        return BY_WORTH if self.order == "value" else BY_RISK

    @property
    def digest(self) -> bytes:
        """Names what is asked for, apart from which part of it."""
        return bytes.fromhex(digest(self.model_dump_json(include=set(Selection.model_fields))))[:6]

    def check(self) -> None:
        """Raise Invalid where no user could be meant."""
        bounds = (
            ("max_risk", self.max_risk, "min_risk", self.min_risk),
            ("silent_days_max", self.silent_days_max, "silent_days_min", self.silent_days_min),
        )
        wrong = [
            FieldError(high_name, f"must be more than {low_name}, {low:g}; got {high:g}")
            for high_name, high, low_name, low in bounds
            if high is not None and high <= low
        ]
        if wrong:
            raise Invalid(wrong)


class Part(Selection):
    """A page of it."""

    limit: int = Field(default=50, ge=1, le=1000)
    cursor: str = Field(default="", max_length=2_000, description="`next` of the page before.")


class UsersAlert(msgspec.Struct, frozen=True):
    """A user's open alert; that of the held-out is not told."""

    dedup_key: str
    rule: str
    severity: Severity
    opened_at: datetime
    acknowledged_at: datetime | None
    snoozed_until: datetime | None


class RankedUser(msgspec.Struct, frozen=True):
    """A user of the list."""

    user_id: str
    churn_probability: float
    """The last score, or the rung of the model's ladder that silence has reached since."""
    change: float
    """How many of its rungs silence has climbed within 7 days, or since last seen if that is
    later, as probability."""
    last_seen_at: datetime | None
    at_risk_at: datetime | None
    """When risk reaches the alert threshold if the user stays silent; past: it has."""
    reason: str | None
    """What raises the risk most."""
    monthly_value: float
    """Money in each 30 days from the first visit to the last, returns taken off."""
    value_at_risk: float
    """That times the probability."""
    attributes: Attributes
    evidence: Evidence
    little_evidence: bool
    """They came too seldom to have a rhythm to be judged by."""
    cancelled: bool
    lapsed: bool
    """Silent for longer than the model can judge; the risk is that of the last score."""
    open_alert: UsersAlert | None


class Looked(msgspec.Struct, frozen=True):
    """How far this request has looked along the index."""

    walked: int
    """Users passed."""
    read: int
    """Records read of them."""
    down_to: float | None
    """The risk, or money at risk, by the last score at which it stopped."""
    complete: bool
    """Nobody is left behind this page."""


class LeftOut(msgspec.Struct, frozen=True):
    """Users the list does not show unless asked: whoever is more than one of these counts as the
    first."""

    cancelled: int
    little_evidence: int
    lapsed: int


class RankedUsers(msgspec.Struct, frozen=True):
    """A page of the list."""

    users: tuple[RankedUser, ...]
    exact: RankedUser | None
    """With `search`, on the first page: the user of that very id, whatever else is asked for."""
    next: str | None
    """The cursor of the next page; null: nobody is left. A page may be short, even empty, and yet
    not be the last."""
    looked: Looked
    ranked: int
    """Users among whom was looked: all in the index but those left out."""
    left_out: LeftOut
    order: Order
    as_of: datetime
    origin: str
    """What the model learned from."""


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page goes on: `query` names what it is a part of.

    Ordered by change, the users from `start` to `end` along the index by risk are put in order
    together, and `after` is the last of them shown.
    """

    query: bytes
    start: Place | None
    end: Place | None = None
    after: tuple[float, str] | None = None


def cursor_of(part: Part) -> Cursor:
    """Where the part begins; raises Invalid."""
    if not part.cursor:
        return Cursor(part.digest, None)
    cursor = opened(part.cursor, Cursor)
    if cursor.query != part.digest:
        raise Invalid(
            [
                FieldError(
                    "cursor",
                    "belongs to another list: send the parameters it came with, or leave it out "
                    "to begin this one",
                )
            ]
        )
    return cursor


_COLUMNS: Final = ("records", "now", "risk", "change", "at_risk", "monthly", "lapsed")


@dataclass
class Found:
    """Users judged as of now; all arrays (n,)."""

    user_ids: list[str]
    places: list[Place]
    records: np.ndarray
    now: np.ndarray
    risk: np.ndarray
    change: np.ndarray
    at_risk: np.ndarray
    monthly: np.ndarray
    lapsed: np.ndarray

    def of(self, chosen: Sequence[int] | np.ndarray) -> Found:
        """Those at some positions, in that order."""
        which = np.asarray(chosen, np.intp)
        return Found(
            [self.user_ids[i] for i in which.tolist()],
            [self.places[i] for i in which.tolist()],
            *(getattr(self, name)[which] for name in _COLUMNS),
        )

    @staticmethod
    def together(parts: Sequence[Found]) -> Found:
        """All of some, one behind the other; there must be one."""
        return Found(
            [user_id for part in parts for user_id in part.user_ids],
            [place for part in parts for place in part.places],
            *(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS),
        )


class Walk:
    """Entries of an index in order, over shards and classes, from a place on."""

    def __init__(
        self, reader: UserReader, index: Index, of_classes: Sequence[int], start: Place | None
    ) -> None:
        self._reader = reader
        self._index = index
        self._read_to: dict[Stream, Place | None] = {
            Stream(shard, of_class): start for shard in range(SHARDS) for of_class in of_classes
        }
        """Streams that may have more, and how far each has been read."""
        self._waiting: dict[Stream, list[Place]] = {stream: [] for stream in self._read_to}
        self._merged: list[Place] = []
        """The next one last."""

    async def next(self, count: int) -> list[Place]:
        """Up to `count` more; none is the end."""
        each = max(count // len(self._waiting), LEAST_READ)
        while not self._merged:
            if any(not self._waiting[stream] for stream in self._read_to):
                await self._read(each)
            elif not self._read_to and not any(self._waiting.values()):
                return []
            self._merge()
        taken = self._merged[-count:][::-1]
        del self._merged[-count:]
        return taken

    async def _read(self, count: int) -> None:
        # With those that have run dry, those that soon will: it takes one answer for all.
        low = {s: at for s, at in self._read_to.items() if len(self._waiting[s]) <= count // 2}
        for stream, piece in (await self._reader.ranked(self._index, low, count)).items():
            self._waiting[stream] += piece.entries
            if piece.is_last:
                del self._read_to[stream]
            elif piece.entries:
                self._read_to[stream] = piece.entries[-1]

    def _merge(self) -> None:
        """Of what waits, take what nothing unread can come before."""
        safe = max((self._waiting[stream][-1] for stream in self._read_to), default=None)
        merged: list[Place] = []
        for stream, places in self._waiting.items():
            taken = len(places)
            if safe is not None:
                taken = sum(place >= safe for place in places)
            merged += places[:taken]
            self._waiting[stream] = places[taken:]
        merged.sort()
        self._merged = merged


@dataclass
class UserList:
    """Reads lists. `alert_threshold`: what `at_risk_at` speaks of."""

    model: Model
    reader: UserReader
    moments: Callable[[np.ndarray], Awaitable[np.ndarray]]
    """(n,) RECORD to (n,) i8 ms: what is now for each user."""
    alert_threshold: float
    explainer: Explainer
    rules: FoldRules
    now: Callable[[], int]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One thread at a time works for lists: more would make all else slower, and none faster."""

    async def page(self, part: Part) -> RankedUsers:
        """A page; raises Invalid, StoreUnavailable."""
        part.check()
        cursor = cursor_of(part)
        counts = await self.reader.counts(part.index)
        found, looked, following = await self._found(part, cursor, part.limit)
        exact = None
        if part.search and not part.cursor:
            exact = await self._exact(part.search)
        users = await self._rows(found)
        return RankedUsers(
            users=tuple(sorted(users, key=_KEYS[part.order])),
            exact=exact,
            next=None if following is None else sealed(following),
            looked=looked,
            ranked=sum(counts[c] for c in part.classes),
            left_out=_left_out(part, counts),
            order=part.order,
            as_of=from_ms(int(found.now.max()) if len(found.now) else self.now()),
            origin=self.model.origin,
        )

    async def part(
        self, part: Selection, cursor: Cursor, limit: int
    ) -> tuple[list[RankedUser], Cursor | None]:
        """Some users in order, and where they go on."""
        found, _, following = await self._found(part, cursor, limit)
        return sorted(await self._rows(found), key=_KEYS[part.order]), following

    async def _found(
        self, part: Selection, cursor: Cursor, limit: int
    ) -> tuple[Found, Looked, Cursor | None]:
        by_change = part.order == "change"
        by_risk = part.index is BY_RISK
        last = cursor.start
        if last is None and by_risk and part.max_risk is not None:
            last = Place(part.max_risk, "")
        walk = Walk(self.reader, part.index, part.classes, last)
        wanted = _wanted(part)
        parts = [self._judge([], blank_records(0), np.zeros(0, np.int64), wanted)]
        matches = walked = read = 0
        ended = stretch_ended = False
        # A stretch is read to its end again, though some have come into it.
        more = 1 if cursor.end is None else 2
        # A page is mostly found among the first.
        step = AT_ONCE if part.search or by_change else min(2 * limit, AT_ONCE)
        while (
            not (ended or stretch_ended)
            and walked < more * WALKED_AT_MOST
            and read < more * READ_AT_MOST
            and (by_change or matches < limit)
        ):
            entries = await walk.next(min(step, READ_AT_MOST))
            step = min(2 * step, AT_ONCE)
            kept = [
                entry
                for entry in entries
                if not by_risk or entry.value >= part.min_risk
                if cursor.end is None or entry >= cursor.end
            ]
            if len(kept) < len(entries) or not entries:
                stretch_ended = cursor.end is not None and bool(entries)
                ended = not stretch_ended
            if kept:
                walked += len(kept)
                last = kept[-1]
            if part.search:
                kept = [entry for entry in kept if entry.user_id.startswith(part.search)]
            if kept:
                read += len(kept)
                found = await self._judged(kept, wanted, part.rule)
                parts.append(found)
                matches += len(found.user_ids)
        if by_change:
            async with self._turn:
                chosen, rest = await beside(partial(_most_changed, parts, cursor.after, limit))
            following = None if ended or last is None else Cursor(part.digest, last)
            if rest:
                after = (float(chosen.change[-1]), chosen.user_ids[-1])
                following = Cursor(part.digest, cursor.start, last, after)
        else:
            chosen = Found.together(parts).of(range(min(limit, matches)))
            if matches > limit:
                last, ended = chosen.places[-1], False
            following = None if ended else Cursor(part.digest, last)
        looked = Looked(
            walked=walked,
            read=read,
            down_to=None if last is None else _shown(part, last.value),
            complete=following is None,
        )
        return chosen, looked, following

    async def _judged(self, places: list[Place], wanted: _Wanted, rule: str) -> Found:
        """Those at the places who are wanted."""
        stored = await self.reader.stored([place.user_id for place in places])
        async with self._turn:
            records = await beside(partial(unpack, stored))
        now = await self.moments(records)
        async with self._turn:
            found = await beside(partial(self._judge, places, records, now, wanted))
        if rule and found.user_ids:
            alerts = map(_treated, await self.reader.open_alerts(found.user_ids))
            found = found.of([i for i, a in enumerate(alerts) if a is not None and a.rule == rule])
        return found

    def _judge(
        self,
        places: list[Place],
        records: np.ndarray,
        now: np.ndarray,
        wanted: _Wanted | None,
    ) -> Found:
        facts, outlook = records["facts"], records["outlook"]
        levels = self.model.levels
        last_seen = np.where(facts["last_seen"] == NEVER, now, facts["last_seen"])
        silent = (now - last_seen) / HOUR_MS
        has_curve = ((outlook["state"] & HAS_CURVE) != 0) & (outlook["model"] == self.model.hash)
        curve = np.where(has_curve[:, None], outlook["curve"], NO_CROSSING)
        reached = value_at(curve, levels, silent)
        # At the end of the session where that is later: the curve knows nothing before it.
        earlier = np.maximum(silent - CHANGE_DAYS * DAY_MS / HOUR_MS, 0.5)
        before = value_at(curve, levels, np.minimum(earlier, silent))
        found = Found(
            user_ids=[place.user_id for place in places],
            places=places,
            records=records,
            now=now,
            risk=np.maximum(reached, outlook["probability"] / _MICRO).round(DECIMALS),
            change=(reached - before).round(DECIMALS),
            at_risk=at_risk_at(curve, levels, last_seen, self.alert_threshold),
            monthly=monthly_cents(facts) / 100,
            lapsed=has_lapsed(facts["last_seen"], self.model.horizon_days, now),
        )
        gone = (facts["last_seen"] != NEVER) & (now >= self.rules.expiry(facts["last_seen"]))
        # A rank entry may be there a moment longer than its user.
        known = (facts["offset"] >= 0) & ((facts["flags"] & ERASED) == 0) & ~gone
        known &= (outlook["state"] & HAS_SCORE) != 0
        if wanted is not None:
            known &= wanted(found)
        return found.of(np.flatnonzero(known))

    async def _exact(self, user_id: str) -> RankedUser | None:
        records = await self.reader.load([user_id])
        now = await self.moments(records)
        rows = await self._rows(self._judge([Place(0.0, user_id)], records, now, None))
        return rows[0] if rows else None

    async def _rows(self, found: Found) -> list[RankedUser]:
        if not found.user_ids:
            return []
        facts = found.records["facts"]
        hashes = {int(number) for name in _NAMED for number in np.unique(facts[name])}
        names, alerts = await asyncio.gather(
            self.reader.names(hashes), self.reader.open_alerts(found.user_ids)
        )
        async with self._turn:
            return await beside(partial(self._tell, found, names, alerts))

    def _tell(
        self, found: Found, names: Mapping[int, str], alerts: Sequence[OpenAlert | None]
    ) -> list[RankedUser]:
        facts = found.records["facts"]
        reasons = self.explainer.reasons(facts, found.now)
        gaps = usual_gap_ms(facts) / HOUR_MS
        unstated = missing(facts)
        of_class = classes(facts, found.lapsed)
        named = {
            name: [names.get(n, f"#{n:08x}") if n else None for n in facts[name].tolist()]
            for name in _NAMED
        }
        rows = []
        for i, user_id in enumerate(found.user_ids):
            fact = facts[i]
            risk, monthly = float(found.risk[i]), float(found.monthly[i])
            rows.append(
                RankedUser(
                    user_id=user_id,
                    churn_probability=risk,
                    change=float(found.change[i]),
                    last_seen_at=from_ms_or_none(int(fact["last_seen"])),
                    at_risk_at=from_ms_or_none(int(found.at_risk[i])),
                    reason=reasons[i][0].text if reasons is not None and reasons[i] else None,
                    monthly_value=round(monthly, 2),
                    value_at_risk=round(risk * monthly, 2),
                    attributes=Attributes(
                        **{name: column[i] for name, column in named.items()},
                        value=int(fact["value_cents"]) / 100,
                    ),
                    evidence=Evidence(
                        events=int(fact["events"]),
                        active_days=int(fact["active_days"]),
                        usual_gap_hours=None if np.isnan(gaps[i]) else round(float(gaps[i]), 2),
                        missing=unstated[i],
                    ),
                    little_evidence=bool(of_class[i] & LITTLE_EVIDENCE),
                    cancelled=bool(fact["flags"] & CANCELLED),
                    lapsed=bool(found.lapsed[i]),
                    open_alert=_alert(_treated(alerts[i])),
                )
            )
        return rows


_Wanted = Callable[[Found], np.ndarray]

_KEYS: Final[Mapping[Order, Callable[[RankedUser], tuple[float, str]]]] = {
    "risk": lambda user: (-user.churn_probability, user.user_id),
    "value": lambda user: (-user.value_at_risk, user.user_id),
    "change": lambda user: (-user.change, user.user_id),
}


def _wanted(part: Selection) -> _Wanted:
    """(n,) bool of those judged whom the part asks for."""
    hashes = {name: _hashes(getattr(part, name)) for name in _NAMED if getattr(part, name)}
    asked = np.array([of_class in part.classes for of_class in range(CLASSES)])

    def wanted(found: Found) -> np.ndarray:
        facts = found.records["facts"]
        mask: np.ndarray = asked[classes(facts, found.lapsed)] & (found.risk >= part.min_risk)
        if part.max_risk is not None:
            mask &= found.risk < part.max_risk
        if part.silent_days_min or part.silent_days_max is not None:
            seen = facts["last_seen"] != NEVER
            silent = np.where(seen, found.now - facts["last_seen"], 0) / DAY_MS
            mask &= seen & (silent >= part.silent_days_min)
            if part.silent_days_max is not None:
                mask &= silent <= part.silent_days_max
        for name, any_of in hashes.items():
            mask &= np.isin(facts[name], any_of)
        return mask

    return wanted


def _left_out(part: Selection, counts: Sequence[int]) -> LeftOut:
    cancelled = sum(counts[c] for c in range(CLASSES) if c & HAS_CANCELLED)
    little = counts[LITTLE_EVIDENCE] + counts[LITTLE_EVIDENCE | HAS_LAPSED]
    lapsed = sum(counts[of_class | HAS_LAPSED] for of_class in part.classes)
    return LeftOut(
        cancelled=cancelled if part.cancelled == "exclude" else 0,
        little_evidence=little if part.evidence == "enough" else 0,
        lapsed=lapsed if part.lapsed == "exclude" else 0,
    )


def _hashes(names: Iterable[str]) -> np.ndarray:
    return np.array([category_hash(name) for name in names], np.uint32)


def _most_changed(
    parts: Sequence[Found], after: tuple[float, str] | None, limit: int
) -> tuple[Found, int]:
    """Those whose risk has risen most, behind some user in that order; and how many are left."""
    found = Found.together(parts)
    order = sorted(
        zip((-found.change).tolist(), found.user_ids, range(len(found.user_ids)), strict=True)
    )
    first = 0 if after is None else bisect_right(order, (-after[0], after[1], len(order)))
    chosen = [i for _, _, i in order[first : first + limit]]
    return found.of(chosen), max(len(order) - first - limit, 0)


def _shown(part: Selection, value: float) -> float:
    """A value of the index as it is told: money in units, not in cents."""
    return value / 100 if part.order == "value" else value


def _treated(alert: OpenAlert | None) -> OpenAlert | None:
    """The alert if it may be spoken of: whoever acts on those of the held-out spoils the
    measurement of what alerts do."""
    return alert if alert is not None and alert.arm == "treated" else None


def _alert(alert: OpenAlert | None) -> UsersAlert | None:
    if alert is None:
        return None
    return UsersAlert(
        dedup_key=alert.dedup_key.hex(),
        rule=alert.rule,
        severity=alert.severity,
        opened_at=from_ms(alert.opened_at),
        acknowledged_at=None if alert.acknowledged_at is None else from_ms(alert.acknowledged_at),
        snoozed_until=None if alert.snoozed_until is None else from_ms(alert.snoozed_until),
    )


def router(*, users: UserList) -> APIRouter:
    """The route of the list."""
    routes = APIRouter(tags=["users"])

    @routes.get(
        "/users",
        summary="Users by risk, money at risk or change",
        description=_DESCRIPTION,
        responses=openapi.responses(
            {200: openapi.of(RankedUsers, "A page of the list.")}, 422, 503
        ),
        dependencies=[once(but=LISTS)],
    )
    async def list_users(part: Annotated[Part, Query()], request: Request) -> Response:
        found = await users.page(part)
        if part.cursor:
            further_page(request, len(found.users))
        return openapi.reply(found)

    return routes


_DESCRIPTION = f"""The highest first, page by page: send `next` as `cursor`. Users who have
cancelled or lapsed, and users with little evidence, are left out unless asked for; `left_out`
counts them.

Pages follow each user's last score, which the scorer renews whenever silence lifts the risk to
the next rung of the model's ladder; within a page the order is that of now. Somebody who is
scored anew between two pages may be on both or on none.

One request reads {READ_AT_MOST:,} records at most: a filter that few pass may give a short or empty
page whose `next` goes on looking; `looked` says how far it came. By `change`, as many users as
are read at once are put in order together, those at the highest risk first."""
