"""Which parts of the log a generation is folded from."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.record import blank_facts
from scorer.stretches import Pins, Stretch, reaches_back

ONE, TWO = UUID(int=1), UUID(int=2)


def pins(**fields: str) -> Pins:
    return Pins({"number": "1", f"id:{ONE}": "1", "partitions": "2", "rules": "r"} | fields)


def test_a_log_that_never_grew_is_one_stretch() -> None:
    """From the beginning to wherever the serving generation has come."""
    assert [Stretch(1, 2, (), None)] == pins().stretches(ONE)
    assert pins().is_whole(ONE)


def test_another_incarnation_has_no_stretch_until_a_worker_met_it() -> None:
    """There is nothing of it in the records, and they hold what is gone."""
    assert [] == pins().stretches(TWO)
    assert not pins().is_whole(TWO)


def test_a_recreated_topic_is_not_the_whole_log() -> None:
    """What the first incarnation held is gone."""
    met = pins(**{"number": "2", f"id:{TWO}": "2"})

    assert [Stretch(2, 2, (), None)] == met.stretches(TWO)
    assert not met.is_whole(TWO)


def test_unchanged_partitions_keep_the_number() -> None:
    """Positions stay comparable, and only the rules are pinned anew."""
    after = pins().following(ONE, 2, "other", {0: 5, 1: 7})

    assert pins(rules="other") == after


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_every_growth_ends_a_stretch_where_the_next_begins(
    growths: list[int], data: st.DataObject
) -> None:
    """Numbers rise by one, stretches join without a gap, and all of the log is in them."""
    now, ends = pins(), dict.fromkeys(range(2), 0)
    for growth in growths:
        ends = {p: end + data.draw(st.integers(0, 9)) for p, end in ends.items()}
        now = now.following(ONE, now.partitions + growth, "r", ends)
        ends |= dict.fromkeys(range(len(ends), now.partitions), 0)

    stretches = now.stretches(ONE)
    assert list(range(1, len(growths) + 2)) == [stretch.number for stretch in stretches]
    assert now.number == now.number_of(ONE) == stretches[-1].number
    assert now.is_whole(ONE)
    for earlier, later in pairwise(stretches):
        assert earlier.ends is not None
        assert len(earlier.ends) == earlier.partitions < later.partitions
        assert earlier.ends == later.starts
        assert all(later.start(p) == 0 for p in range(earlier.partitions, later.partitions))
    assert stretches[-1].ends is None


def test_whose_first_event_is_cut_is_found() -> None:
    """Seen before the first record, or never seen; not whoever is unknown."""
    facts = blank_facts(4)
    facts["offset"] = [3, 3, 3, -1]
    facts["first_seen"][:2] = [99, 100]

    assert [False, True, False, True] == reaches_back(facts, 100).tolist()
    assert [False, False, False, True] == reaches_back(facts, None).tolist()
    assert np.asarray(reaches_back(facts[:0], 1)).size == 0
