"""From due deliveries to attempts, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from prometheus_client import CollectorRegistry

from alerts.delivery.channels_config import Delivery
from alerts.delivery.dispatch import LEASE_MS, MARGIN_MS, Around, Dispatcher
from alerts.delivery.metrics import DeliveryMetrics
from alerts.delivery.outcome import Delivered, Gone, Later, Never, Outcome
from alerts.rules import Policy, Rule
from contracts.deliveries import Row
from contracts.storms import Decided
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from runtime.health import Health
from tests.churn_alerts import churn_alert
from tests.churn_scores import NOON
from tests.unit.alerts.delivery.shelf import FakeShelf


@dataclass
class Recorder:
    """A Sender that sends nothing: it keeps what it was given and answers as told."""

    answers: dict[str, list[Outcome]] = field(default_factory=dict)
    """By channel, the answers to come; Delivered after them."""
    sent: list[Row] = field(default_factory=list)
    at: list[int] = field(default_factory=list)

    async def send(self, channel: Any, row: Row, now_ms: int) -> Outcome:
        self.sent.append(row)
        self.at.append(now_ms)
        answers = self.answers.get(channel.name, [])
        return answers.pop(0) if answers else Delivered()


class Stage:
    """A dispatcher with a clock of the test's own."""

    def __init__(self, *channels: dict[str, Any], storm: Any = None, rule: Rule | None = None):
        self.now = NOON
        self.shelf = FakeShelf()
        self.sender = Recorder()
        self.registry = CollectorRegistry()
        self.metrics = DeliveryMetrics(self.registry)
        said = Delivery.model_validate(
            {"channels": list(channels) or [crm()], "storm": storm or {"least_users": 10_000}}
        )
        self.policy = Policy((rule or Rule(),), said.channels, said.storm)
        self.dispatcher = self.another()

    def another(self, clock: Literal["wall", "stream"] = "wall") -> Dispatcher:
        return Dispatcher(
            Around(
                shelf=self.shelf,
                sender=self.sender,
                policy=lambda: self.policy,
                metrics=self.metrics,
                public_url="",
                clock=clock,
                now_ms=lambda: self.now,
            )
        )

    async def tick(self, after_ms: int = 0) -> None:
        """Let time pass, dispatch, and let the attempts end."""
        self.now += after_ms
        await self.dispatcher.tick()
        await self.dispatcher.finished()

    async def run_for(self, ms: int, step_ms: int) -> None:
        until = self.now + ms
        while self.now < until:
            await self.tick(step_ms)

    def the_row(self) -> Row:
        (row,) = self.shelf.rows.values()
        return row

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def crm(name: str = "crm", **more: Any) -> dict[str, Any]:
    return {"kind": "slack", "name": name, "url": f"https://{name}.example/", **more}


async def test_an_alert_is_told_once() -> None:
    """What a channel acknowledged is not attempted again."""
    stage = Stage()
    stage.shelf.take_in(churn_alert(), NOON)

    await stage.run_for(DAY_MS, HOUR_MS)

    assert 1 == len(stage.sender.sent)
    assert "sent" == stage.the_row().state


async def test_failures_follow_the_schedule_and_end() -> None:
    """Ten attempts over three days, then the delivery is dead and says why."""
    stage = Stage()
    stage.sender.answers["crm"] = [Later("HTTP 503")] * 20
    stage.shelf.take_in(churn_alert(), NOON)

    await stage.run_for(6 * DAY_MS, 5 * SECOND_MS * 12)

    waits = [b - a for a, b in zip(stage.sender.at, stage.sender.at[1:], strict=False)]
    assert 10 == len(stage.sender.at)
    assert waits == sorted(waits)
    assert "dead" == stage.the_row().state
    assert "gave up after 10 attempts: HTTP 503" == stage.the_row().reason
    assert 0 == stage.counted("ebbtide_delivery_repeats_total", channel="crm")


