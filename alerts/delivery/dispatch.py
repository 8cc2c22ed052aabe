"""Attempts what is due. Of several workers one dispatches; another takes over when it is gone.

An attempt is noted before it is made and settled afterwards. Who dies in between leaves a delivery
that comes due again a while later: it is attempted once more, under the same id, and counted as a
repeat.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
import structlog

from alerts.delivery import plan, retry, rows, storm
from alerts.delivery.channels_config import Channel
from alerts.delivery.messages import digest_notice, storm_notice, storm_over_notice
from alerts.delivery.metrics import DeliveryMetrics
from alerts.delivery.outcome import Delivered, Gone, Later, Never, Outcome
from alerts.delivery.plan import ChannelState, Drop, Hold, Limits, Send, Slot, ToDigest, Wait
from alerts.delivery.rows import Notice
from alerts.delivery.senders import Sender
from alerts.delivery.shelf import Shelf
from alerts.rules import Policy
from contracts.alerts import decode_alert
from contracts.deliveries import Row, State
from contracts.errors import Unavailable
from contracts.ids import digest
from contracts.storms import Decided, Order, StormState
from contracts.times import SECOND_MS
from runtime.deliveries import Slip, Waiting
from runtime.health import Health

logger = structlog.get_logger(__name__)

PAGE: Final = 100
AT_ONCE: Final = 4
"""Attempts under way on one channel."""
MARGIN_MS: Final = 5 * SECOND_MS
"""Beyond its channel's timeout, an attempt of which nothing is known is taken for lost."""
TICK_SECONDS: Final = 0.25
LEASE_MS: Final = 5 * SECOND_MS
"""How long a dispatcher that is not heard of keeps its right."""
FINISH_SECONDS: Final = 5.0
"""What attempts may take when the worker stops; those that take longer are made again."""
SAMPLES_PER_WINDOW: Final = 30
FOREVER: Final = 2**53


@dataclass(frozen=True, slots=True)
class Around:
    """What a dispatcher works with."""

    shelf: Shelf
    sender: Sender
    policy: Callable[[], Policy]
    metrics: DeliveryMetrics
    public_url: str
    clock: Literal["wall", "stream"]
    now_ms: Callable[[], int]
    me: str = field(default_factory=lambda: f"{os.getpid()}-{os.urandom(4).hex()}")
    lease_ms: int = LEASE_MS


