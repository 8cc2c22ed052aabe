"""The gateway's edge to what Redis holds of alerts, deliveries and storms, within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
from redis.asyncio import Redis

from contracts.alerts import ChurnAlert
from contracts.deliveries import Row, State
from contracts.policies import PolicyInForce, decode_policy
from contracts.standing import StandingVerdict
from contracts.storms import Decided, StormState
from contracts.trials import Sums
from runtime import alert_history, alert_index, deliveries, keys, resend, trials, verdicts
from runtime.alert_index import Found
from runtime.deliveries import Deliveries
from runtime.newest_first import Place
from runtime.redis_errors import redis_errors


class AlertDesk:
    """Everything raises StoreUnavailable."""

    def __init__(self, redis: Redis, *, timeout_seconds: float) -> None:
        self._redis = redis
        self._timeout = timeout_seconds

    async def find(self, known: str) -> Found | None:
        """Whom an alert_id or a dedup_key is about, None where nobody knows."""
        async with self._bounded("looking up an alert"):
            return await alert_index.find(self._redis, known)

    async def alerts(
        self, wanted: alert_history.Wanted, *, limit: int, after: Place | None
    ) -> alert_history.Page:
        """Those of everybody."""
        async with self._bounded("reading alerts"):
            return await alert_history.page_of_all(self._redis, wanted, limit=limit, after=after)

    async def open(
        self, wanted: alert_history.Wanted, *, limit: int, after: Place | None
    ) -> alert_history.Page:
        """The newest alert of every open episode."""
        async with self._bounded("reading open alerts"):
            return await alert_history.page_of_open(self._redis, wanted, limit=limit, after=after)

    async def of_user(
        self,
        user_id: str,
        wanted: alert_history.Wanted,
        *,
        limit: int,
        after: Place | None,
        latest: bool,
    ) -> alert_history.Page:
        """Those of one user."""
        async with self._bounded("reading a user's alerts"):
            return await alert_history.page_of_user(
                self._redis, user_id, wanted, limit=limit, after=after, latest=latest
            )

    async def count_open(self, since_ms: int) -> int:
        """Users with an open episode and an alert from then on."""
        async with self._bounded("counting open alerts"):
            return await alert_history.count_open(self._redis, since_ms)

    async def episode(
        self, found: Found
    ) -> tuple[list[ChurnAlert], list[Row], StandingVerdict | None]:
        """An episode's alerts, the oldest first, its deliveries and its verdict."""
        async with self._bounded("reading an alert"):
            alerts = await alert_history.alerts_of(self._redis, found.user_id)
            rows = await deliveries.deliveries_of(self._redis, found.user_id)
            said = await verdicts.on_episodes(self._redis, found.user_id, [found.dedup_key])
        return (
            alert_history.episode_of(alerts, found.dedup_key),
            [row for row in rows if row.dedup_key == found.dedup_key],
            said[0] if said else None,
        )

    async def verdicts(self) -> list[StandingVerdict]:
        """The verdicts that stand, newest first."""
        async with self._bounded("reading verdicts"):
            return await verdicts.latest(self._redis)

    async def verdicts_of(self, user_id: str) -> list[StandingVerdict]:
        """Those on one user's episodes."""
        async with self._bounded("reading verdicts on a user's alerts"):
            return await verdicts.verdicts_of(self._redis, user_id)

    async def trials(self) -> Sums:
        """What the holdout's experiments have shown."""
        async with self._bounded("reading what a holdout has shown"):
            return await trials.read(self._redis)

    async def policy(self) -> PolicyInForce | None:
        """The policy in force; None where no worker has told it, or one of another release."""
        async with self._bounded("reading the policy in force"):
            stored = cast("bytes | None", await self._redis.get(keys.POLICY))
        try:
            return None if stored is None else decode_policy(stored)
        except msgspec.MsgspecError:
            return None

    async def deliveries(
        self, wanted: deliveries.Wanted, *, limit: int, after: Place | None
    ) -> deliveries.Page:
        """Those of everybody."""
        async with self._bounded("reading deliveries"):
            return await Deliveries(self._redis).page(wanted, limit=limit, after=after)

    async def deliveries_of(self, user_id: str) -> list[Row]:
        """Those of one user, the last changed first."""
        async with self._bounded("reading a user's deliveries"):
            return await deliveries.deliveries_of(self._redis, user_id)

    async def deliveries_called(self, known: str) -> list[Row]:
        """The delivery of that id, or those of that message; none where nobody knows it."""
        async with self._bounded("looking up a delivery"):
            return [slip.row for slip in await Deliveries(self._redis).find(known)]

    async def delivery_counts(self, now_ms: int) -> list[tuple[str, State, int]]:
        """Channel, state, and how many."""
        async with self._bounded("counting deliveries"):
            return await Deliveries(self._redis).counts(now_ms)

    async def switched_off(self) -> dict[str, str]:
        """Channels that were switched off, and why."""
        async with self._bounded("reading channels' states"):
            shelf = Deliveries(self._redis)
            return await shelf.switched_off(await shelf.channels())

    async def resend(self, known: str, now_ms: int, actor: str) -> dict[str, str]:
        """Send a message again; by delivery, in words, what was done."""
        async with self._bounded("sending again"):
            return await resend.resend(Deliveries(self._redis), known, now_ms, actor)

    async def storm(self) -> tuple[StormState | None, StormState | None, int, Decided | None]:
        """The storm that rages, the last one, how much is held, and what was decided and not done
        yet."""
        async with self._bounded("reading the storm"):
            shelf = Deliveries(self._redis)
            return (
                await shelf.storm(),
                await shelf.last_storm(),
                await shelf.count_in("held"),
                await shelf.order(),
            )

    async def decide(self, order: Decided) -> int:
        """Decide what becomes of the held alerts; how many there are."""
        async with self._bounded("deciding about a storm"):
            shelf = Deliveries(self._redis)
            held = await shelf.count_in("held")
            await shelf.give_order(order)
            return held

    @asynccontextmanager
    async def _bounded(self, doing: str) -> AsyncIterator[None]:
        """Raise StoreUnavailable where Redis fails or takes too long."""
        with redis_errors(doing):
            async with asyncio.timeout(self._timeout):
                yield
