"""What was alerted about, kept for people to read: of a user, of everybody, and what is open.

The alerts worker writes all of it in the save that changes the episode. Of a user the last
KEPT_OF_USER alerts are kept, 90 days beyond the last; of everybody the last `recent_alerts.KEPT` of
each shard; and who has an open episode is indexed, so that the open ones are found however long ago
they opened.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, TypeVar, cast

import msgspec
from redis.asyncio import Redis

from contracts.alerts import AlertKind, Arm, ChurnAlert, Severity, decode_alert, encode_alert
from contracts.partition import SHARDS
from contracts.partition import shard as shard_of
from contracts.times import DAY_MS, to_ms
from runtime import keys
from runtime.ledger import Effects
from runtime.newest_first import Entry, Place, newest_first
from runtime.redis_errors import redis_errors
from runtime.store import mget, text

KEPT_OF_USER: Final = 40
KEPT_MS: Final = 90 * DAY_MS
OPEN_KEPT: Final = 10_000
"""Users with an open episode in each shard."""
LOOKED_AT: Final = 2_000
"""Entries one page looks at, whatever it looks for."""
_AT_ONCE: Final = 32

State = Literal["open", "acknowledged", "snoozed", "resolved", "churned"]

STATE_AFTER: Final[dict[AlertKind, State]] = {
    "opened": "open",
    "escalated": "open",
    "acknowledged": "acknowledged",
    "snoozed": "snoozed",
    "resolved": "resolved",
    "churned": "churned",
}
"""The state of an episode by its latest alert."""

OPEN_STATES: Final[tuple[State, ...]] = ("open", "acknowledged", "snoozed")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts; an empty field does not choose."""

    kinds: tuple[AlertKind, ...] = ()
    rules: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = ()
    arm: Arm | None = None
    since: int | None = None
    """Epoch ms, as is `until`; both inclusive."""
    until: int | None = None

    def holds(self, alert: ChurnAlert | _Outline) -> bool:
        """Whether an alert is one of them, its time aside."""
        return (
            (not self.kinds or alert.kind in self.kinds)
            and (not self.rules or alert.rule in self.rules)
            and (not self.severities or alert.severity in self.severities)
            and (self.arm is None or alert.arm == self.arm)
        )


class Page(msgspec.Struct, frozen=True):
    """Some alerts, newest first, and behind what the next page begins; None after the last."""

    alerts: tuple[ChurnAlert, ...]
    next: Place | None


class _Outline(msgspec.Struct, frozen=True):
    """What an alert is chosen by: a third of the work of reading all of it."""

    alert_id: str
    kind: AlertKind
    rule: str
    severity: Severity = "warning"
    arm: Arm = "treated"


_outline = msgspec.json.Decoder(_Outline)
T = TypeVar("T")


# As the alerts worker writes it.


async def load(redis: Redis, user_ids: Iterable[str]) -> dict[str, bytes | None]:
    """What is stored of some users, for `remember`; raises StoreUnavailable."""
    users = sorted(set(user_ids))
    if not users:
        return {}
    with redis_errors("loading users' alerts"):
        values = await mget(redis, [keys.alerts_of(user) for user in users])
    return dict(zip(users, values, strict=True))


def remember(
    alerts: Sequence[ChurnAlert], stored: Mapping[str, bytes | None], effects: Effects
) -> None:
    """Add the alerts, in the order in which they came about, to the effects."""
    of_users: dict[str, list[ChurnAlert]] = {}
    for alert in alerts:
        of_users.setdefault(alert.user_id, []).append(alert)
    grown = set()
    for user_id, new in of_users.items():
        packed = pack([*reversed(new), *unpack(stored.get(user_id))])
        effects.put(keys.alerts_of(user_id), packed, KEPT_MS)
        key = keys.open_episodes(shard_of(user_id))
        last = new[-1]
        is_open = STATE_AFTER[last.kind] in OPEN_STATES
        effects.index(key, user_id, float(to_ms(last.occurred_at)) if is_open else None)
        if is_open:
            grown.add(key)
    for key in sorted(grown):
        effects.keep_highest(key, OPEN_KEPT)


def forget(user_id: str, effects: Effects) -> None:
    """Add to the effects that nothing is left of an erased user's alerts."""
    effects.delete(keys.alerts_of(user_id))
    effects.index(keys.open_episodes(shard_of(user_id)), user_id, None)


def pack(newest_first: Iterable[ChurnAlert]) -> bytes:
    """What is stored of a user: alerts that repeat each other's words, so it is compressed."""
    once = {alert.alert_id: alert for alert in newest_first}
    kept = list(once.values())[:KEPT_OF_USER]
    return zlib.compress(b"\n".join(encode_alert(alert) for alert in kept))


def unpack(stored: bytes | None, most: int = KEPT_OF_USER) -> list[ChurnAlert]:
    """The newest `most` alerts of what `pack` made; those of another release are left out."""
    if stored is None:
        return []
    alerts = []
    for line in zlib.decompress(stored).split(b"\n", most)[:most]:
        try:
            alerts.append(decode_alert(line))
        except msgspec.MsgspecError:
            continue
    return alerts