async def test_what_never_works_is_not_repeated() -> None:
    """Another client error than 408, 425 or 429 ends the delivery at once."""
    stage = Stage()
    stage.sender.answers["crm"] = [Never("HTTP 400")]
    stage.shelf.take_in(churn_alert(), NOON)

    await stage.run_for(DAY_MS, HOUR_MS)

    assert (1, "dead") == (len(stage.sender.sent), stage.the_row().state)


async def test_a_channel_that_is_gone_is_switched_off_until_its_address_changes() -> None:
    """After HTTP 410 nothing is attempted; another URL is another receiver."""
    stage = Stage(crm())
    stage.sender.answers["crm"] = [Gone("HTTP 410")]
    for user in ("ada", "bob"):
        stage.shelf.take_in(churn_alert(user_id=user), NOON)
        await stage.tick(2 * SECOND_MS)
    assert 1 == len(stage.sender.sent)
    assert {"dead": 2} == stage.shelf.states()

    moved = crm(url="https://elsewhere.example/")
    stage.policy = Policy(channels=Delivery.model_validate({"channels": [moved]}).channels)
    stage.shelf.take_in(churn_alert(user_id="eve"), stage.now)
    await stage.tick(2 * SECOND_MS)

    assert ["ada", "eve"] == [row.user_id for row in stage.sender.sent]


async def test_an_attempt_nobody_knows_the_end_of_is_made_again_and_counted() -> None:
    """A worker killed between sending and settling: the same id again, as a repeat."""
    stage = Stage()
    stage.shelf.take_in(churn_alert(), NOON)
    stage.shelf.away = False
    send = stage.sender.send

    async def send_and_die(channel: Any, row: Row, now_ms: int) -> Outcome:
        outcome = await send(channel, row, now_ms)
        stage.shelf.away = True
        return outcome

    stage.sender.send = send_and_die  # type: ignore[method-assign]
    await stage.tick()
    stage.shelf.away, stage.sender.send = False, send  # type: ignore[method-assign]
    await stage.tick(5 * SECOND_MS)
    assert 1 == len(stage.sender.sent)

    await stage.tick(15 * SECOND_MS + MARGIN_MS)

    assert 2 == len(stage.sender.sent)
    assert 1 == len({row.message_id for row in stage.sender.sent})
    assert ("sent", 2, 1) == (
        stage.the_row().state,
        stage.the_row().attempts,
        stage.the_row().repeats,
    )
    assert 1 == stage.counted("ebbtide_delivery_repeats_total", channel="crm")


async def test_only_one_of_several_dispatches() -> None:
    """The second one does nothing until the first is gone."""
    stage = Stage()
    first, second = stage.dispatcher, stage.another()
    await first.tick()
    stage.shelf.take_in(churn_alert(), NOON)

    await second.tick()
    await second.finished()
    assert [] == stage.sender.sent
    stage.shelf.leader = None
    await second.tick()
    await second.finished()

    assert (False, True) == (await stage.shelf.lead("x", LEASE_MS), second.leads)
    assert 1 == len(stage.sender.sent)


async def test_a_row_changed_meanwhile_is_left_alone() -> None:
    """A dispatcher with an old view neither sends nor writes."""
    stage = Stage()
    stage.shelf.take_in(churn_alert(), NOON)
    slips = await stage.shelf.due("crm", NOON, 10)
    await stage.tick()

    async def old_view(*_: Any) -> Any:
        return slips

    stage.shelf.due = old_view  # type: ignore[method-assign,assignment]
    await stage.tick(2 * SECOND_MS)

    assert 1 == len(stage.sender.sent)


async def test_a_receiver_that_is_away_is_in_nobodys_way() -> None:
    """One channel fails for hours, the other is told at once."""
    stage = Stage(crm("bad"), crm("good"))
    stage.sender.answers["bad"] = [Later("no answer")] * 100
    for user in map(str, range(3)):
        for channel in ("bad", "good"):
            stage.shelf.take_in(churn_alert(user_id=user), NOON, channel)

    await stage.run_for(10 * SECOND_MS, SECOND_MS)

    told = [row.user_id for row in stage.sender.sent if row.channel == "good"]
    assert ["0", "1", "2"] == sorted(told)


