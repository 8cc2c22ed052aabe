"""The churn score messages of a batch."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import category_hash
from contracts.record import CANCELLED, HAS_CURVE, HAS_SCORE, LEVELS, NO_CROSSING, blank_records
from contracts.scores import TRIGGERS, ChurnScore, Reason, Trigger, decode_score
from contracts.times import DAY_MS, EARLIEST_MS, HOUR_MS, LATEST_MS, NEVER, from_ms
from runtime.kafka import Message
from scorer import score_text
from scorer.messages import MICRO, ScoreWriter, previous_probability
from scorer.score_text import MANY_ROWS
from tests.fading_model import FadingModel
from tests.plain_scores import plain_messages
from tests.unit.scorer.stand import NOON

PUBLISHED = NOON + 9 * DAY_MS
HOME = 3
WRITER = ScoreWriter(FadingModel(), 0.7, {category_hash("oslo"): "oslo"}.get)


def scored(probability: float = 0.4, state: int = HAS_SCORE) -> np.ndarray:
    record = blank_records(1)
    facts, outlook = record["facts"], record["outlook"]
    facts["last_seen"], facts["log_number"], facts["offset"] = NOON, 2, 7
    facts["location"], facts["value_cents"] = category_hash("Oslo"), 1234
    outlook["probability"] = round(probability * MICRO)
    outlook["scored_at"], outlook["state"] = NOON + DAY_MS, state
    outlook["curve"] = np.arange(16) * 24
    return record


def written(record: np.ndarray, previous: float, trigger: Trigger) -> Message:
    [sent] = WRITER.messages(
        ["ada"], record, np.array([previous]), [trigger],
        homes=[HOME], published_at_ms=PUBLISHED,
    )  # fmt: skip
    return sent


def told(record: np.ndarray, previous: float = np.nan, trigger: Trigger = "silence") -> ChurnScore:
    sent = written(record, previous, trigger)
    return decode_score(sent.value or b"")


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
    """Log, offset, and the partition that is being read."""
    position = told(scored()).position
    assert (2, 7, HOME) == (position.log, position.offset, position.partition)


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
    sent = written(scored(), np.nan, "silence")
    headers = dict(sent.headers)
    assert (b"ada", NOON + DAY_MS) == (sent.key, sent.timestamp_ms)
    assert from_ms(PUBLISHED).isoformat().encode() == headers["ebbtide-published-at"]
    assert told(scored()).score_id.encode() == headers["ce_id"]


instants = st.integers(EARLIEST_MS, LATEST_MS - 1) | st.integers(0, 10**6).map(
    lambda hours: hours * HOUR_MS // 2
)
counts = st.just(0) | st.integers(0, 2**32 - 1)
hours = st.sampled_from([0, 1, NO_CROSSING, NO_CROSSING - 1]) | st.integers(0, NO_CROSSING)
curves = st.lists(hours, min_size=LEVELS, max_size=LEVELS)
NUMBERS = [category_hash("oslo"), category_hash('"é\n'), 0, 7]
NAMES = {NUMBERS[0]: "oslo", NUMBERS[1]: '"é\n\u2028%s{}', 7: "#00000007"}
FACT_VALUES = st.fixed_dictionaries(
    {
        "last_seen": st.just(NEVER) | instants,
        "first_seen": st.just(NEVER) | instants,
        "signup_at": st.just(NEVER) | instants,
        "log_number": counts,
        "offset": st.integers(0, 2**62),
        "flags": st.integers(0, 7),
        "login": st.integers(0, 2),
        "value_cents": st.integers(-(2**62), 2**62) | st.integers(-200, 200),
        **{name: st.sampled_from(NUMBERS) for name in ("location", "referral_source", "plan")},
        "device_type": st.sampled_from(NUMBERS),
        **dict.fromkeys(("events", "active_days", "pages", "seconds"), counts),
        "gaps": st.integers(0, 5),
        "gap_log2": st.integers(0, 40_000),
    }
)
OUTLOOK_VALUES = st.fixed_dictionaries(
    {
        "scored_at": instants,
        "probability": st.integers(0, MICRO) | st.sampled_from([0, 1, 499_999, MICRO]),
        "curve": curves | curves.map(sorted),
        "state": st.integers(0, 7),
    }
)
WHY = (Reason("recency", 1.25, 'for "9" days, é', 9.0, None, 1e-7), Reason("money", 2.0, "x"))
SCORES = st.tuples(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    FACT_VALUES,
    OUTLOOK_VALUES,
    st.none() | st.integers(0, MICRO),
    st.sampled_from(TRIGGERS),
    st.sampled_from([(), WHY]),
)


class Reasoned(ScoreWriter):
    """Gives the reasons it is told to."""

    reasons: ClassVar[list[tuple[Reason, ...]]] = []

    def _reasons(self, *_: object) -> list[tuple[Reason, ...]]:
        return self.reasons


@pytest.mark.parametrize("many_rows", [1, MANY_ROWS])
@given(drawn=st.lists(SCORES, min_size=1, max_size=4), published_at_ms=instants)
def test_the_bytes_are_those_of_the_plain_encoder(
    drawn: list[tuple[Any, ...]], published_at_ms: int, many_rows: int
) -> None:
    """Key, value, time and headers, whatever the records say, few or many at once."""
    users, facts, outlooks, before, triggers, reasons = map(list, zip(*drawn, strict=True))
    records = blank_records(len(drawn))
    for part, stated in (("facts", facts), ("outlook", outlooks)):
        for i, values in enumerate(stated):
            for name, value in values.items():
                records[part][name][i] = value
    previous = np.array([np.nan if p is None else p / MICRO for p in before])
    model = FadingModel('m "1" %s')
    writer = Reasoned(model, 0.7, NAMES.get)
    Reasoned.reasons = reasons
    batch = (users, records, previous, triggers)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(score_text, "MANY_ROWS", many_rows)
        found = writer.messages(*batch, homes=[HOME] * len(users), published_at_ms=published_at_ms)
    assert found == plain_messages(
        writer, *batch, reasons=reasons, partition=HOME, published_at_ms=published_at_ms
    )
