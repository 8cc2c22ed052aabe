"""Laws of the silence curve."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.record import LEVELS, NO_CROSSING, blank_facts
from contracts.times import DAY_MS, HOUR_MS, NEVER, SESSION_GAP_MS
from model.silence import (
    at_risk_at,
    crossing_times,
    crossings,
    next_due,
    patience,
    silence_curve,
    value_at,
)
from tests.fading_model import FadingModel

SEEN = 1_790_000_000_000
GRID_END = 2160

hours = st.integers(0, GRID_END) | st.just(NO_CROSSING)
curves = st.lists(hours, min_size=LEVELS, max_size=LEVELS).map(
    lambda entries: np.sort(np.array([entries], np.uint16), axis=1)
)
ladders = st.lists(st.integers(1, 999_999), min_size=LEVELS, max_size=LEVELS, unique=True).map(
    lambda millionths: np.sort(np.array(millionths)) / 1e6
)


class Steps:
    """A model whose risk jumps at stated hours of silence; monotone only if the jumps are."""

    def __init__(self, risks: list[float], ladder: np.ndarray) -> None:
        self.levels = ladder
        self.grid_hours = np.arange(1, len(risks)) * 6
        self._risks = np.array(risks)

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        silent = (as_of - facts["last_seen"]) // HOUR_MS
        return self._risks[np.where(silent == 0, 0, silent // 6)]


risks = st.lists(st.integers(0, 1_000_000).map(lambda m: m / 1e6), min_size=2, max_size=12)


def seen(*moments: int) -> np.ndarray:
    facts = blank_facts(len(moments))
    facts["last_seen"] = moments
    return facts


@given(risks, ladders)
def test_a_curve_says_when_the_highest_risk_so_far_reaches_each_level(
    risk: list[float], ladder: np.ndarray
) -> None:
    """The first grid hour at or above the level; sorted, whatever the model does."""
    model = Steps(risk, ladder)
    [curve] = silence_curve(model, seen(SEEN))

    at = [0, *model.grid_hours.tolist()]
    wanted = [
        next((at[i] for i, r in enumerate(risk) if r >= level), NO_CROSSING) for level in ladder
    ]
    assert wanted == curve.tolist()
    assert sorted(wanted) == wanted


@given(st.lists(st.integers(0, 2**41), min_size=1, max_size=5))
def test_a_curve_does_not_depend_on_who_else_is_asked_about(moments: list[int]) -> None:
    """One model call for all users gives each what they would get alone."""
    model = FadingModel()
    together = silence_curve(model, seen(*moments))
    assert 1 == model.calls
    assert together.tolist() == [silence_curve(model, seen(m))[0].tolist() for m in moments]


@given(curves, ladders, st.lists(st.floats(0, 3_000), min_size=2, max_size=2))
def test_risk_never_falls_in_silence(
    curve: np.ndarray, ladder: np.ndarray, elapsed: list[float]
) -> None:
    """The value read off a curve is non-decreasing, and a level of the ladder or nothing."""
    earlier, later = (value_at(curve, ladder, np.array([e]))[0] for e in sorted(elapsed))
    assert earlier <= later
    assert later in {0.0, *ladder.tolist()}


@given(curves, ladders, st.integers(0, LEVELS - 1))
def test_a_level_is_reached_at_its_crossing_and_not_before(
    curve: np.ndarray, ladder: np.ndarray, rung: int
) -> None:
    """Value and crossing times tell the same."""
    at = int(crossing_times(curve, np.array([SEEN]))[0, rung])
    if at == NEVER:
        assert value_at(curve, ladder, np.array([1e9]))[0] < ladder[rung]
        return
    hours_on = np.array([(at - SEEN) / HOUR_MS])
    assert value_at(curve, ladder, hours_on)[0] >= ladder[rung]
    assert value_at(curve, ladder, hours_on - 0.001)[0] < ladder[rung]


@example(np.full((1, LEVELS), NO_CROSSING, np.uint16), 0, GRID_END + 1)
@given(curves, st.integers(-HOUR_MS, GRID_END * HOUR_MS + DAY_MS), st.integers(0, 4_000))
def test_the_next_score_is_later_and_within_the_grid(
    curve: np.ndarray, after: int, gap_hours: int
) -> None:
    """Strictly later than the last, one of the stated moments, and none is left out between."""
    last_seen = np.array([SEEN])
    patient = patience(np.array([float(gap_hours * HOUR_MS)]))
    [due] = next_due(curve, last_seen, np.array([SEEN + after]), patient, GRID_END)

    moments = {*crossing_times(curve, last_seen)[0].tolist(), SEEN + int(patient[0])} - {NEVER}
    wanted = [m for m in moments if SEEN + after < m <= SEEN + GRID_END * HOUR_MS]
    assert min(wanted, default=NEVER) == due


@given(curves, st.integers(0, 4_000))
def test_the_scores_of_one_silence_come_to_an_end(curve: np.ndarray, gap_hours: int) -> None:
    """One score a distinct moment, never the same twice, and then never again."""
    last_seen, patient = np.array([SEEN]), patience(np.array([float(gap_hours * HOUR_MS)]))
    due, told = np.array([SEEN + SESSION_GAP_MS]), []
    while due[0] != NEVER:
        told.append(int(due[0]))
        assert len(told) <= LEVELS + 2
        due = next_due(curve, last_seen, due, patient, GRID_END)

    assert sorted(set(told)) == told


@given(st.floats(0, 1e12) | st.just(float("nan")))
def test_patience_is_a_day_or_the_usual_gap(usual_gap: float) -> None:
    """Whole hours, never shorter than either; nobody's gap is a day."""
    [longest] = patience(np.array([usual_gap]))
    wanted = DAY_MS if np.isnan(usual_gap) else max(usual_gap, DAY_MS)
    assert wanted <= longest < wanted + HOUR_MS
    assert 0 == longest % HOUR_MS


@given(curves, ladders, st.floats(0, 1))
def test_a_threshold_snaps_to_the_nearest_rung(
    curve: np.ndarray, ladder: np.ndarray, threshold: float
) -> None:
    """A rung's own level is that rung; what at_risk_at tells is one of the crossings."""
    [at] = at_risk_at(curve, ladder, np.array([SEEN]), threshold)
    told = dict(crossings(curve[0], ladder, SEEN))
    nearest = min(ladder.tolist(), key=lambda level: abs(level - threshold))

    assert told[nearest] == (None if at == NEVER else at)
    for level in ladder.tolist():
        [of_rung] = at_risk_at(curve, ladder, np.array([SEEN]), level)
        assert told[level] == (None if of_rung == NEVER else of_rung)


@given(curves, ladders)
def test_crossings_are_the_rungs_in_order(curve: np.ndarray, ladder: np.ndarray) -> None:
    """Of level and of time; a rung that silence does not reach has none."""
    told = crossings(curve[0], ladder, SEEN)
    times = [at for _, at in told if at is not None]
    assert ladder.tolist() == [level for level, _ in told]
    assert (curve[0] == NO_CROSSING).tolist() == [at is None for _, at in told]
    assert sorted(times) == times
    assert all(at >= SEEN + SESSION_GAP_MS for at in times)
