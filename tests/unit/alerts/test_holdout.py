"""The random holdout."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alerts.holdout import arm

USERS = [f"user-{number}" for number in range(10_000)]


def test_about_the_share_is_held_out() -> None:
    """Of 10,000 users, within four standard errors."""
    for share in (0.1, 0.5):
        held = sum(arm(user, "autumn", share) == "control" for user in USERS)
        assert abs(held - 10_000 * share) < 4 * (10_000 * share * (1 - share)) ** 0.5


def test_another_epoch_draws_anew() -> None:
    """Who was held out before is as likely to be as anybody."""
    before = [user for user in USERS if arm(user, "a", 0.5) == "control"]

    again = sum(arm(user, "b", 0.5) == "control" for user in before)

    assert abs(again - len(before) / 2) < 4 * len(before) ** 0.5 / 2


@given(st.text(), st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_adds_users(user: str, epoch: str, one: float, other: float) -> None:
    """So that a growing experiment keeps its controls; none and all are what they say."""
    low, high = sorted([one, other])

    assert not (arm(user, epoch, low) == "control" and arm(user, epoch, high) == "treated")
    assert ("treated", "control") == (arm(user, epoch, 0.0), arm(user, epoch, 1.0))


def test_the_draw_is_pinned() -> None:
    """A release that drew otherwise would mix the arms of running experiments."""
    assert "TTTTTTTTCC" == "".join(arm(user, "1", 0.3)[0].upper() for user in USERS[:10])
