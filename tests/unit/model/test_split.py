"""Walk-forward splits keep a horizon between what is learned and what is judged."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.times import DAY_MS
from model.split import memory_begins, remembering, walk_forward


@given(
    first=st.integers(0, 10**12),
    usable=st.integers(100, 10**11),
    embargo=st.integers(1, 10**10),
    periods=st.integers(1, 6),
)
def test_periods_follow_each_other_an_embargo_after_what_was_learned(
    first, usable, embargo, periods
):
    """
    Validation periods are gapless up to the last row; training ends an embargo before each.
    """
    last = first + embargo + usable
    splits = walk_forward(first, last, embargo, periods)

    assert periods == len(splits)
    assert splits[-1].validation(np.array([last])).all()
    for split in splits:
        assert embargo == split.validate_from - split.train_until
        assert first < split.train_until
    for one, following in pairwise(splits):
        assert one.validate_until == following.validate_from


def test_no_row_trains_and_validates():
    """
    A row is in at most one of the two, and the embargo's rows in neither.
    """
    as_of = np.arange(1_000)
    for split in walk_forward(0, 999, 100):
        both = split.train(as_of) & split.validation(as_of)
        neither = ~split.train(as_of) & ~split.validation(as_of) & (as_of < split.validate_from)
        assert not both.any()
        assert 99 == neither.sum()


def test_an_embargo_as_long_as_the_log_is_refused():
    """
    Nothing would be left to judge.
    """
    with pytest.raises(ValueError, match="embargo"):
        walk_forward(0, 100, 100)


@given(days=st.none() | st.integers(1, 400), whole=st.integers(500, 2_000))
def test_a_memory_forgets_what_is_older_and_nothing_else(days, whole):
    """
    Every period learns from the last days before its embargo, and is judged as before.
    """
    as_of = np.arange(0, whole * DAY_MS, DAY_MS)
    before = walk_forward(0, int(as_of[-1]), 28 * DAY_MS)
    for split, limited in zip(before, remembering(before, days), strict=True):
        known, kept = as_of[split.train(as_of)], as_of[limited.train(as_of)]
        recent = known > memory_begins(split.train_until, days)

        np.testing.assert_array_equal(known[recent], kept)
        assert days is None or len(kept) <= days
        assert (split.validate_from, split.validate_until) == (
            limited.validate_from, limited.validate_until,
        )  # fmt: skip
