"""How a user's last events are kept and read."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import MAX_TOTAL_PAGES, ActivityEvent, LogPlace, row
from contracts.times import NEVER
from runtime import keys
from runtime.ledger import Mark
from runtime.testing import FakeRedis
from runtime.timeline import (
    LEDGER,
    Entry,
    Timelines,
    counted,
    entry_of,
    of_this_life,
    pack,
    unpack,
)

AT = 1_790_000_000
RULES = FoldRules()


def entry(at: int = AT, number: int = 1, kind: str = "page_view") -> Entry:
    return Entry(occurred_at=at, id=number, type=kind)


def kept(event: ActivityEvent) -> Entry:
    place = LogPlace(1, 0, 7, AT * 1000 + 999)
    return entry_of(event.type, row(event, place, RULES))


@given(
    st.builds(
        Entry,
        occurred_at=st.integers(0, 2**32 - 1),
        id=st.integers(0, 2**32 - 1),
        type=st.sampled_from(["page_view", "return", "snapshot"])
        | st.text("aé漢_.:/ -", min_size=1, max_size=64),
        pages=st.integers(0, MAX_TOTAL_PAGES),
        seconds=st.integers(0, 2**32 - 1),
        cents=st.none() | st.integers(-(2**60), 2**60),
        login=st.integers(0, 2),
    )
)
def test_what_is_packed_comes_back(entry):
    """Every event is read as it was written."""
    assert entry == unpack(pack(entry))


@given(st.binary(max_size=40))
def test_other_bytes_are_no_event(stored):
    """Whatever lies there is read or refused, and nothing else happens."""
    with suppress(BadRecord):
        unpack(stored)


def test_an_ordinary_visit_takes_eleven_bytes_or_a_few_more():
    """Flags, time, id and type are ten; what is stated comes on top."""
    assert [10, 11, 12, 24] == [
        len(pack(kept(ActivityEvent(user_id="ada", **said))))
        for said in (
            {"type": "login"},
            {"type": "page_view"},
            {"type": "purchase", "value": 20.0},
            {"type": "feature_export", "event_id": "a"},
        )
    ]


def test_an_event_is_kept_as_the_fold_understands_it():
    """A return is negative, minutes are seconds, and the log's time stands in for none."""
    assert (AT, -1250, 90) == (
        (
            told := kept(ActivityEvent(user_id="ada", type="return", value=12.5, time_spent=1.5))
        ).occurred_at,
        told.cents,
        told.seconds,
    )


def test_a_repeat_counts_once_within_the_window():
    """The same id among the 16 before is dropped, one further back is not: as the fold has it."""
    many = [entry(number=number) for number in (0, *range(17), 0)]

    assert [*range(17), 0] == [each.id for each in counted(many)]


@pytest.mark.parametrize(
    ("first_seen", "expected"),
    [(AT * 1000, [2, 3, 4]), (AT * 1000 - 999, [2, 3, 4]), (NEVER, [4]), (0, [0, 1, 2, 3, 4])],
)
def test_what_was_before_the_record_began_is_not_shown(first_seen, expected):
    """Up to the last activity from before the first that the record knows, all is of another life;
    mails since then are not."""
    stored = [
        entry(AT - 99, 0, "email_sent"),
        entry(AT - 50, 1),
        entry(AT - 9, 2, "email_sent"),
        entry(AT, 3),
        entry(AT + 5, 4, "email_sent"),
    ]

    assert expected == [each.id for each in of_this_life(stored, first_seen, RULES)]


async def test_the_events_of_the_generation_that_serves_are_read_with_their_mark():
    """A rebuild's lists count once it has taken over, and what cannot be read is passed over."""
    redis = FakeRedis()
    shard = keys.shard_in(keys.timeline("ada"))
    await redis.rpush(keys.timeline("ada"), pack(entry(number=1)))
    await redis.rpush(keys.timeline("ada", 2), b"\xff", pack(entry(number=2)))
    await redis.hset(keys.marks(shard, LEDGER, 2), "3", "1:42")
    timelines = Timelines(redis.client)

    before = await timelines.of("ada", 3)
    await redis.set(keys.serving(shard, "activity-event"), 2)
    after = await timelines.of("ada", 3)

    assert ([1], None) == ([each.id for each in before.entries], before.mark)
    assert ([2], Mark(1, 42)) == ([each.id for each in after.entries], after.mark)