# As people read it.


async def alerts_of(redis: Redis, user_id: str) -> list[ChurnAlert]:
    """The user's latest alerts, newest first; raises StoreUnavailable."""
    with redis_errors("reading a user's alerts"):
        return unpack(cast("bytes | None", await redis.get(keys.alerts_of(user_id))))


async def page_of_user(
    redis: Redis, user_id: str, wanted: Wanted, *, limit: int, after: Place | None, latest: bool
) -> Page:
    """Those of one user; latest: only the newest alert of an episode that is open."""
    alerts = await alerts_of(redis, user_id)
    if latest:
        alerts = [alert for alert in alerts[:1] if STATE_AFTER[alert.kind] in OPEN_STATES]
    placed = [(_place(alert), alert) for alert in alerts if wanted.holds(alert)]
    found = sorted(
        (
            (place, alert)
            for place, alert in placed
            if (after is None or place < after) and _within(place.at, wanted)
        ),
        key=lambda entry: entry[0],
        reverse=True,
    )
    shown = found[:limit]
    return Page(tuple(alert for _, alert in shown), shown[-1][0] if len(found) > limit else None)


async def page_of_all(redis: Redis, wanted: Wanted, *, limit: int, after: Place | None) -> Page:
    """Those of everybody. A page looks at LOOKED_AT alerts and may be short, even empty, although
    another one follows."""
    names = [keys.recent_alerts(shard) for shard in range(SHARDS)]
    found: list[ChurnAlert] = []
    last: Place | None = None
    seen: set[str] = set()
    looked = 0
    async for entry in newest_first(
        redis, names, tie=_tie, after=after, since=wanted.since, until=wanted.until
    ):
        outline = _read(_outline.decode, entry.member)
        if outline is not None and outline.alert_id not in seen and wanted.holds(outline):
            if len(found) == limit:
                return Page(tuple(found), last)
            alert = _read(decode_alert, entry.member)
            if alert is not None:
                seen.add(alert.alert_id)
                found.append(alert)
        last = entry.place
        looked += 1
        if looked == LOOKED_AT:
            return Page(tuple(found), last)
    return Page(tuple(found), None)


async def page_of_open(redis: Redis, wanted: Wanted, *, limit: int, after: Place | None) -> Page:
    """The newest alert of every open episode, by the time of that alert. It may be short, too."""
    names = [keys.open_episodes(shard) for shard in range(SHARDS)]
    found: list[tuple[Place, ChurnAlert]] = []
    some: list[Entry] = []
    looked = 0
    last: Place | None = None

    async def look() -> None:
        users = [text(entry.member) for entry in some]
        stored = await load(redis, users)
        for entry, user_id in zip(some, users, strict=True):
            newest = unpack(stored[user_id], 1)
            # The index may be a moment behind, or outlive what it leads to.
            if newest and STATE_AFTER[newest[0].kind] in OPEN_STATES and wanted.holds(newest[0]):
                found.append((entry.place, newest[0]))
        some.clear()

    async for entry in newest_first(
        redis, names, after=after, since=wanted.since, until=wanted.until
    ):
        some.append(entry)
        looked += 1
        last = entry.place
        if len(some) == _AT_ONCE:
            await look()
        if len(found) > limit or looked == LOOKED_AT:
            break
    else:
        last = None
    await look()
    if len(found) > limit:
        return Page(tuple(alert for _, alert in found[:limit]), found[limit - 1][0])
    return Page(tuple(alert for _, alert in found), last)


async def count_open(redis: Redis, since_ms: int) -> int:
    """Users with an open episode and an alert from `since_ms` on."""
    with redis_errors("counting open episodes"):
        async with redis.pipeline(transaction=False) as pipe:
            for shard in range(SHARDS):
                pipe.zcount(keys.open_episodes(shard), since_ms, "+inf")
            return int(sum(await pipe.execute()))


def episode_of(alerts: Iterable[ChurnAlert], dedup_key: str) -> list[ChurnAlert]:
    """The alerts of one episode, oldest first."""
    return sorted((one for one in alerts if one.dedup_key == dedup_key), key=_when)


def _when(alert: ChurnAlert) -> tuple[datetime, object]:
    return alert.occurred_at, alert.position


def _within(at: float, wanted: Wanted) -> bool:
    return (wanted.since is None or at >= wanted.since) and (
        wanted.until is None or at <= wanted.until
    )


def _place(alert: ChurnAlert) -> Place:
    return Place(float(to_ms(alert.occurred_at)), alert.alert_id.encode())


_BEFORE_ID: Final = b'{"alert_id":"'


def _tie(member: bytes) -> bytes:
    """The alert's id. All ids are of one length, so they are in the members' order."""
    return member.removeprefix(_BEFORE_ID).partition(b'"')[0]


def _read(decode: Callable[[bytes], T], member: bytes) -> T | None:
    try:
        return decode(member)
    except msgspec.MsgspecError:
        return None
