"""Rules without a threshold of their own follow the one that scores state."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.episode import Said
from alerts.fold import PolicyFold, fold
from alerts.policy_file import parse
from alerts.rules import Policy, Rule
from contracts.default_rule import FALLBACK_THRESHOLD, RESOLVE_SHARE
from contracts.scores import ChurnScore, Crossing, Trigger
from contracts.times import DAY_MS
from ebbtide.policy_words import said
from tests.churn_scores import churn_score

RUNGS = (0.2, 0.3, 0.5, 0.7, 0.9)


def scored(
    probability: float, day: float, threshold: float | None, trigger: Trigger = "silence"
) -> ChurnScore:
    """A score of a model with that threshold."""
    return msgspec.structs.replace(
        churn_score(probability, day, trigger=trigger),
        alert_threshold=threshold,
        crossings=tuple(Crossing(rung, None) for rung in RUNGS),
    )


def told(*scores: ChurnScore, rule: Rule | None = None) -> list[tuple[str, float]]:
    alerts = fold(scores, Policy((rule or Rule(),)))
    return [(alert.kind, alert.threshold) for some in alerts for alert in some]


@given(st.sampled_from(RUNGS), st.floats(0.01, 0.99))
def test_the_default_rule_opens_at_what_the_score_states(threshold: float, risk: float) -> None:
    """At or above the rung of the model, and never below; the alert says which it was."""
    risk = round(risk, 6)

    expected = [("opened", threshold)] if risk >= threshold else []
    assert expected == told(scored(risk, 2, threshold))


def test_scores_that_state_none_are_judged_as_before() -> None:
    """Those of an older release, and of models without a threshold of their own."""
    assert [] == told(scored(0.69, 2, None))
    assert [("opened", FALLBACK_THRESHOLD)] == told(scored(0.7, 2, None))


def test_what_somebody_set_goes_before_what_the_model_states() -> None:
    """A threshold of the settings, or of a file."""
    assert [] == told(scored(0.3, 2, 0.2), rule=Rule(threshold=0.5))
    assert [("opened", 0.5)] == told(scored(0.5, 2, 0.9), rule=Rule(threshold=0.5))


@pytest.mark.parametrize(("risk", "expected"), [(0.22, 1), (0.21, 2)])
def test_an_episode_resolves_below_a_share_of_the_threshold(risk: float, expected: int) -> None:
    """Five sevenths: 0.7 and 0.5 keep their distance wherever the threshold lies."""
    assert expected == len(told(scored(0.3, 2, 0.3), scored(risk, 3, 0.3, "model")))
    assert pytest.approx(0.5) == RESOLVE_SHARE * FALLBACK_THRESHOLD


def test_resolving_never_lies_above_where_it_opens() -> None:
    """A model may open episodes below what somebody set for resolving."""
    rule = Rule(resolve_below=0.6)

    assert [("opened", 0.3)] == told(scored(0.35, 2, 0.3), scored(0.32, 3, 0.3), rule=rule)


def test_a_model_that_speaks_later_closes_what_it_would_not_have_opened() -> None:
    """An episode open at the old model's risk is judged by the new model's threshold."""
    opened, later = scored(0.45, 2, 0.3), scored(0.45, 3, 0.7, "model")
    kept = scored(0.55, 3, 0.7, "model")

    assert ["opened", "resolved"] == [kind for kind, _ in told(opened, later)]
    assert ["opened"] == [kind for kind, _ in told(opened, kept)]


def test_a_model_that_speaks_sooner_opens_with_its_first_score() -> None:
    """Of somebody whom the model before would have waited for."""
    assert [("opened", 0.3)] == told(scored(0.5, 2, 0.7), scored(0.5, 3, 0.3, "model"))


def test_a_wait_ends_at_the_threshold_that_the_score_stated() -> None:
    """What is kept of a score keeps it, also where an older release kept none."""
    rule = Rule(for_ms=DAY_MS)
    folded = PolicyFold(Policy((rule,)))
    folded.score(scored(0.4, 2, 0.3))

    ((alert,),) = folded.advance(2**60)
    assert ("opened", 0.3) == (alert.kind, alert.threshold)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(Said.of(scored(0.4, 2, 0.3))))
    assert msgspec.convert(kept[:-1], Said).alert_threshold is None


def test_a_file_may_say_auto_or_nothing() -> None:
    """Both leave it to the model, and the words say so."""
    stated, silent = parse(
        "rules:\n  - name: a\n    threshold: auto\n  - name: b\n    resolve_below: 0.2\n"
    ).rules

    assert (None, None, None, 0.2) == (
        stated.threshold,
        stated.resolve_below,
        silent.threshold,
        silent.resolve_below,
    )
    words = "\n".join(said(Policy((stated, silent))))
    assert 2 == words.count("opens at the risk that the model was trained to speak at")
    assert "below a risk of five sevenths of that" in words
