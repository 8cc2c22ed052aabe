"""The resume file: what it recognises, what it skips, what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import BadRecord, Misconfigured
from contracts.events import decode
from contracts.partition import home
from ebbtide.feed.records import Sendable, recorded
from ebbtide.feed.resume import (
    Bookmark,
    Progress,
    default_path,
    identify,
    input_name,
    open_progress,
)
from ebbtide.feed.sink import Refusal


class Lanes:
    """A sink in name only: eight partitions of a topic."""

    lanes = 8

    def __init__(self, target: str = "topic one") -> None:
        self.target = target

    def lane(self, user_id: str) -> int:
        return home(user_id, self.lanes)

    async def send(self, chunk: Sequence[Sendable]) -> list[Refusal]:
        raise NotImplementedError

    async def tick(self, moment_ms: int) -> None:
        raise NotImplementedError


RECORDS = [Sendable(i, f"user-{i % 7}", str(i), b"") for i in range(40)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text("user_id,type,occurred_at\nb,x,20\na,x,10\na,x,20\n")
    return path


def test_what_was_acknowledged_is_skipped(tmp_path: Path, log: Path) -> None:
    """
    After an interruption exactly the rest remains, in order.
    """
    path, files = tmp_path / "resume.json", identify([log])
    before = open_progress(path, files, Lanes())
    before.acknowledge(RECORDS[:10])
    before.acknowledge(RECORDS[10:25])

    after = open_progress(path, files, Lanes())

    assert 25 == after.acknowledged
    assert RECORDS[25:] == list(after.remaining(RECORDS))


@given(done=st.lists(st.integers(0, 6), max_size=8))
def test_lanes_progress_apart(done: list[int]) -> None:
    """
    Each lane skips its own acknowledged beginning, and nothing else.
    """
    sink = Lanes()
    counts = [done[lane] if lane < len(done) else 0 for lane in range(sink.lanes)]
    progress = Progress(Path("unused"), Bookmark((), sink.target, counts), sink)

    rest = list(progress.remaining(RECORDS))

    for lane in range(sink.lanes):
        mine = [record for record in RECORDS if sink.lane(record.user_id) == lane]
        assert mine[counts[lane] :] == [r for r in rest if sink.lane(r.user_id) == lane]


def test_restart_sends_everything_again(tmp_path: Path, log: Path) -> None:
    """
    --restart forgets what was acknowledged.
    """
    path, files = tmp_path / "resume.json", identify([log])
    open_progress(path, files, Lanes()).acknowledge(RECORDS)

    again = open_progress(path, files, Lanes(), restart=True)

    assert RECORDS == list(again.remaining(RECORDS))


def test_another_input_or_target_is_refused(tmp_path: Path, log: Path) -> None:
    """
    Progress with one log into one topic says nothing about another log or topic.
    """
    path, files = tmp_path / "resume.json", identify([log])
    open_progress(path, files, Lanes()).acknowledge(RECORDS)
    log.write_text(log.read_text() + "c,x,30\n")

    with pytest.raises(Misconfigured, match="other input"):
        open_progress(path, identify([log]), Lanes())
    with pytest.raises(Misconfigured, match="another target"):
        open_progress(path, files, Lanes("topic two"))


def test_a_damaged_resume_file_is_refused(tmp_path: Path, log: Path) -> None:
    """
    What cannot be read is not taken for a beginning.
    """
    path = tmp_path / "resume.json"
    path.write_text('{"version":')

    with pytest.raises(Misconfigured, match="no resume file"):
        open_progress(path, identify([log]), Lanes())


def test_each_input_and_target_has_a_file_of_its_own(tmp_path: Path, log: Path) -> None:
    """
    The default file depends on content and target, not on where the log lies.
    """
    moved = tmp_path / "moved.csv"
    moved.write_bytes(log.read_bytes())
    other = tmp_path / "other.csv"
    other.write_text(log.read_text() + "c,x,30\n")

    here = default_path(tmp_path, identify([log]), "topic one")

    assert here == default_path(tmp_path, identify([moved]), "topic one")
    assert here != default_path(tmp_path, identify([other]), "topic one")
    assert here != default_path(tmp_path, identify([log]), "topic two")


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    """
    A file that is not there is for a person to look at.
    """
    with pytest.raises(Misconfigured, match=r"none\.csv"):
        identify([tmp_path / "none.csv"])


def test_recorded_events_are_sorted_and_named(log: Path, tmp_path: Path) -> None:
    """
    Ids come from the input's name and the place in time order; ids of their own are kept.
    """
    own = tmp_path / "own.jsonl"
    own.write_text('{"user_id":"c","type":"x","occurred_at":15,"event_id":"mine"}\n')

    records, order = recorded([log, own], "f00d")

    assert [("a", 10, "f00d:0"), ("c", 15, "mine"), ("b", 20, "f00d:2"), ("a", 20, "f00d:3")] == [
        (r.user_id, r.ms, r.event_id) for r in records
    ]
    assert (records, order) == recorded([log, own], "f00d")
    assert "occurred_at" == order


def test_a_recording_with_receipts_is_sent_in_their_order(tmp_path: Path) -> None:
    """
    Log time is the time of receipt, and the event keeps the time it occurred.
    """
    path = tmp_path / "received.jsonl"
    path.write_text(
        '{"user_id":"a","type":"x","occurred_at":10,"received_at":50}\n'
        '{"user_id":"b","type":"x","occurred_at":20,"received_at":30}\n'
    )
    records, order = recorded([path], "f00d")

    assert "received_at" == order
    assert [("b", 30, "f00d:0"), ("a", 50, "f00d:1")] == [
        (r.user_id, r.ms, r.event_id) for r in records
    ]
    assert [20, 10] == [decode(r.value).occurred_at for r in records]


def test_nothing_is_sent_of_a_log_with_a_bad_line(log: Path) -> None:
    """
    The input is read whole first, so a bad last line is found before anything is sent.
    """
    log.write_text(log.read_text() + "d,x,never\n")

    with pytest.raises(BadRecord, match="line 5"):
        recorded([log], input_name(identify([log])))