async def test_a_channels_rate_holds_for_attempts() -> None:
    """With 6 a minute, a minute sees 6 of 20 alerts."""
    stage = Stage(crm(rate_per_minute=6))
    for user in map(str, range(20)):
        stage.shelf.take_in(churn_alert(user_id=user), NOON)

    await stage.run_for(MINUTE_MS - 1, 999)

    assert 6 == len(stage.sender.sent)


async def test_more_than_the_cap_come_as_one_digest() -> None:
    """Three are told one by one, the other seven together at the full hour."""
    stage = Stage(crm(rate_per_minute=6000), rule=Rule(max_per_hour=3))
    for user in map(str, range(10)):
        stage.shelf.take_in(churn_alert(user_id=user), NOON)

    await stage.run_for(MINUTE_MS, SECOND_MS)
    assert {"sent": 3, "digest": 7} == stage.shelf.states()
    await stage.run_for(HOUR_MS, MINUTE_MS)

    assert ["alert"] * 3 + ["digest"] == [row.kind for row in stage.sender.sent]
    assert b"7 more users slip away" in stage.sender.sent[-1].content
    assert {"sent": 4, "digested": 7} == stage.shelf.states()


async def test_who_came_back_before_anyone_was_told_is_no_news() -> None:
    """An opening that waits for the morning and its end both vanish."""
    all_day = {"from": "00:00", "until": "00:00", "zone": "Europe/Oslo"}
    stage = Stage(crm(quiet_hours=all_day))
    stage.shelf.take_in(churn_alert(), NOON)
    await stage.tick()
    stage.shelf.take_in(churn_alert("resolved", offset=2), stage.now)

    await stage.run_for(3 * DAY_MS, HOUR_MS)

    assert [] == stage.sender.sent
    assert {"overtaken": 2} == stage.shelf.states()


async def test_a_row_of_the_demo_model_is_refused() -> None:
    """Unless the channel wants it, an alert of the demo model is told to nobody."""
    stage = Stage(crm("crm"), crm("demo", allow_demo_model=True))
    for channel in ("crm", "demo"):
        stage.shelf.take_in(churn_alert(origin="simulator"), NOON, channel)

    await stage.tick()

    assert ["demo"] == [row.channel for row in stage.sender.sent]
    assert {"sent": 1, "refused": 1} == stage.shelf.states()


def stormy(stage: Stage, users: int, **more: Any) -> None:
    for number in range(users):
        stage.shelf.take_in(churn_alert(user_id=f"u{number}", at_ms=stage.now, **more), stage.now)


STORM = {"share": 0.2, "window_minutes": 60, "least_users": 20}


async def test_a_bad_model_is_one_incident() -> None:
    """A new model puts half the users at risk: one message names it, nothing else is told."""
    stage = Stage(crm(rate_per_minute=6000), storm=STORM)
    stage.shelf.active = 100
    for number in range(10):
        before = churn_alert(user_id=f"e{number}", at_ms=NOON - 5 * HOUR_MS)
        stage.shelf.take_in(before, NOON, "elsewhere")
    stormy(stage, 50, model_version="m2")

    await stage.run_for(MINUTE_MS, SECOND_MS)

    told = [row for row in stage.sender.sent if row.channel == "crm"]
    assert ["incident"] == [row.kind for row in told]
    assert b"model m2" in told[0].content
    assert 50 == stage.shelf.states()["held"]
    assert 50 == stage.counted("ebbtide_deliveries_held")


