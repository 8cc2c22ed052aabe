"""The churn score messages of a batch."""

from __future__ import annotations

import numpy as np

from contracts.events import category_hash
from contracts.partition import home
from contracts.record import CANCELLED, HAS_CURVE, HAS_SCORE, blank_records
from contracts.scores import ChurnScore, Trigger, decode_score
from contracts.times import DAY_MS, from_ms
from scorer.messages import MICRO, ScoreWriter, message, previous_probability
from tests.fading_model import FadingModel
from tests.unit.scorer.stand import NOON, PARTITIONS

WRITER = ScoreWriter(FadingModel(), PARTITIONS, 0.7, {category_hash("oslo"): "oslo"}.get)


def scored(probability: float = 0.4, state: int = HAS_SCORE) -> np.ndarray:
    record = blank_records(1)
    facts, outlook = record["facts"], record["outlook"]
    facts["last_seen"], facts["log_number"], facts["offset"] = NOON, 2, 7
    facts["location"], facts["value_cents"] = category_hash("Oslo"), 1234
    outlook["probability"] = round(probability * MICRO)
    outlook["scored_at"], outlook["state"] = NOON + DAY_MS, state
    outlook["curve"] = np.arange(16) * 24
    return record


def told(record: np.ndarray, previous: float = np.nan, trigger: Trigger = "silence") -> ChurnScore:
    [score] = WRITER.scores(["ada"], record, np.array([previous]), [trigger])
    return score


def test_the_same_record_tells_the_same_score() -> None:
    """Id and content, so that a repetition is recognised; another moment is another id."""
    assert told(scored()) == told(scored())
    later = scored()
    later["outlook"]["scored_at"] += 1
    ids = {told(scored()).score_id, told(later).score_id, told(scored(), 0.1, "model").score_id}
    assert 3 == len(ids)


def test_confidence_is_of_the_predicted_class() -> None:
    """At the model's cut-off and above it is churn."""
    low, high = told(scored(0.499999)), told(scored(0.5))
    assert ("0", 0.500001) == (low.prediction, low.confidence)
    assert ("1", 0.5) == (high.prediction, high.confidence)


def test_a_score_says_where_in_the_log_it_stands() -> None:
    """Log, offset, and the user's home partition."""
    position = told(scored()).position
    assert (2, 7, home("ada", PARTITIONS)) == (position.log, position.offset, position.partition)


def test_without_a_curve_nothing_is_said_of_the_future() -> None:
    """A first activity score, before any session has ended."""
    score = told(scored())
    assert ((), None) == (score.crossings, score.at_risk_at)


def test_with_a_curve_the_threshold_snaps_to_the_ladder() -> None:
    """0.7 is a rung of this ladder; its crossing is when the user is at risk."""
    score = told(scored(state=HAS_SCORE | HAS_CURVE))
    rung = FadingModel.levels.tolist().index(0.7)
    assert from_ms(NOON + rung * DAY_MS) == score.at_risk_at
    assert FadingModel.levels.tolist() == [crossing.level for crossing in score.crossings]


def test_what_is_known_of_the_user_comes_by_name() -> None:
    """None for what was never stated; money in units, not cents; cancelled as a flag."""
    record = scored()
    record["facts"]["flags"] = CANCELLED
    score = told(record)
    attributes = score.attributes
    assert ("oslo", None, 12.34, True) == (
        attributes.location, attributes.plan, attributes.value, score.cancelled
    )  # fmt: skip


def test_the_previous_score_is_none_before_the_first() -> None:
    """Not 0: nobody said so."""
    both = np.concatenate([scored(0.25), scored(0.25, state=0)])
    before = previous_probability(both)
    assert (0.25, None) == (
        told(scored(), before[0]).previous_probability,
        told(scored(), before[1]).previous_probability,
    )


def test_the_record_has_the_time_of_the_score_not_of_its_sending() -> None:
    """When it went out is a header."""
    score = told(scored())
    sent = message(score, NOON + 9 * DAY_MS)
    headers = dict(sent.headers)
    assert (b"ada", NOON + DAY_MS) == (sent.key, sent.timestamp_ms)
    assert score == decode_score(sent.value or b"")
    assert from_ms(NOON + 9 * DAY_MS).isoformat().encode() == headers["ebbtide-published-at"]
    assert score.score_id.encode() == headers["ce_id"]
