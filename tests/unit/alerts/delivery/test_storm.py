"""When a storm begins and clears, and what it is put down to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alerts.delivery.channels_config import Storm
from alerts.delivery.rows import Crossing
from alerts.delivery.storm import Seen, Volume, likely_cause, step, volumes
from contracts.storms import StormState
from contracts.times import HOUR_MS
from tests.churn_scores import NOON

RULES = Storm(share=0.2, least_users=20)
RAGING = StormState(incident_id="i", since=NOON, crossed=50, active=100, cause="?")


def seen(crossed: int, active: int = 100) -> Seen:
    return Seen(crossed=crossed, active=active)


def test_a_storm_begins_at_the_share_and_clears_below_half_of_it() -> None:
    """A share that dances about the threshold is one storm."""
    assert None is step(None, seen(19), RULES, None)
    assert "begin" == step(None, seen(20), RULES, None)
    assert None is step(RAGING, seen(20, 180), RULES, None)
    assert "clear" == step(RAGING, seen(20, 201), RULES, None)
    assert "clear" == step(RAGING, seen(0), RULES, None)


def test_a_few_users_are_never_a_storm() -> None:
    """In a small shop one user is a large share."""
    assert None is step(None, seen(5, 5), RULES, None)
    assert "begin" == step(None, seen(20, 0), RULES, None)


def test_a_persons_word_comes_first() -> None:
    """Held alerts are released or discarded whether or not the storm goes on."""
    assert "release" == step(RAGING, seen(0), RULES, "release")
    assert "discard" == step(None, seen(99), RULES, "discard")


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_what_begins_a_storm_does_not_clear_it(crossed: int, active: int) -> None:
    """The two thresholds lie apart, whatever is seen."""
    if step(None, seen(crossed, active), RULES, None) == "begin":
        assert step(RAGING, seen(crossed, active), RULES, None) is None


def crossings(count: int, model: str = "m1", **fields: str) -> list[Crossing]:
    return [Crossing(f"{model}-{n}-{fields}", model, **fields) for n in range(count)]


USUAL = {0: Volume(latest=100, usual=110), 1: Volume(latest=90, usual=80)}


def test_a_new_model_is_named() -> None:
    """When nearly all openings come from a model no alert came from before."""
    said = likely_cause(crossings(48, "m2") + crossings(2), crossings(30), USUAL)

    assert "new model" in said.lower()
    assert "m2" in said
    assert "new model" not in likely_cause(crossings(50), crossings(30), USUAL).lower()


def test_a_stopped_feed_is_named_before_anything_else() -> None:
    """Fewer than half of the usual events."""
    stopped = {0: Volume(latest=0, usual=110), 1: Volume(latest=3, usual=80)}

    assert "Fewer events arrive" in likely_cause(crossings(50, "m2"), crossings(30), stopped)


def test_one_silent_partition_is_named() -> None:
    """One of four receives nothing, the others as much as usual."""
    four = {n: Volume(latest=100 * (n != 2), usual=100) for n in range(4)}

    assert "partition 2" in likely_cause(crossings(50), [], four)


def test_one_silent_source_is_named_by_what_its_users_have_in_common() -> None:
    """Nearly all have one device type, which is not usual."""
    usual = crossings(15, device_type="ios") + crossings(15, device_type="android")
    said = likely_cause(crossings(50, device_type="android"), usual, USUAL)

    assert "device type android" in said
    always = crossings(30, device_type="android")
    assert "No likely cause" in likely_cause(crossings(50, device_type="android"), always, USUAL)


def test_volumes_compare_the_last_window_with_earlier_ones() -> None:
    """The usual volume is the median of the earlier windows; a new log counts from there on."""
    steady = [(NOON + n * HOUR_MS, {0: 100 * n, 1: 50 * n}) for n in range(6)]
    stopped = [*steady, (NOON + 6 * HOUR_MS, {0: 500, 1: 300})]

    assert {0: Volume(latest=0, usual=100), 1: Volume(latest=50, usual=50)} == volumes(
        stopped, NOON + 6 * HOUR_MS, HOUR_MS
    )
    assert {} == volumes([], NOON, HOUR_MS)
    anew = [*steady, (NOON + 6 * HOUR_MS, {0: 7})]
    assert {} == volumes(anew, NOON + 6 * HOUR_MS, HOUR_MS)


def test_volumes_of_a_time_to_come_say_nothing() -> None:
    """Where the clock has begun anew, the samples of before count only once their time has come."""
    later = [(NOON + n * HOUR_MS, {0: 100 * n}) for n in range(3, 6)]

    assert {} == volumes(later, NOON, HOUR_MS)
    assert {0: Volume(latest=0, usual=None)} == volumes(
        [(NOON - HOUR_MS, {0: 5}), (NOON, {0: 5}), *later], NOON, HOUR_MS
    )
