"""`GET /alerts/effect`: what sums show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.alerts import Arm
from contracts.times import DAY_MS
from contracts.topics import SCORES
from contracts.trials import Cell, Sums, Tally, encode_sums
from ingest_api.alert_effect import effects
from model.effect import Alerted, effect
from model.instants import Instants
from runtime import keys
from tests.unit.ingest_api.stand import NOON, Stand

HORIZON = 7
TODAY = NOON // DAY_MS


def cell(arm: Arm, day: int, rule: str = "default") -> Cell:
    return Cell("1", rule, arm, HORIZON, day)


@given(
    people=st.lists(
        st.tuples(
            st.integers(1, 60), st.integers(0, DAY_MS - 1), st.booleans(),
            st.none() | st.integers(1, 20 * DAY_MS),
        ),
        max_size=80,
    )
)  # fmt: skip
def test_sums_show_what_the_log_shows(
    people: list[tuple[int, int, bool, int | None]],
) -> None:
    """
    The figures of whole days that are settled are those that `ebbtide alerts effect` has of them.

    people: days ago and time of day of the first alert, treated, and when they came back.
    """
    now_ms = TODAY * DAY_MS
    sums: Sums = {}
    user, at, treated, seen_user, seen_at = [], [], [], [], []
    for number, (days_ago, time_of_day, is_treated, returned) in enumerate(people):
        moment = (TODAY - days_ago) * DAY_MS + time_of_day
        known = cell("treated" if is_treated else "control", moment // DAY_MS)
        in_time = returned is not None and returned <= HORIZON * DAY_MS
        sums[known] = sums.get(known, Tally()) + Tally(1, int(in_time))
        if days_ago > HORIZON:
            user.append(number)
            at.append(moment)
            treated.append(is_treated)
        if returned is not None:
            seen_user.append(number)
            seen_at.append(moment + returned)
    expected = effect(
        Instants(np.array(seen_user, np.int64), np.array(seen_at, np.int64)),
        Alerted(np.array(user, np.int64), np.array(at, np.int64), np.array(treated, bool)),
        horizon=HORIZON * DAY_MS,
        until=now_ms,
    )

    found = effects(sums, None, now_ms)

    if not people:
        assert () == found.rules
        return
    shown = found.rules[0]
    assert (expected.treated.users, expected.treated.retained) == (
        shown.treated.users,
        shown.treated.retained,
    )
    assert (expected.control.users, expected.control.retained) == (
        shown.control.users,
        shown.control.retained,
    )
    assert (expected.interval, expected.smallest, expected.alerts_needed, expected.verdict) == (
        None if shown.interval is None else (shown.interval.low, shown.interval.high),
        shown.smallest,
        shown.alerts_needed,
        shown.verdict,
    )
    assert len(people) == shown.treated.users + shown.control.users + shown.waiting


@pytest.mark.parametrize(
    ("retained", "verdict"),
    [((420, 400), "not yet known"), ((550, 400), "alerts help"), ((300, 400), "alerts harm")],
)
async def test_an_effect_is_claimed_only_when_the_interval_excludes_zero(
    gateway: Stand, retained: tuple[int, int], verdict: str
) -> None:
    """
    All rules together come first, then each; the sums of all partitions and shards count.
    """
    await gateway.redis.hset(keys.log(SCORES), "partitions", 2)
    arms: tuple[Arm, Arm] = ("treated", "control")
    for place, (arm, back) in enumerate(zip(arms, retained, strict=True)):
        sums = {cell(arm, TODAY - 20): Tally(1_000, back)}
        await gateway.redis.set(keys.trials(3 + place, place), encode_sums(sums))

    answer = (await gateway.http.get("/alerts/effect")).json()

    assert [None, "default"] == [one["rule"] for one in answer["rules"]]
    shown = answer["rules"][0]
    low, high = shown["interval"]["low"], shown["interval"]["high"]
    assert (verdict, 1_000, 0) == (shown["verdict"], shown["treated"]["users"], shown["waiting"])
    assert (verdict == "not yet known") is (low <= 0 <= high)
    assert ("1", HORIZON) == (answer["epoch"], answer["horizon_days"])


def test_several_rules_are_looked_at_together() -> None:
    """
    A difference that would be called an effect of one rule is not of four: their intervals are
    wider, and each answer says at what confidence.
    """
    rules = ("a", "b", "c", "d")
    sums: Sums = {cell("treated", TODAY - 20, rule): Tally(1_000, 445) for rule in rules}
    sums |= {cell("control", TODAY - 20, rule): Tally(1_000, 400) for rule in rules}

    def told(sums: Sums) -> list[tuple[str | None, str, float]]:
        return [(one.rule, one.verdict, one.confidence) for one in effects(sums, None, NOON).rules]

    one = {known: tally for known, tally in sums.items() if known.rule == "a"}
    assert [(None, "alerts help", 0.95), ("a", "alerts help", 0.95)] == told(one)
    assert [
        (None, "alerts help", 0.975),
        *((rule, "not yet known", 0.99375) for rule in rules),
    ] == told(sums)


async def test_nothing_is_known_where_nobody_takes_part(gateway: Stand) -> None:
    """
    Before the first alert under a holdout, and without any scores' log.
    """
    answer = (await gateway.http.get("/alerts/effect")).json()

    assert ([], None, None) == tuple(answer[name] for name in ("rules", "epoch", "share"))
