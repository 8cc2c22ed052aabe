"""Walk-forward splits keep a horizon between what is learned and what is judged."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.split import walk_forward


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