class Dispatcher:
    """Decides about due deliveries and attempts them, for as long as it has the right to."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._slots: dict[str, int] = {}
        self._storm: StormState | None = None
        self._told_incident = ""
        self._sampled_at = 0
        self._wake = asyncio.Event()
        self.leads = False

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    async def run(self, stop: asyncio.Event, health: Health) -> None:
        """Dispatch until `stop` is set; waits out a Redis that is away."""
        try:
            while not stop.is_set():
                try:
                    await self.tick()
                    health.goes_on("dispatch")
                except Unavailable as trouble:
                    health.waits("dispatch", str(trouble))
                    logger.warning("dispatch_waits", reason=str(trouble))
                await self._rest(stop)
            await self._finish()
        finally:
            left = list(self._under_way.values())
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _rest(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(self._wake.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(waits, timeout=TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        self._wake.clear()

    async def _finish(self) -> None:
        """Let what is under way come to an end, and another worker take over at once."""
        if self._under_way:
            await asyncio.wait(list(self._under_way.values()), timeout=FINISH_SECONDS)
        with suppress(Unavailable):
            await self._around.shelf.resign(self._around.me)

    async def finished(self) -> None:
        """Wait for the attempts under way."""
        while self._under_way:
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def tick(self) -> None:
        """Do what is due now. Attempts go on beside it; raises StoreUnavailable."""
        around = self._around
        self.leads = await around.shelf.lead(around.me, around.lease_ms)
        if not self.leads:
            return
        policy = around.policy()
        now_ms = around.now_ms()
        await self._guard(policy, now_ms)
        await self._send_digests(now_ms)
        known = await around.shelf.channels()
        names = {channel.name: channel for channel in policy.channels}
        for name in known:
            await self._channel(name, names.get(name), policy, now_ms)

    # One channel.

    async def _channel(
        self, name: str, channel: Channel | None, policy: Policy, now_ms: int
    ) -> None:
        shelf = self._around.shelf
        for slip in await shelf.due(name, now_ms, PAGE):
            if slip.row.row_id in self._under_way:
                continue
            if self._busy[name] >= AT_ONCE:
                return
            now_ms = self._around.now_ms()  # each attempt takes a slot at its own moment
            if await self._overtaken(slip, now_ms):
                continue
            decision = plan.decide(
                slip.row,
                channel,
                await self._state(slip.row, channel, now_ms),
                _limits(policy, slip.row),
                origin=_origin(slip.row),
                storm=storm.holds(self._storm),
                now_ms=now_ms,
            )
            if isinstance(decision, Slot):
                return  # the others of this channel wait for it, too
            if isinstance(decision, Send) and channel is not None:
                await self._begin(slip, channel, now_ms)
            else:
                await self._put(slip, decision, now_ms)

    async def _overtaken(self, slip: Slip, now_ms: int) -> bool:
        """Drop what an ending makes unneeded; whether it is not needed itself."""
        if slip.row.label not in plan.ENDINGS or slip.row.attempts > 0:
            return False
        earlier = {one.row.row_id: one for one in await self._around.shelf.of_episode(slip.row)}
        unneeded, untold = plan.overtaken(slip.row, [one.row for one in earlier.values()])
        for row in untold:
            await self._end(earlier[row.row_id], "overtaken", slip.row.label, now_ms)
        if unneeded:
            await self._end(slip, "overtaken", "nobody was told of the opening", now_ms)
        return unneeded

    async def _state(self, row: Row, channel: Channel | None, now_ms: int) -> ChannelState:
        if channel is None:
            return ChannelState()
        shelf = self._around.shelf
        told, by_rule = (0, 0)
        if row.attempts == 0 and row.label in plan.CAPPED_KINDS:
            told, by_rule = await shelf.told(channel.name, row.rule, now_ms)
        return ChannelState(
            disabled=await shelf.disabled(channel.name, address_id(channel)),
            next_slot=self._slots.get(channel.name, 0),
            told_in_hour=told,
            told_by_rule=by_rule,
        )

    async def _put(self, slip: Slip, decision: plan.Decision, now_ms: int) -> None:
        match decision:
            case Wait(until, reason):
                await self._change(slip, now_ms, due=until, reason=reason)
            case Hold():
                await self._change(slip, now_ms, state="held", reason="alert storm")
            case ToDigest(at):
                await self._change(slip, now_ms, state="digest", due=at, reason="hourly cap")
            case Drop(state, reason):
                await self._end(slip, state, reason, now_ms)

    async def _begin(self, slip: Slip, channel: Channel, now_ms: int) -> None:
        """Note the attempt, then make it."""
        row = slip.row
        lost_ms = round(channel.timeout_seconds * SECOND_MS) + MARGIN_MS
        noted = await self._change(
            slip,
            now_ms,
            attempts=row.attempts + 1,
            repeats=row.repeats + row.under_way,
            under_way=True,
            due=now_ms + lost_ms,
        )
        if noted is None:
            return
        if row.kind == "alert" and row.label in plan.CAPPED_KINDS:
            await self._around.shelf.note_told(row, now_ms)
        self._slots[channel.name] = plan.next_slot(channel, now_ms)
        self._around.metrics.attempts.labels(channel.name).inc()
        if row.under_way:
            self._around.metrics.repeats.labels(channel.name).inc()
        self._busy[channel.name] += 1
        self._under_way[row.row_id] = asyncio.create_task(self._attempt(noted, channel))

    async def _attempt(self, slip: Slip, channel: Channel) -> None:
        row = slip.row
        try:
            await self._settle(slip, channel, await self._sent(channel, row))
        except Unavailable as trouble:
            # Comes due again by itself, as an attempt of which nothing is known.
            logger.warning("delivery_unsettled", delivery=row.row_id, reason=str(trouble))
        finally:
            del self._under_way[row.row_id]
            self._busy[channel.name] -= 1
            self._wake.set()

    async def _sent(self, channel: Channel, row: Row) -> Outcome:
        try:
            return await self._around.sender.send(channel, row, self._around.now_ms())
        except Exception as bug:
            # Of a channel's library, or ours: the schedule ends it, the others are not touched. Its
            # words and the values around it may hold an address: only the places are told.
            where = "".join(traceback.format_tb(bug.__traceback__)[-5:])
            logger.error("attempt_broke", delivery=row.row_id, bug=type(bug).__name__, where=where)
            return Later(f"the attempt broke: {type(bug).__name__}")

    async def _settle(self, slip: Slip, channel: Channel, outcome: Outcome) -> None:
        row, now_ms = slip.row, self._around.now_ms()
        match outcome:
            case Delivered():
                await self._end(slip, "sent", "", now_ms)
            case Later(reason, after_ms):
                due = retry.next_attempt(row.row_id, row.attempts, now_ms, after_ms)
                if due is None:
                    given_up = f"gave up after {row.attempts} attempts: {reason}"
                    await self._end(slip, "dead", given_up, now_ms)
                else:
                    await self._change(slip, now_ms, under_way=False, due=due, reason=reason)
            case Never(reason):
                await self._end(slip, "dead", reason, now_ms)
            case Gone(reason):
                await self._around.shelf.disable(channel.name, address_id(channel), reason)
                logger.error("channel_switched_off", channel=channel.name, reason=reason)
                await self._end(slip, "dead", reason, now_ms)

    async def _end(self, slip: Slip, state: str, reason: str, now_ms: int) -> None:
        changed = await self._change(slip, now_ms, state=state, reason=reason, under_way=False)
        if changed is None:
            return
        row = slip.row
        self._around.metrics.outcomes.labels(row.channel, state).inc()
        log = logger.info if state in ("sent", "overtaken", "digested") else logger.warning
        log("delivery_over", delivery=row.row_id, outcome=state, reason=reason)

    async def _change(self, slip: Slip, now_ms: int, **fields: Any) -> Slip | None:
        after = msgspec.structs.replace(slip.row, updated=now_ms, **fields)
        changed = await self._around.shelf.settle(slip, after)
        if changed is None:
            logger.info("delivery_changed_meanwhile", delivery=slip.row.row_id)
        return changed

    # Digests.

    async def _send_digests(self, now_ms: int) -> None:
        shelf = self._around.shelf
        while due := await shelf.waiting_in("digest", now_ms, 10 * PAGE):
            together: dict[tuple[str, int], list[Slip]] = {}
            for slip in due:
                together.setdefault((slip.row.channel, slip.row.due), []).append(slip)
            for (channel, at), slips in sorted(together.items(), key=lambda item: item[0]):
                # Named by what it holds: made again after a crash, it is the same.
                members = sorted(slip.row.row_id for slip in slips)
                message_id = digest("digest", channel, str(at), *members)
                listed = sorted((slip.row for slip in slips), key=lambda row: row.row_id)
                notice = digest_notice(listed, at, self._around.public_url)
                await shelf.add(rows.notice_row(notice, message_id, channel, "digest", now_ms))
                for slip in slips:
                    await self._end(slip, "digested", f"in digest {message_id}", now_ms)

    # The storm guard.

    async def _guard(self, policy: Policy, now_ms: int) -> None:
        shelf, rules = self._around.shelf, policy.storm
        window = storm.window_ms(rules)
        clock, offsets = await shelf.read_so_far()
        data_ms = clock if self._around.clock == "stream" and clock else now_ms
        # A stream's time may lie before the one that was sampled while nothing was known of it.
        if abs(data_ms - self._sampled_at) >= window // SAMPLES_PER_WINDOW:
            horizon = data_ms - (storm.WINDOWS + 1) * window
            await shelf.add_sample(data_ms, offsets, horizon)
            await shelf.forget_crossings(horizon)
            self._sampled_at = data_ms
        seen = await shelf.seen(data_ms - window)
        order = await shelf.order()
        self._storm = await shelf.storm()
        match storm.step(self._storm, seen, rules, None if order is None else order.order):
            case "begin":
                late, early = await shelf.crossings(
                    data_ms - (storm.WINDOWS + 1) * window, data_ms - window
                )
                cause = storm.likely_cause(
                    late, early, storm.volumes(await shelf.samples(), data_ms, window)
                )
                self._storm = StormState(
                    incident_id=digest("storm", str(data_ms), self._around.me),
                    since=data_ms,
                    crossed=seen.crossed,
                    active=seen.active,
                    cause=cause,
                )
                await shelf.set_storm(self._storm)
                logger.warning("storm_begun", crossed=seen.crossed, active=seen.active, cause=cause)
            case "clear":
                await self._let_go(rules.on_clear, policy, now_ms)
                if self._storm is not None:
                    await shelf.keep_storm(msgspec.structs.replace(self._storm, over=data_ms))
                await shelf.set_storm(None)
                self._storm = None
            case "release" | "discard":
                assert order is not None
                await self._decided(order, policy, now_ms)
            case None:
                pass
        if self._storm is not None and self._told_incident != self._storm.incident_id:
            await self._tell_incident(self._storm, policy, now_ms)
        self._around.metrics.held.set(await shelf.count_in("held"))

    async def _decided(self, decided: Decided, policy: Policy, now_ms: int) -> None:
        """Do what a person wants: what is held goes, and released once, nothing more is held."""
        shelf = self._around.shelf
        await self._let_go(decided.order, policy, now_ms, decided.actor)
        if self._storm is not None:
            overruled = self._storm.overruled or decided.order == "release"
            self._storm = msgspec.structs.replace(self._storm, overruled=overruled, decided=decided)
            await shelf.set_storm(self._storm)
        await shelf.obeyed(decided)

    async def _let_go(self, order: Order, policy: Policy, now_ms: int, actor: str = "") -> None:
        held = 0
        place: Waiting = "held"
        by = f" by {actor}" if actor else ""
        while slips := await self._around.shelf.waiting_in(place, FOREVER, 10 * PAGE):
            held += len(slips)
            for slip in slips:
                if order == "release":
                    state: State = "waiting"
                    await self._change(
                        slip, now_ms, state=state, due=now_ms, reason=f"released{by}"
                    )
                else:
                    why = f"discarded{by or ' after an alert storm'}"
                    await self._end(slip, "discarded", why, now_ms)
        if self._storm is not None:
            outcome = {"release": "released", "discard": "discarded"}[order]
            notice = storm_over_notice(held=held, outcome=outcome, at_ms=now_ms)
            await self._tell_all(notice, digest(self._storm.incident_id, order), policy, now_ms)
        logger.warning("storm_over", held=held, outcome=order)

    async def _tell_incident(self, state: StormState, policy: Policy, now_ms: int) -> None:
        notice = storm_notice(
            crossed=state.crossed,
            active=state.active,
            minutes=policy.storm.window_minutes,
            cause=state.cause,
            at_ms=state.since,
        )
        await self._tell_all(notice, state.incident_id, policy, now_ms)
        self._told_incident = state.incident_id

    async def _tell_all(self, notice: Notice, message_id: str, policy: Policy, now_ms: int) -> None:
        wanted = policy.storm.channels
        for channel in policy.channels:
            if wanted is None or channel.name in wanted:
                row = rows.notice_row(notice, message_id, channel.name, "incident", now_ms)
                await self._around.shelf.add(row)


def address_id(channel: Channel) -> str:
    """Names where a channel goes, without saying it: another address switches it on again."""
    return digest(channel.url.get_secret_value())


def _limits(policy: Policy, row: Row) -> Limits:
    rule = next((rule for rule in policy.rules if rule.name == row.rule), None)
    return Limits() if rule is None else Limits(rule.quiet_hours, rule.max_per_hour)


def _origin(row: Row) -> str:
    if row.kind != "alert":
        return ""
    try:
        return decode_alert(row.content).origin
    except msgspec.MsgspecError:
        return ""  # the attempt will say that it cannot be read
