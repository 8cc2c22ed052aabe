"""What a holdout's experiment learns, from the scores on."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from alerts.fold import PolicyFold
from alerts.rules import Holdout, Policy, Rule
from contracts.alerts import ChurnAlert
from contracts.scores import ChurnScore
from contracts.times import DAY_MS, to_ms
from contracts.trials import Sums, Tally, decode_sums, encode_sums, total
from tests.churn_scores import churn_score

HORIZON = 14
HALF = Policy((Rule(cooldown_ms=0),), holdout=Holdout(0.5, "spring"))


def folded(scores: Sequence[ChurnScore], policy: Policy = HALF) -> tuple[Sums, list[ChurnAlert]]:
    fold = PolicyFold(policy)
    told = [alert for score in scores for alert in fold.score(score)]
    return total(change for _, change in fold.tried), told


def silent(day: float, user_id: str = "ada", risk: float = 0.9) -> ChurnScore:
    return churn_score(risk, day, user_id=user_id)


def back(day: float, user_id: str = "ada") -> ChurnScore:
    return churn_score(0.1, day, user_id=user_id, trigger="activity", last_seen_day=day)


def of(sums: Sums) -> Tally:
    return sum(sums.values(), Tally())


def test_somebody_who_comes_back_within_the_horizon_is_retained() -> None:
    """Until they do, they count as a user of their rule, arm and day only."""
    waiting, [opened] = folded([silent(10)])
    [cell] = waiting
    assert ("spring", "default", opened.arm, opened.horizon_days) == (
        cell.epoch,
        cell.rule,
        cell.arm,
        cell.horizon_days,
    )
    assert cell.day == to_ms(opened.occurred_at) // DAY_MS
    assert {cell: Tally(1, 0)} == waiting

    assert {cell: Tally(1, 1)} == folded([silent(10), back(10 + opened.horizon_days - 1)])[0]
    assert {cell: Tally(1, 0)} == folded([silent(10), back(10 + opened.horizon_days + 1)])[0]


def test_only_the_first_alert_of_an_experiment_counts() -> None:
    """Who comes back and slips away again is in it once; another epoch begins anew."""
    scores = [silent(10), back(12), silent(40), back(42), silent(70)]

    sums, told = folded(scores)

    assert 3 == sum(alert.kind == "opened" for alert in told)
    assert Tally(1, 1) == of(sums)
    fold = PolicyFold(HALF)
    for score in scores[:2]:
        fold.score(score)
    fold.policy = Policy(HALF.rules, holdout=Holdout(0.5, "summer"))
    for score in scores[2:]:
        fold.score(score)
    assert {"spring": Tally(1, 1), "summer": Tally(1, 1)} == {
        epoch: of(
            {cell: n for cell, n in total(c for _, c in fold.tried).items() if cell.epoch == epoch}
        )
        for epoch in ("spring", "summer")
    }


def test_without_a_holdout_nobody_takes_part() -> None:
    """There is nothing to compare with, so nothing is kept of anybody."""
    sums, told = folded([silent(10), back(12)], Policy(HALF.rules))

    assert told
    assert {} == sums


def test_an_erased_user_leaves_the_figures() -> None:
    """As if they had never been alerted about, whatever they did."""
    for scores in ([silent(10)], [silent(10), back(12)], [silent(10), back(90)]):
        fold = PolicyFold(HALF)
        for score in scores:
            fold.score(score)
        fold.erase("ada")

        assert Tally() == of(total(change for _, change in fold.tried))


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["ada", "bob", "cy"]), st.booleans(), st.integers(1, 30)),
        max_size=30,
    ),
    cut=st.integers(0, 30),
)
def test_where_a_batch_is_cut_makes_no_difference(
    steps: list[tuple[str, bool, int]], cut: int
) -> None:
    """Two batches, with the sums stored between them, add up to what one does."""
    day = 0
    scores = []
    for user_id, is_back, days in steps:
        day += days
        scores.append(back(day, user_id) if is_back else silent(day, user_id))
    whole, _ = folded(scores)

    first = PolicyFold(HALF)
    for score in scores[:cut]:
        first.score(score)
    second = PolicyFold(HALF, episodes=dict(first.episodes))
    for score in scores[cut:]:
        second.score(score)
    stored = encode_sums(total(change for _, change in first.tried))
    in_two = total((change for _, change in second.tried), decode_sums(stored))

    assert decode_sums(encode_sums(whole)) == decode_sums(encode_sums(in_two))
