"""Repeats of records sent home are told from the highest offset of their source alone."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.partition import SHARDS
from contracts.topics import SENT_HOME_HEADER
from runtime.arrivals import (
    INCARNATIONS,
    Arrivals,
    Arrived,
    Source,
    pack,
    source_header,
    source_of,
    unpack,
)

TOPIC = UUID(int=1)
USERS = [f"user-{i}" for i in range(6)]

Sent = tuple[int, int]
"""Source partition and offset."""


def arrives(arrivals: Arrivals, sent: Sent, topic_id: UUID = TOPIC) -> bool:
    """Whether it counts. A source's record is always the same user's."""
    partition, offset = sent
    headers = [("ce_source", b"shop"), source_header(topic_id, partition, offset)]
    return not arrivals.is_repeat(USERS[(partition + offset) % len(USERS)], headers)


@st.composite
def logs(draw: st.DrawFn) -> list[Sent]:
    """A home's log as senders may fill it.

    A sender starts at any record whose predecessors have all arrived, sends batches in order, and
    goes on only once a batch has arrived. It may fall silent for good at any moment, and a batch
    that was sent may arrive again at any later moment (a client's own repeat, a slow connection).
    """
    offsets = {
        partition: sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=8)))
        for partition in range(draw(st.integers(1, 3)))
    }
    log: list[Sent] = []
    arrived: dict[int, int] = defaultdict(int)  # how many of each source are in the log
    senders: list[list[int]] = []  # source, next to send
    under_way: list[tuple[int, int, int]] = []  # batches: source, first, end
    for _ in range(draw(st.integers(0, 25))):
        match draw(st.sampled_from(["start", "send", "send", "again"])):
            case "start":
                source = draw(st.sampled_from(sorted(offsets)))
                senders.append([source, draw(st.integers(0, arrived[source]))])
            case "send" if senders:
                sender = draw(st.sampled_from(senders))
                source, first = sender
                end = min(first + draw(st.integers(1, 3)), len(offsets[source]))
                under_way.append((source, first, end))
                if draw(st.booleans()):  # else it is late, or lost, and the sender knows of nothing
                    log += [(source, offset) for offset in offsets[source][first:end]]
                    arrived[source] = max(arrived[source], end)
                    sender[1] = end
                else:
                    senders.remove(sender)
            case "again" if under_way:
                source, first, end = draw(st.sampled_from(under_way))
                log += [(source, offset) for offset in offsets[source][first:end]]
                arrived[source] = max(arrived[source], end)
    return log


@given(logs(), st.integers(0, 100))
def test_each_record_counts_once_wherever_the_log_is_cut(log: list[Sent], cut: int) -> None:
    """The first of each place, as with a memory of all places; also through what is stored."""
    before = Arrivals()
    counted = [sent for sent in log[:cut] if arrives(before, sent)]
    stored: list[Arrived] = [
        unpack(pack(before.changed[i])) if i in before.changed else {} for i in range(SHARDS)
    ]
    after = Arrivals(stored)
    counted += [sent for sent in log[cut:] if arrives(after, sent)]

    assert list(dict.fromkeys(log)) == counted


def test_where_nothing_arrived_nothing_has_changed() -> None:
    """A save writes only what is new; what was stored is not touched."""
    stored: list[Arrived] = [{str(TOPIC): {3: 7}} for _ in range(SHARDS)]
    arrivals = Arrivals(stored)

    assert not arrivals.is_repeat("ada", [("ce_source", b"shop")])
    assert {} == arrivals.changed
    assert arrives(arrivals, (3, 7))
    assert [{str(TOPIC): {3: 8}}] == list(arrivals.changed.values())
    assert [{str(TOPIC): {3: 7}}] * SHARDS == stored


def test_another_topic_is_another_source() -> None:
    """After a recreation offsets begin anew; what is late of the former topic is still known."""
    arrivals, other = Arrivals(), UUID(int=2)

    assert arrives(arrivals, (0, 30))
    assert arrives(arrivals, (0, 0), other)
    assert not arrives(arrivals, (0, 24))
    assert not arrives(arrivals, (0, 0), other)


def test_topics_of_long_ago_are_forgotten() -> None:
    """The one that nothing has come from for longest goes first."""
    arrivals = Arrivals()
    arrives(arrivals, (0, 0))
    for number in range(1, 10):
        assert arrives(arrivals, (0, 0), UUID(int=100 + number))
        assert not arrives(arrivals, (0, 6 * number - 6))
        assert arrives(arrivals, (0, 6 * number))

    (known,) = arrivals.changed.values()
    assert INCARNATIONS == len(known)
    assert {0: 55} == known[str(TOPIC)]


def test_a_source_survives_its_header() -> None:
    """Topic, partition and offset."""
    assert Source(str(TOPIC), 7, 2**53) == source_of([source_header(TOPIC, 7, 2**53)])


@pytest.mark.parametrize(
    "value",
    [b"", b"1:2:3", b"x" * 36 + b":1:2", b"%s:-1:2" % str(TOPIC).encode(),
     b"%s:1:2" % b"\xff" * 36, b"%s:1:%s" % (str(TOPIC).encode(), b"9" * 30), None],
)  # fmt: skip
def test_a_header_of_somebody_else_names_no_source(value: bytes) -> None:
    """Such a record counts like any other."""
    assert None is source_of([(SENT_HOME_HEADER, value)])