async def test_a_stopped_feed_is_one_incident_and_leaves_no_trace_when_it_returns() -> None:
    """The incident names the drop; when the users are heard of again, nobody is told of them."""
    stage = Stage(crm(rate_per_minute=6000), storm=STORM)
    stage.shelf.active = 100
    for hour in range(12):
        stage.shelf.volumes.append((NOON - (12 - hour) * HOUR_MS, {0: 100 * hour, 1: 90 * hour}))
    stage.shelf.read = (NOON, {0: 1_100, 1: 990})
    stage.now = NOON + 2 * HOUR_MS
    stormy(stage, 50)
    await stage.run_for(MINUTE_MS, SECOND_MS)
    assert b"Fewer events arrive" in stage.sender.sent[0].content

    for number in range(50):
        back = churn_alert("resolved", user_id=f"u{number}", offset=2, at_ms=stage.now)
        stage.shelf.take_in(back, stage.now)
    await stage.run_for(2 * HOUR_MS, MINUTE_MS)

    assert ["incident", "incident"] == [row.kind for row in stage.sender.sent]
    assert b"Alert storm over" in stage.sender.sent[1].content
    assert {"sent": 2, "overtaken": 100} == stage.shelf.states()
    assert stage.shelf.state is None


async def test_a_storm_on_a_stream_whose_time_is_long_ago() -> None:
    """Where a stream begins in the past, what was seen before it is in nobody's way."""
    stage = Stage(crm(rate_per_minute=6000), storm=STORM)
    stage.dispatcher = stage.another("stream")
    stage.shelf.active = 100
    await stage.run_for(MINUTE_MS, SECOND_MS)
    then = NOON - 80 * DAY_MS
    for number in range(50):
        stage.shelf.take_in(churn_alert(user_id=f"u{number}", at_ms=then), stage.now)
    stage.shelf.read = (then, {0: 1_000})

    await stage.run_for(MINUTE_MS, SECOND_MS)

    assert ["incident"] == [row.kind for row in stage.sender.sent]
    assert stage.shelf.state is not None
    assert then == stage.shelf.state.since
    assert then in [at for at, _ in stage.shelf.volumes]


@pytest.mark.parametrize(
    ("order", "told", "left"), [("release", 50, {"sent": 52}), ("discard", 0, {"discarded": 50})]
)
async def test_a_person_decides_about_the_held(order: Any, told: int, left: Any) -> None:
    """Released alerts are told, discarded ones are not, and both stay in the log."""
    stage = Stage(crm(rate_per_minute=6000), storm=STORM)
    stage.shelf.active = 100
    stormy(stage, 50)
    await stage.tick()
    stage.shelf.wanted = Decided(order=order, actor="grace", at=NOON)

    await stage.run_for(MINUTE_MS, SECOND_MS)

    assert told == sum(row.kind == "alert" for row in stage.sender.sent)
    assert left.items() <= stage.shelf.states().items()
    assert stage.shelf.wanted is None
    assert stage.shelf.state is not None
    assert stage.shelf.state.decided == Decided(order=order, actor="grace", at=NOON)
    assert (order == "release") is stage.shelf.state.overruled


@pytest.mark.parametrize(("on_clear", "told"), [("release", 50), ("discard", 0)])
async def test_a_storm_that_clears_does_as_the_policy_says(on_clear: str, told: int) -> None:
    """Without a person, the policy decides what becomes of the held alerts."""
    stage = Stage(crm(rate_per_minute=6000), storm=STORM | {"on_clear": on_clear})
    stage.shelf.active = 100
    stormy(stage, 50)

    await stage.run_for(2 * HOUR_MS, MINUTE_MS)

    assert told == sum(row.kind == "alert" for row in stage.sender.sent)
    assert 0 == stage.shelf.states().get("held", 0)


async def test_the_dispatcher_ends_when_told() -> None:
    """It gives its right back, so that another one goes on at once."""
    stage = Stage()
    stage.shelf.take_in(churn_alert(), NOON)
    stop = asyncio.Event()
    running = asyncio.create_task(stage.dispatcher.run(stop, Health()))
    await _until(lambda: bool(stage.sender.sent))
    stop.set()
    await running

    assert stage.shelf.leader is None


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the other side has no event
            await asyncio.sleep(0)
