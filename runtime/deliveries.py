"""Deliveries in Redis as far as people have to do with them: read, send again, decide of a storm.

A row is changed only by who still knows it as it is (`settle.lua`), so a person and a dispatcher,
or two dispatchers that both believe to be the one, cannot undo each other's work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Literal, cast

import msgspec
from redis.asyncio import Redis

from contracts import deliveries
from contracts.deliveries import OPEN_STATES, STATES, Row, State, row_id
from contracts.errors import Misconfigured
from contracts.partition import SHARDS
from contracts.partition import shard as shard_of
from contracts.storms import Decided, StormState
from contracts.times import DAY_MS
from runtime import keys
from runtime.ledger import Effects
from runtime.newest_first import Entry, Place, newest_first
from runtime.redis_errors import redis_errors
from runtime.store import mget, text

LOG_KEPT: Final = 1_000
"""Deliveries in the log of each shard, and in that of each channel and state there."""
OVER_TTL_MS: Final = 30 * DAY_MS
"""How long a delivery that is over is kept: longer than an alert may come again."""
LOOKED_AT: Final = 1_000
"""Deliveries one page looks at, whatever it looks for."""
_AT_ONCE: Final = 64

Waiting = Literal["held", "digest"]
_PLACES: Final = {"waiting": 1, "held": 2, "digest": 3}
_SETTLE_LUA = files("runtime").joinpath("settle.lua").read_text()


@dataclass(frozen=True, slots=True)
class Slip:
    """A row as it lies in Redis."""

    shard: int
    row: Row
    stored: bytes


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries; an empty field does not choose."""

    channels: tuple[str, ...] = ()
    states: tuple[State, ...] = ()

    def holds(self, row: Row) -> bool:
        return (not self.channels or row.channel in self.channels) and (
            not self.states or row.state in self.states
        )


class Page(msgspec.Struct, frozen=True):
    """Some deliveries, the last changed first, and behind what the next page begins."""

    rows: tuple[Row, ...]
    next: Place | None


