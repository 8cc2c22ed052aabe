"""What the worker does when time passes or people command, on in-memory doubles."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.episode import Episode, decode
from alerts.fold import GRACE_MS, fold
from alerts.handler import INBOX_MS
from alerts.rules import Policy, Rule
from contracts.alerts import ChurnAlert
from contracts.commands import AlertCommand, encode_command
from contracts.errors import LogUnavailable, Refused, StoreUnavailable
from contracts.partition import home, shard
from contracts.scores import ChurnScore
from contracts.times import DAY_MS, HOUR_MS, from_ms, to_ms
from contracts.topics import ALERTS, CLOCK_HEADER, CLOCK_KEY, SCORES
from runtime import keys
from runtime.testing import record
from tests.churn_scores import NOON, churn_score
from tests.unit.alerts.test_handler import PARTITION, Bench, log_of, tombstone

PATIENT = Policy((Rule(for_ms=2 * DAY_MS),))
TOP = Policy((Rule(top=80.0),))
HERE = [name for name in map(str, range(99)) if home(name, 8) == PARTITION]
ADA, BOB = HERE[:2]
"""Users whose home the partition is."""


def day(number: float) -> int:
    return NOON + round(number * DAY_MS)


def score(probability: float, when: float, user_id: str = ADA, **values: object) -> ChurnScore:
    return churn_score(probability, when, user_id=user_id, **values)  # type: ignore[arg-type]


async def put_in(bench: Bench, *commands: AlertCommand) -> None:
    """As the intake does."""
    for place, command in enumerate(commands):
        key = keys.commands(shard(command.user_id), PARTITION)
        await bench.redis.zadd(key, {encode_command(command): float(place)})


def command(alert: ChurnAlert, when: float, until: float | None = None) -> AlertCommand:
    return AlertCommand(
        command_id=f"c{when}",
        user_id=alert.user_id,
        dedup_key=alert.dedup_key,
        kind="acknowledge" if until is None else "snooze",
        until=None if until is None else from_ms(day(until)),
        actor="eve",
        at=from_ms(day(when)),
    )


def timers(bench: Bench) -> dict[str, float]:
    return {
        member.decode(): due
        for key, members in bench.redis.state.zsets.items()
        if ":et:" in key
        for member, due in members.items()
    }


def episode(bench: Bench, user_id: str = ADA) -> Episode:
    return decode(bench.redis.state.strings[keys.episode(user_id)])


async def test_a_wait_ends_although_nobody_sends_anything() -> None:
    """Once time is past its end by the grace, the alert goes out with the moment it ended at."""
    bench = Bench(policy=PATIENT)
    handler = await bench.opened()
    await handler.handle(log_of(score(0.8, 1)))
    assert {ADA: day(3)} == timers(bench)

    assert not await handler.sweep(day(3) + GRACE_MS - 1)
    assert [] == bench.kinds
    assert await handler.sweep(day(3) + GRACE_MS)

    assert [("opened", from_ms(day(3)))] == [(a.kind, a.occurred_at) for a in bench.alerts]
    assert ({}, True) == (timers(bench), episode(bench).open is not None)
    assert not await handler.sweep(day(30))
    assert await bench.redis.zrange(keys.alert_ids(ADA), 0, -1)


async def test_the_next_owner_ends_the_wait() -> None:
    """Timers are in the store, and so is the time that had been reached."""
    bench = Bench(policy=PATIENT)
    await (await bench.opened()).handle(log_of(score(0.8, 1)))

    successor = await bench.opened()

    assert day(1) == successor.log_time
    assert await successor.sweep(day(4))
    assert ["opened"] == bench.kinds


async def test_a_return_stops_the_timer() -> None:
    """There is nothing left to wait for, nor after an erasure."""
    bench = Bench(policy=PATIENT)
    handler = await bench.opened()
    await handler.handle(log_of(score(0.8, 1), score(0.8, 1, BOB)))
    assert {ADA, BOB} == set(timers(bench))

    back = score(0.1, 2, trigger="activity", last_seen_day=2.0)
    await handler.handle(log_of(score(0.8, 1), score(0.8, 1, BOB), back, tombstone(BOB)))

    assert ({}, []) == (timers(bench), bench.kinds)


async def test_another_policy_puts_the_timer_right() -> None:
    """A longer `for` is waited for, though the index still says otherwise; a rule that is gone
    never speaks."""
    bench = Bench(policy=PATIENT)
    handler = await bench.opened()
    await handler.handle(log_of(score(0.8, 1), score(0.8, 1, BOB)))
    bench.policy = Policy((Rule(for_ms=4 * DAY_MS),))

    assert await handler.sweep(day(3.5))
    assert ({ADA: day(5), BOB: day(5)}, []) == (timers(bench), bench.kinds)
    bench.policy = Policy((Rule("another"),))
    await handler.sweep(day(6))

    assert ({}, []) == (timers(bench), bench.kinds)


async def test_a_command_is_done_once() -> None:
    """It leaves the inbox in the step that changes the episode."""
    bench = Bench()
    handler = await bench.opened()
    await handler.handle(log_of(score(0.8, 1)))
    await put_in(bench, command(bench.alerts[0], 2))

    assert await handler.sweep(day(1))
    assert not await handler.sweep(day(1))
    await (await bench.opened()).sweep(day(1))

    assert ["opened", "acknowledged"] == bench.kinds
    assert "eve" == bench.alerts[1].actor
    assert [] == [
        key for key in bench.redis.state.zsets if ":cmd:" in key and bench.redis.state.zsets[key]
    ]


async def test_the_inbox_is_looked_into_now_and_then_or_when_the_bell_rings() -> None:
    """Idle partitions leave Redis alone."""
    bench = Bench()
    handler = await bench.opened()
    await handler.handle(log_of(score(0.8, 1)))
    assert not await handler.sweep(day(1))
    await put_in(bench, command(bench.alerts[0], 2))

    assert not await handler.sweep(day(1))
    bench.bell.add(PARTITION)
    assert await handler.sweep(day(1))
    await put_in(bench, command(bench.alerts[0], 3, until=5))
    bench.now += INBOX_MS
    assert await handler.sweep(day(1))

    assert ["opened", "acknowledged", "snoozed"] == bench.kinds


async def test_a_snooze_wakes_by_the_clock() -> None:
    """And who comes back meanwhile is told of at once."""
    bench = Bench()
    handler = await bench.opened()
    first = [score(0.8, 1), score(0.8, 1, BOB)]
    await handler.handle(log_of(*first))
    await put_in(bench, *(command(alert, 2, until=5) for alert in bench.alerts))
    await handler.sweep(day(2))
    assert {ADA: day(5), BOB: day(5)} == timers(bench)

    back = score(0.1, 3, BOB, trigger="activity", last_seen_day=3.0)
    await handler.handle(log_of(*first, back))
    await handler.sweep(day(6))

    assert [
        *[(ADA, "opened"), (BOB, "opened"), (ADA, "snoozed"), (BOB, "snoozed")],
        *[(BOB, "resolved"), (ADA, "escalated")],
    ] == [(alert.user_id, alert.kind) for alert in bench.alerts]
    assert {} == timers(bench)


async def test_a_command_for_an_erased_user_goes() -> None:
    """There is no episode left to say anything of."""
    bench = Bench()
    handler = await bench.opened()
    await handler.handle(log_of(score(0.8, 1), tombstone(ADA)))
    await put_in(bench, command(bench.alerts[0], 2))

    assert await handler.sweep(day(2))
    assert not await handler.sweep(day(2))

    assert ["opened"] == bench.kinds
    assert keys.episode(ADA) not in bench.redis.state.strings


@pytest.mark.parametrize("wrote", [False, True])
async def test_a_crash_around_a_sweeps_save_repeats_under_the_same_ids(wrote: bool) -> None:
    """Killed before the save, what was published comes again; after it, nothing does."""
    bench = Bench(policy=PATIENT)
    handler = await bench.opened()
    await handler.handle(log_of(score(0.8, 1)))
    crash = StoreUnavailable("gone")
    bench.ledger.fails_after, bench.ledger.fails_before = (crash, None) if wrote else (None, crash)
    with pytest.raises(StoreUnavailable):
        await handler.sweep(day(4))

    await (await bench.opened()).sweep(day(5))

    assert (1 if wrote else 2) == len(bench.alerts)
    assert 1 == len({alert.alert_id for alert in bench.alerts})


async def test_what_is_not_acknowledged_is_not_saved() -> None:
    """State moves only after the alert is safe in Kafka."""
    bench = Bench(policy=PATIENT)
    handler = await bench.opened()
    await handler.handle(log_of(score(0.8, 1)))
    bench.publisher.fails = LogUnavailable("no")

    with pytest.raises(LogUnavailable):
        await handler.sweep(day(4))

    assert ({ADA: day(3)}, True) == (timers(bench), episode(bench).open is None)


async def test_a_zombie_ends_no_wait() -> None:
    """Somebody else has read on: their episodes are not what it knows."""
    bench = Bench(policy=PATIENT)
    zombie = await bench.opened()
    first = score(0.8, 1)
    await zombie.handle(log_of(first))
    owner = await bench.opened()
    back = score(0.1, 2, trigger="activity", last_seen_day=2.0)
    await owner.handle(log_of(first, back, score(0.9, 3, BOB)))

    with pytest.raises(Refused):
        await zombie.sweep(day(6))

    assert [] == bench.kinds


async def test_clock_records_end_waits_in_the_order_of_the_log() -> None:
    """A record that carries nothing but time lets the waits before it end before what follows."""
    bench = Bench(policy=PATIENT)
    clock = record(None, key=CLOCK_KEY, timestamp=day(4), headers=[(CLOCK_HEADER, b"")])
    # It was made before the wait ended, and lies behind the clock.
    late = score(0.1, 2, trigger="activity", last_seen_day=2.0)

    await (await bench.opened()).handle(log_of(score(0.8, 1), clock, late))

    assert ["opened", "resolved"] == bench.kinds


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.6, 0.7, 0.9]),
        st.sampled_from(HERE[:4]),
        st.sampled_from([0.0, 0.5, 2.0, 5.0]),
        st.sampled_from(["silence", "silence", "activity"]),
    ),
    max_size=15,
)
WAITING = Policy(
    (
        Rule("soon", 0.7, for_ms=6 * HOUR_MS, cooldown_ms=2 * DAY_MS, looks_again=True),
        Rule("late", 0.6, looks_again=True, cooldown_ms=5 * DAY_MS),
    )
)


@given(STEPS, st.data(), st.sampled_from([WAITING, TOP]))
async def test_where_a_batch_is_cut_makes_no_difference(
    steps: list[tuple[float, str, float, str]], data: st.DataObject, policy: Policy
) -> None:
    """With waits, too: a new worker and a sweep after each batch, the same alerts and states."""
    when, scores = 1.0, []
    for place, (probability, user_id, passes, trigger) in enumerate(steps):
        when += passes
        seen = when if trigger == "activity" else 0.0
        entry = score(probability, when, user_id, offset=place, trigger=trigger, last_seen_day=seen)
        scores.append(entry)
    records = log_of(*scores)
    whole, cut = Bench(policy=policy), Bench(policy=policy)
    if records:
        await (await whole.opened()).handle(records)

    rest = records
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        handler = await cut.opened()
        await handler.handle(rest[:size])
        while await handler.sweep(handler.log_time):
            pass
        rest = rest[size:]

    assert _by_user(whole) == _by_user(cut)
    assert whole.redis.state.strings == cut.redis.state.strings
    assert {k: v for k, v in whole.redis.state.zsets.items() if v} == {
        k: v for k, v in cut.redis.state.zsets.items() if v
    }
    assert timers(whole) == timers(cut)
    expected = [alert for told in fold(scores, policy) for alert in told]
    if policy is WAITING:
        told = {alert.alert_id for alert in whole.alerts}
        assert {a.alert_id for a in expected} <= told


def _by_user(bench: Bench) -> list[ChurnAlert]:
    return sorted(bench.alerts, key=lambda alert: (alert.user_id, alert.occurred_at))


async def test_the_counts_of_a_day_survive() -> None:
    """They are stored with the watermark, and a redelivered batch counts once."""
    bench = Bench(policy=TOP)
    records = log_of(*(score(0.8, 1 + n / 10, HERE[n]) for n in range(6)))
    handler = await bench.opened()
    await handler.handle(records[:3])
    await handler.handle(records)
    before = bench.redis.state.strings[keys.tops(PARTITION)]

    await (await bench.opened()).handle(records)
    await (await bench.opened()).sweep(day(9))

    assert before == bench.redis.state.strings[keys.tops(PARTITION)]


async def test_a_shard_that_is_behind_counts_nothing_twice() -> None:
    """What the counts know, they know, whichever shard has to be told again."""
    bench = Bench(policy=TOP)
    records = log_of(*(score(0.8, 1 + n / 10, HERE[n]) for n in range(6)))
    await (await bench.opened()).handle(records)
    before = bench.redis.state.strings[keys.tops(PARTITION)]
    behind = shard(HERE[2])
    await bench.redis.hset(keys.marks(behind, SCORES), str(PARTITION), "1:0")
    await bench.redis.delete(keys.episode(HERE[2]))

    await (await bench.opened()).handle(records)

    assert before == bench.redis.state.strings[keys.tops(PARTITION)]


async def test_an_episode_of_the_release_before_goes_on() -> None:
    """State of version 1 is read where it lies, and written anew."""
    bench = Bench()
    old = bytes([1]) + msgspec.msgpack.encode(
        [1, 0, day(1), day(1), [bytes(16), day(1), 0.8, None], False]
    )
    await bench.redis.set(keys.episode(ADA), old)

    await (await bench.opened()).handle(log_of(score(0.1, 2)))

    assert [("resolved", "default", bytes(16).hex())] == [
        (alert.kind, alert.rule, alert.dedup_key) for alert in bench.alerts
    ]
    assert ALERTS == bench.publisher.published[0].topic
    assert to_ms(bench.alerts[0].opened_at) == day(1)


def test_users_here_are_at_home() -> None:
    """Else their timers would be sent elsewhere."""
    assert {PARTITION} == {home(user_id, 8) for user_id in (ADA, BOB)}
    assert replace(Rule(), name="x") != Rule()
