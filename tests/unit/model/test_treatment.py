"""Delivered alerts take rows away; controls stand for them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.activity import FoldRules
from contracts.errors import BadRecord, Misconfigured
from contracts.events import ActivityEvent
from contracts.times import DAY_MS, from_ms
from model.dataset import Moments
from model.event_log import EventLog, event_log
from model.treatment import NO_TREATMENTS, Treatments, exposure, read_alerts, repeated

START = 1_600_041_600_000
H = 10

alerts = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.booleans()), max_size=8)
asked = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=12)


def treatments(*found: tuple[int, int, bool]) -> Treatments:
    user, at, control = (np.array(column) for column in zip(*found, strict=True))
    return Treatments(user.astype(np.int64), at.astype(np.int64), control.astype(bool))


@given(found=alerts.filter(bool), moments=asked)
def test_a_moment_is_treated_by_any_alert_within_a_horizon(found, moments):
    """
    Before or after it, of the same user, unless the alert was a control's.
    """
    user, as_of = (np.array(column) for column in zip(*moments, strict=True))
    got = exposure(treatments(*found), user, as_of, H, holdout_share=0.25)

    for who, when, treated, weight in zip(user, as_of, got.treated, got.weight, strict=True):
        near = {control for u, at, control in found if u == who and abs(at - when) <= H}
        assert (False in near) == treated
        assert (0.0 if False in near else 4.0 if True in near else 1.0) == weight


def test_without_alerts_everything_stays_as_it_is():
    """
    Nobody treated, every moment once.
    """
    got = exposure(NO_TREATMENTS, np.arange(3), np.arange(3), H)

    assert not got.treated.any()
    assert [1.0, 1.0, 1.0] == got.weight.tolist()


def test_the_holdout_share_is_of_users_not_of_alerts():
    """
    A user alerted about three times is one user.
    """
    found = treatments((0, 1, True), (1, 1, False), (1, 20, False), (1, 40, False), (2, 5, False))

    assert pytest.approx(1 / 3) == found.holdout_share
    assert 3.0 == exposure(found, np.array([0]), np.array([0]), H).weight[0]
    assert NO_TREATMENTS.holdout_share is None


@given(
    weight=st.lists(st.floats(0, 9), min_size=1, max_size=30),
    seed=st.integers(0, 5),
)
def test_repeating_counts_each_moment_as_often_as_it_weighs(weight, seed):
    """
    Rounded down or up, in order; weight 0 leaves it out, and the same seed repeats alike.
    """
    n = len(weight)
    moments = Moments(np.arange(n), np.arange(n), np.zeros(n, np.uint8), np.ones(n, np.uint8))
    got = repeated(moments, np.array(weight), seed)
    times = np.bincount(got.user, minlength=n)

    assert (np.floor(weight) <= times).all()
    assert (np.ceil(weight) >= times).all()
    assert sorted(got.user) == got.user.tolist()
    np.testing.assert_array_equal(got.user, repeated(moments, np.array(weight), seed).user)


def test_a_fraction_is_right_on_average():
    """
    Ten thousand moments of weight 2.5 give 25,000, give or take chance.
    """
    n = 10_000
    moments = Moments(np.arange(n), np.arange(n), np.zeros(n, np.uint8), np.ones(n, np.uint8))

    assert 25_000 == pytest.approx(len(repeated(moments, np.full(n, 2.5), 0)), rel=0.01)


@pytest.fixture
def log() -> EventLog:
    visits = (ActivityEvent(user_id=u, type="x", occurred_at=START) for u in ("ada", "bob"))
    return event_log(visits, FoldRules())


def alert(user: str, day: int, kind: str = "opened", **more: bool) -> str:
    at = from_ms(START + day * DAY_MS).isoformat()
    return json.dumps({"alert_id": "x", "user_id": user, "kind": kind, "occurred_at": at} | more)


def test_alerts_are_read_as_they_travel(log, tmp_path):
    """
    Fields that do not matter are passed over, and so are alerts that treated nobody: about
    strangers, resolved, or not delivered; a control's is kept as one.
    """
    path = tmp_path / "alerts.jsonl"
    lines = [
        alert("ada", 1),
        alert("ada", 2, "resolved"),
        alert("eve", 3),
        "",
        alert("bob", 4, delivered=False),
        alert("bob", 5, "escalated", delivered=False, control=True),
        alert("bob", 6, "churned", delivered=True),
        alert("bob", 7, "acknowledged", arm="treated"),
        alert("ada", 8, arm="control"),
    ]
    path.write_text("\n".join(lines))
    found = read_alerts(path, log)

    assert [(0, 1, False), (1, 5, True), (1, 6, False), (0, 8, True)] == [
        (int(user), (int(at) - START) // DAY_MS, bool(control))
        for user, at, control in zip(found.user, found.at, found.control, strict=True)
    ]


@pytest.mark.parametrize("bad", ["{}", "hello", '{"user_id":"a","kind":"sent","occurred_at":"x"}'])
def test_what_is_no_alert_is_named(log, tmp_path, bad):
    """
    With file and line.
    """
    path = tmp_path / "alerts.jsonl"
    path.write_text(f"{alert('ada', 1)}\n{bad}\n")

    with pytest.raises(BadRecord, match=r"alerts\.jsonl, line 2: not a churn alert"):
        read_alerts(path, log)


def test_a_file_of_alerts_that_is_not_there_is_refused(log, tmp_path):
    """
    Naming it.
    """
    with pytest.raises(Misconfigured, match="gone"):
        read_alerts(tmp_path / "gone.jsonl", log)