class Deliveries:
    """Reads and changes them. Everything raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._settle = redis.register_script(_SETTLE_LUA)

    async def channels(self) -> list[str]:
        """The channels that ever had a delivery."""
        with redis_errors("reading the channels"):
            found = cast("list[bytes]", await self._redis.zrange(_names(), 0, -1))
        return [text(name) for name in found]

    async def find(self, known: str) -> list[Slip]:
        """The deliveries of a message, or the one of that id."""
        names = (
            [known]
            if ":" in known
            else [row_id(known, channel) for channel in await self.channels()]
        )
        return await self._load([(shard, name) for shard in range(SHARDS) for name in names])

    async def latest(self, limit: int) -> list[Slip]:
        """The deliveries that changed last, newest first."""
        places: list[tuple[int, str]] = []
        if limit > 0:
            names = [keys.delivery_log(shard) for shard in range(SHARDS)]
            async for entry in newest_first(self._redis, names):
                places.append((entry.source, text(entry.member)))
                if len(places) == limit:
                    break
        return await self._load(places)

    async def page(self, wanted: Wanted, *, limit: int, after: Place | None) -> Page:
        """Those of everybody. A page may be short, even empty, although another one follows."""
        names, shards = await self._logs(wanted)
        found: list[tuple[Place, Row]] = []
        some: list[Entry] = []
        last: Place | None = None
        looked = 0

        async def look() -> None:
            slips = await self._load([(shards[one.source], text(one.member)) for one in some])
            rows = {slip.row.row_id: slip.row for slip in slips}
            for entry in some:
                row = rows.get(text(entry.member))
                if row is not None and wanted.holds(row):
                    found.append((entry.place, row))
            some.clear()

        async for entry in newest_first(self._redis, names, after=after):
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
            return Page(tuple(row for _, row in found[:limit]), found[limit - 1][0])
        return Page(tuple(row for _, row in found), last)

    async def counts(self, now_ms: int) -> list[tuple[str, State, int]]:
        """Channel, state and how many deliveries: those that are over of the last 30 days.

        Exact up to LOG_KEPT of each shard, channel and state.
        """
        channels = await self.channels()
        kinds = [(channel, state) for channel in channels for state in STATES]
        if not kinds:
            return []
        with redis_errors("counting deliveries"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for channel, state in kinds:
                    lowest = "-inf" if state in OPEN_STATES else now_ms - OVER_TTL_MS
                    for shard in range(SHARDS):
                        pipe.zcount(keys.deliveries_in(shard, state, channel), lowest, "+inf")
                answers = await pipe.execute()
        return [
            (channel, state, count)
            for i, (channel, state) in enumerate(kinds)
            if (count := int(sum(answers[i * SHARDS : (i + 1) * SHARDS])))
        ]

    async def settle(self, slip: Slip, after: Row) -> Slip | None:
        """Write a row's next state; None when somebody else has changed it meanwhile."""
        stored = deliveries.encode(after)
        written = await self._write(slip.shard, slip.stored, stored, after, slip.row.state)
        return Slip(slip.shard, after, stored) if written else None

    async def add(self, row: Row) -> bool:
        """Store a new row; False when it is there already."""
        with redis_errors("adding a delivery"):
            await self._redis.zadd(_names(), {row.channel: 0})
        shard = shard_of(row.message_id)
        return await self._write(shard, b"", deliveries.encode(row), row, row.state)

    async def enable(self, channel: str) -> bool:
        """Switch a channel on again; whether it was off."""
        with redis_errors("switching a channel on"):
            return bool(await self._redis.delete(keys.dispatch(f"off:{channel}")))

    async def switched_off(self, channels: Sequence[str]) -> dict[str, str]:
        """Those of the channels that were switched off, and why."""
        if not channels:
            return {}
        with redis_errors("reading channels' states"):
            stored = await mget(self._redis, [keys.dispatch(f"off:{name}") for name in channels])
        return {
            name: text(value).partition("\n")[2]
            for name, value in zip(channels, stored, strict=True)
            if value is not None
        }

    # Storms.

    async def storm(self) -> StormState | None:
        """The storm that rages; None where there is none."""
        return await self._storm("storm")

    async def last_storm(self) -> StormState | None:
        """The last one that is over."""
        return await self._storm("last-storm")

    async def order(self) -> Decided | None:
        """What a person has decided about the held alerts, until the dispatcher has done it."""
        with redis_errors("reading what was decided of a storm"):
            stored = await self._redis.get(keys.dispatch("order"))
        return None if stored is None else msgspec.json.decode(stored, type=Decided)

    async def give_order(self, order: Decided) -> None:
        """Decide what becomes of the held alerts."""
        with redis_errors("deciding about a storm"):
            await self._redis.set(keys.dispatch("order"), msgspec.json.encode(order))

    async def count_in(self, place: Waiting) -> int:
        """How many rows lie there."""
        with redis_errors("counting deliveries"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in range(SHARDS):
                    pipe.zcard(keys.delivery_place(shard, place))
                return int(sum(await pipe.execute()))

    async def _storm(self, what: str) -> StormState | None:
        with redis_errors("reading the storm"):
            stored = await self._redis.get(keys.dispatch(what))
        return None if stored is None else msgspec.json.decode(stored, type=StormState)

    async def _logs(self, wanted: Wanted) -> tuple[list[str], list[int]]:
        """The sorted sets to look through, and the shard of each."""
        if not wanted.channels and not wanted.states:
            return [keys.delivery_log(shard) for shard in range(SHARDS)], list(range(SHARDS))
        channels = wanted.channels or await self.channels()
        places = [
            (shard, keys.deliveries_in(shard, state, channel))
            for channel in channels
            for state in wanted.states or STATES
            for shard in range(SHARDS)
        ]
        return [name for _, name in places], [shard for shard, _ in places]

    async def _load(self, places: Sequence[tuple[int, str]]) -> list[Slip]:
        if not places:
            return []
        with redis_errors("loading deliveries"):
            values = await mget(self._redis, [keys.delivery(*place) for place in places])
        return [
            Slip(shard, deliveries.decode(value), value)
            for (shard, _), value in zip(places, values, strict=True)
            if value is not None
        ]

    async def _write(
        self, shard: int, expected: bytes, stored: bytes, row: Row, before: State
    ) -> bool:
        with redis_errors("settling a delivery"):
            return bool(
                await self._settle(
                    keys=[
                        keys.delivery(shard, row.row_id),
                        keys.delivery_queue(shard, row.channel),
                        keys.delivery_place(shard, "held"),
                        keys.delivery_place(shard, "digest"),
                        keys.delivery_log(shard),
                        keys.deliveries_in(shard, row.state, row.channel),
                        keys.deliveries_in(shard, before, row.channel),
                    ],
                    args=[
                        expected,
                        stored,
                        0 if row.state in OPEN_STATES else OVER_TTL_MS,
                        _PLACES.get(row.state, 0),
                        row.due,
                        row.row_id,
                        row.updated,
                        LOG_KEPT,
                    ],
                )
            )


def log(row: Row, shard: int, effects: Effects) -> list[str]:
    """Add to the effects that a new row is in the logs; the keys that have grown."""
    names = [keys.delivery_log(shard), keys.deliveries_in(shard, row.state, row.channel)]
    for name in names:
        effects.index(name, row.row_id, float(row.updated))
    return names


def decode_known(stored: bytes | None) -> list[tuple[str, str]]:
    """A user's deliveries: row id and the episode's dedup_key of each, the latest last."""
    if stored is None:
        return []
    return msgspec.msgpack.decode(stored, type=list[tuple[str, str]])


async def known_of(redis: Redis, user_ids: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """The deliveries of some users."""
    users = sorted(user_ids)
    with redis_errors("reading users' deliveries"):
        values = await mget(redis, [keys.deliveries_of(user) for user in users]) if users else []
    return {user: decode_known(value) for user, value in zip(users, values, strict=True)}


async def deliveries_of(redis: Redis, user_id: str) -> list[Row]:
    """The user's deliveries that are kept, the last changed first; raises StoreUnavailable."""
    known = (await known_of(redis, [user_id]))[user_id]
    shard = shard_of(user_id)
    with redis_errors("reading a user's deliveries"):
        values = (
            await mget(redis, [keys.delivery(shard, name) for name, _ in known]) if known else []
        )
    rows = []
    for value in values:
        if value is not None:
            try:
                rows.append(deliveries.decode(value))
            except (Misconfigured, msgspec.MsgspecError):
                continue  # of another release
    return sorted(rows, key=lambda row: (row.updated, row.row_id), reverse=True)


def _names() -> str:
    return keys.dispatch("channels")
