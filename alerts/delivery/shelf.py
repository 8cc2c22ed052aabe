"""What the dispatcher needs in Redis beside the deliveries themselves (`runtime.deliveries`).

Of two dispatchers that both believe to be the one, neither can undo the other's work; the worst
they do is to send twice under one id. Everything that concerns a whole channel or all of them is
written by the dispatcher alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, Final, Protocol, cast

import msgspec
from redis.asyncio import Redis

from alerts.delivery import rows
from alerts.delivery.rows import Crossing
from alerts.delivery.storm import Seen
from contracts.deliveries import Row, channel_of
from contracts.partition import SHARDS
from contracts.partition import shard as shard_of
from contracts.storms import Decided, StormState
from contracts.times import DAY_MS, HOUR_MS
from contracts.topics import ACTIVITY
from runtime import generations, keys
from runtime.deliveries import Deliveries, Slip, Waiting, decode_known
from runtime.redis_errors import redis_errors
from runtime.store import text

USER_TTL_MS: Final = 90 * DAY_MS
USER_KEPT: Final = 64
"""Deliveries remembered of a user."""
CROSSINGS_KEPT: Final = 50_000

_LEAD_LUA = files("alerts.delivery").joinpath("lead.lua").read_text()


class Shelf(Protocol):
    """What the dispatcher needs; the tests have an in-memory twin."""

    async def lead(self, who: str, for_ms: int) -> bool:
        """Whether `who` dispatches from now on, for so long."""
        ...

    async def resign(self, who: str) -> None:
        """Let another one dispatch at once."""
        ...

    async def channels(self) -> list[str]:
        """The channels that ever had a delivery."""
        ...

    async def due(self, channel: str, now_ms: int, limit: int) -> list[Slip]:
        """Up to `limit` deliveries whose time has come, the earliest first."""
        ...

    async def settle(self, slip: Slip, after: Row) -> Slip | None:
        """Write a row's next state; None when somebody else has changed it meanwhile."""
        ...

    async def add(self, row: Row) -> bool:
        """Store a new row; False when it is there already."""
        ...

    async def waiting_in(self, place: Waiting, until_ms: int, limit: int) -> list[Slip]:
        """Up to `limit` rows of a place whose due time is not after `until_ms`."""
        ...

    async def count_in(self, place: Waiting) -> int:
        """How many rows lie there."""
        ...

    async def of_episode(self, row: Row) -> list[Slip]:
        """The other deliveries of a row's episode on its channel."""
        ...

    async def told(self, channel: str, rule: str, now_ms: int) -> tuple[int, int]:
        """Alerts told one by one on a channel within the last hour: all, and those of the rule."""
        ...

    async def note_told(self, row: Row, now_ms: int) -> None:
        """Count an alert against the caps; a repeat counts once."""
        ...

    async def disabled(self, channel: str, address: str) -> str:
        """Why the channel is switched off, empty when it is not, or has another address now."""
        ...

    async def disable(self, channel: str, address: str, reason: str) -> None: ...

    async def storm(self) -> StormState | None: ...

    async def set_storm(self, state: StormState | None) -> None: ...

    async def keep_storm(self, state: StormState) -> None:
        """Leave a storm that is over for people to read."""
        ...

    async def order(self) -> Decided | None:
        """What a person has decided about the held alerts, until `obeyed`."""
        ...

    async def obeyed(self, order: Decided) -> None: ...

    async def seen(self, since_ms: int) -> Seen:
        """Openings from then on, and users with a risk."""
        ...

    async def crossings(self, since_ms: int, from_ms: int) -> tuple[list[Crossing], list[Crossing]]:
        """The openings from `from_ms` on, and those between `since_ms` and then."""
        ...

    async def forget_crossings(self, until_ms: int) -> None: ...

    async def read_so_far(self) -> tuple[int, dict[int, int]]:
        """How far scorers have come: the partition clock (0: none), and offsets by partition."""
        ...

    async def samples(self) -> list[tuple[int, Mapping[int, int]]]: ...

    async def add_sample(self, at: int, offsets: Mapping[int, int], forget_until: int) -> None: ...


