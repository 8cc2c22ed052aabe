"""Which scores carry reasons: those an alert may come of, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.record import CANCELLED, HAS_CURVE, HAS_SCORE, blank_records
from contracts.scores import ChurnScore, Reason, Trigger, decode_score
from contracts.times import DAY_MS
from scorer.messages import MICRO, ScoreWriter
from tests.fading_model import FadingModel
from tests.unit.scorer.stand import NOON

WHY = (Reason("recency", 1.5, "no visit for 9 days; usually every 2 days", 9.0, 2.0, 1.0),)


class Explained:
    """Says WHY of everybody, and remembers of whom as of when."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def __call__(self, facts: np.ndarray, as_of: np.ndarray) -> list[tuple[Reason, ...]]:
        self.asked += zip(facts["offset"].tolist(), as_of.tolist(), strict=True)
        return [WHY] * len(facts)


def scored(
    probability: float = 0.8,
    silent_days: float = 1.0,
    trigger: Trigger = "silence",
    active_days: int = 3,
    *,
    cancelled: bool = False,
    explain: Explained | None = None,
    threshold: float = 0.7,
) -> ChurnScore:
    """The message of one score."""
    record = blank_records(1)
    facts, outlook = record["facts"], record["outlook"]
    facts["last_seen"], facts["offset"], facts["active_days"] = NOON, 7, active_days
    facts["flags"] = CANCELLED if cancelled else 0
    outlook["scored_at"] = NOON + round(silent_days * DAY_MS)
    outlook["probability"] = round(probability * MICRO)
    outlook["state"] = HAS_CURVE | HAS_SCORE
    writer = ScoreWriter(
        FadingModel(), threshold, lambda _: None, explain or Explained(), least_active_days=3
    )
    (sent,) = writer.messages(
        ["ada"], record, np.array([np.nan]), [trigger], homes=[0], published_at_ms=NOON
    )
    return decode_score(sent.value or b"")


def test_a_score_that_may_open_an_alert_says_why() -> None:
    """Silent for a day, three active days, risk at the threshold: the reasons are on it."""
    explain = Explained()

    assert WHY == scored(explain=explain).reasons
    assert [(7, NOON + DAY_MS)] == explain.asked
    assert WHY == scored(trigger="model").reasons


@pytest.mark.parametrize(
    "short_of",
    [
        {"probability": 0.699},
        {"silent_days": 0.99},
        {"trigger": "activity"},
        {"active_days": 2},
    ],
    ids=lambda short_of: next(iter(short_of)),
)
def test_a_score_no_alert_can_come_of_stays_lean(short_of: dict[str, object]) -> None:
    """One thing short of an alert and nobody is asked why."""
    explain = Explained()

    assert () == scored(**short_of, explain=explain).reasons  # type: ignore[arg-type]
    assert [] == explain.asked


def test_a_threshold_between_rungs_counts_as_the_lower_of_both() -> None:
    """Alerts open at the rung next to the threshold (here 0.7), and so do reasons."""
    assert WHY == scored(0.7, threshold=0.72).reasons
    assert WHY == scored(0.69, threshold=0.69).reasons


def test_a_cancellation_says_why() -> None:
    """It becomes an alert at once, whatever the risk."""
    assert WHY == scored(0.1, 0.0, "activity", 0, cancelled=True).reasons


def test_a_model_without_reasons_scores_all_the_same() -> None:
    """Who cannot be taken apart tells nothing."""
    record = blank_records(1)
    record["facts"]["last_seen"], record["facts"]["active_days"] = NOON, 9
    record["outlook"]["scored_at"], record["outlook"]["probability"] = NOON + DAY_MS, MICRO
    writer = ScoreWriter(FadingModel(), 0.7, lambda _: None)

    (sent,) = writer.messages(
        ["ada"], record, np.array([np.nan]), ["silence"], homes=[0], published_at_ms=NOON
    )

    assert () == decode_score(sent.value or b"").reasons