class RedisShelf(Deliveries):
    """The Shelf in Redis."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self._lead = redis.register_script(_LEAD_LUA)

    async def lead(self, who: str, for_ms: int) -> bool:
        with redis_errors("asking who dispatches"):
            return bool(await self._lead(keys=[keys.dispatch("leader")], args=[who, for_ms]))

    async def resign(self, who: str) -> None:
        """Let another one dispatch at once."""
        with redis_errors("resigning"):
            if await self._redis.get(keys.dispatch("leader")) == who.encode():
                await self._redis.delete(keys.dispatch("leader"))

    async def due(self, channel: str, now_ms: int, limit: int) -> list[Slip]:
        return await self._slips(
            lambda shard: keys.delivery_queue(shard, channel), now_ms, limit, "due deliveries"
        )

    async def waiting_in(self, place: Waiting, until_ms: int, limit: int) -> list[Slip]:
        return await self._slips(
            lambda shard: keys.delivery_place(shard, place), until_ms, limit, f"the {place}"
        )

    async def _slips(self, key: Any, until_ms: int, limit: int, what: str) -> list[Slip]:
        with redis_errors(f"reading {what}"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in range(SHARDS):
                    pipe.zrange(
                        key(shard), "-inf", until_ms, byscore=True, offset=0, num=limit,
                        withscores=True,
                    )  # fmt: skip
                answers = await pipe.execute()
        entries = [
            (due, shard, text(member))
            for shard, answer in enumerate(answers)
            for member, due in answer
        ]
        entries.sort()
        return await self._load([(shard, name) for _, shard, name in entries[:limit]])

    async def of_episode(self, row: Row) -> list[Slip]:
        shard = shard_of(row.user_id)
        with redis_errors("reading a user's deliveries"):
            stored = cast("bytes | None", await self._redis.get(keys.deliveries_of(row.user_id)))
        names = [
            name
            for name, dedup_key in decode_known(stored)
            if dedup_key == row.dedup_key and name != row.row_id and channel_of(name) == row.channel
        ]
        return await self._load([(shard, name) for name in names])

    async def told(self, channel: str, rule: str, now_ms: int) -> tuple[int, int]:
        with redis_errors("counting what was told"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in _hours(channel, rule):
                    pipe.zcount(name, now_ms - HOUR_MS + 1, "+inf")
                every, of_rule = await pipe.execute()
        return int(every), int(of_rule)

    async def note_told(self, row: Row, now_ms: int) -> None:
        with redis_errors("counting what was told"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in _hours(row.channel, row.rule):
                    pipe.zadd(name, {row.row_id: now_ms})
                    pipe.zremrangebyscore(name, "-inf", now_ms - HOUR_MS)
                    pipe.pexpire(name, HOUR_MS)
                await pipe.execute()

    async def disabled(self, channel: str, address: str) -> str:
        with redis_errors("reading a channel's state"):
            stored = await self._redis.get(keys.dispatch(f"off:{channel}"))
        was, _, reason = text(stored).partition("\n") if stored is not None else ("", "", "")
        return reason if was == address else ""

    async def disable(self, channel: str, address: str, reason: str) -> None:
        with redis_errors("switching a channel off"):
            await self._redis.set(keys.dispatch(f"off:{channel}"), f"{address}\n{reason}")

    async def set_storm(self, state: StormState | None) -> None:
        with redis_errors("writing the storm"):
            if state is None:
                await self._redis.delete(keys.dispatch("storm"))
            else:
                await self._redis.set(keys.dispatch("storm"), msgspec.json.encode(state))

    async def keep_storm(self, state: StormState) -> None:
        with redis_errors("keeping the last storm"):
            await self._redis.set(keys.dispatch("last-storm"), msgspec.json.encode(state))

    async def obeyed(self, order: Decided) -> None:
        with redis_errors("noting what was decided of a storm"):
            if await self._redis.get(keys.dispatch("order")) == msgspec.json.encode(order):
                await self._redis.delete(keys.dispatch("order"))

    async def seen(self, since_ms: int) -> Seen:
        serving = await generations.each_serving(self._redis, ACTIVITY)
        with redis_errors("counting users"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in range(SHARDS):
                    pipe.zcount(keys.crossings(shard), since_ms, "+inf")
                    pipe.zcard(keys.rank(shard, serving[shard]))
                answers = await pipe.execute()
        return Seen(crossed=sum(answers[::2]), active=sum(answers[1::2]))

    async def crossings(self, since_ms: int, from_ms: int) -> tuple[list[Crossing], list[Crossing]]:
        with redis_errors("reading openings"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in range(SHARDS):
                    pipe.zrange(
                        keys.crossings(shard), since_ms, "+inf", byscore=True, withscores=True
                    )
                answers = await pipe.execute()
        found = [(at, rows.crossing(member)) for answer in answers for member, at in answer]
        return [c for at, c in found if at >= from_ms], [c for at, c in found if at < from_ms]

    async def forget_crossings(self, until_ms: int) -> None:
        with redis_errors("forgetting openings"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in range(SHARDS):
                    pipe.zremrangebyscore(keys.crossings(shard), "-inf", until_ms)
                await pipe.execute()

    async def read_so_far(self) -> tuple[int, dict[int, int]]:
        # Every batch moves the marks of every shard: one shard says it for all.
        generation = (await generations.each_serving(self._redis, ACTIVITY))[0]
        with redis_errors("reading how far scorers have come"):
            stored = await self._redis.hgetall(keys.marks(0, ACTIVITY, generation))
        fields = {text(name): value for name, value in stored.items()}
        clocks = [int(value) for name, value in fields.items() if name.startswith("clock:")]
        offsets = {
            int(name): int(text(value).partition(":")[2])
            for name, value in fields.items()
            if name.isdigit()
        }
        return max(clocks, default=0), offsets

    async def samples(self) -> list[tuple[int, Mapping[int, int]]]:
        with redis_errors("reading volumes"):
            found = cast("list[bytes]", await self._redis.zrange(keys.dispatch("volume"), 0, -1))
        return [msgspec.json.decode(member, type=tuple[int, dict[int, int]]) for member in found]

    async def add_sample(self, at: int, offsets: Mapping[int, int], forget_until: int) -> None:
        name = keys.dispatch("volume")
        with redis_errors("writing volumes"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zadd(name, {msgspec.json.encode((at, offsets)): at})
                pipe.zremrangebyscore(name, "-inf", forget_until)
                await pipe.execute()


def encode_known(known: Iterable[tuple[str, str]]) -> bytes:
    """A user's deliveries: row id and the episode's dedup_key of each, the latest last."""
    return msgspec.msgpack.encode(list(known)[-USER_KEPT:])


def _hours(channel: str, rule: str) -> tuple[str, str]:
    return keys.dispatch(f"hour:{channel}"), keys.dispatch(f"hour:{channel}:{rule}")
