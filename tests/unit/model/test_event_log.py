"""Recorded logs: what is read, what is refused and how; columns agree with single events."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.activity import FoldRules
from contracts.errors import BadRecord, Misconfigured
from contracts.events import EVENT_ROW, ActivityEvent, LogPlace, convert, instant_ms, row
from contracts.times import from_ms
from model.event_columns import columns_of
from model.event_files import write_events
from model.event_log import event_log, load_event_log, read_events

RULES = FoldRules()
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
NOON_MS = instant_ms(NOON)

EVENTS = [
    ActivityEvent(
        user_id="ada", type="page_view", event_id="a-1", occurred_at=NOON, pages_visited=3,
        time_spent=4.5, is_logged_in=True, location="Zürich", device_type="mobile",
        properties={"campaign": "spring", "depth": 2},
    ),
    ActivityEvent(user_id="42", type="purchase", occurred_at=from_ms(NOON_MS + 7), value=-0.1),
    ActivityEvent(
        user_id="bob, jr", type="snapshot", occurred_at=from_ms(NOON_MS + 9), days_since_signup=3.5,
        plan='the "big" one', signed_up_at=from_ms(5), is_logged_in=False,
    ),
]  # fmt: skip


@pytest.mark.parametrize("name", ["e.csv", "e.csv.gz", "e.jsonl", "e.jsonl.gz", "e.parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    """
    Every format keeps every field of an event, at millisecond precision.
    """
    written = write_events(EVENTS, tmp_path / name)

    read = list(read_events(tmp_path / name))

    assert 3 == written
    assert [_plain(event) for event in EVENTS] == [_plain(event) for event in read]
    assert [name] == [path.name for path in tmp_path.iterdir()]


def test_same_events_same_bytes(tmp_path: Path) -> None:
    """
    A file depends on its events only, not on when or under which name it was written.
    """
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_events(EVENTS, tmp_path / name)

    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_unknown_columns_become_properties(tmp_path: Path) -> None:
    """
    A log's own columns are kept as properties, and empty cells are not stated at all.
    """
    path = tmp_path / "e.csv"
    path.write_text(
        "user_id,occurred_at,type,pages_visited,team,note\n"
        "007,1740830400000,page_view,3.0,red,\n"
        "8,2025-03-01T13:00:00+01:00,login,,,\n"
    )

    first, second = read_events(path)

    assert ("007", 3, {"team": "red"}) == (first.user_id, first.pages_visited, first.properties)
    assert (None, None) == (second.pages_visited, second.properties)
    assert [NOON_MS, NOON_MS] == [instant_ms(e.occurred_at or 0) for e in (first, second)]


@pytest.mark.parametrize(
    ("name", "text", "complaint", "field"),
    [  # the complaint begins with the line, always 3
        ("e.csv", "1,2025-03-01T12:00:00Z,x,many\n", "pages_visited: 'many'", "pages_visited"),
        ("e.csv", "1,2025-03-01T12:00:00,x,1\n", "occurred_at needs a", "occurred_at"),
        ("e.csv", "1,,x,1\n", "occurred_at: required", "occurred_at"),
        ("e.csv", ",2025-03-01T12:00:00Z,x,1\n", "user_id: required", "user_id"),
        ("e.csv", "1,2025-03-01T12:00:00Z,x,10001\n", "pages_visited must be at", "pages_visited"),
        ("e.csv", "1,2025-03-01T12:00:00Z,x,-1\n", "pages_visited: ", "pages_visited"),
        ("e.csv", "1,2025-03-01T12:00:00Z,x\n", "3 cells under 4 columns", None),
        ("e.csv", "1,tomorrow,x,1\n", "occurred_at: ", "occurred_at"),
        ("e.jsonl", '{"user_id": "1"\n', "not JSON", None),
        ("e.jsonl", "[]\n", "not a JSON object", None),
        ("e.jsonl", '{"user_id":1,"type":"x","occurred_at":5}\n', "user_id: ", "user_id"),
        ("e.jsonl", '{"user_id":"1","type":"x"}\n', "occurred_at: required", "occurred_at"),
    ],
)  # fmt: skip
def test_a_bad_record_is_named(
    tmp_path: Path, name: str, text: str, complaint: str, field: str | None
) -> None:
    """
    The complaint says file, line, field and what is wrong.
    """
    good = {
        "e.csv": "user_id,occurred_at,type,pages_visited\n1,5,x,1\n",
        "e.jsonl": '{"user_id":"1","type":"x","occurred_at":5}\n\n',
    }[name]
    (tmp_path / name).write_text(good + text)

    with pytest.raises(BadRecord) as caught:
        list(read_events(tmp_path / name))

    assert str(caught.value).startswith(f"{tmp_path / name}, line 3: {complaint}")
    assert field == caught.value.field


def test_a_bad_parquet_row_is_named(tmp_path: Path) -> None:
    """
    Loading by columns blames the same row as reading event by event.
    """
    path = tmp_path / "e.parquet"
    _write_table(path, user_id=["a", "b"], type=["x", "x"], occurred_at=[5, None])

    with pytest.raises(BadRecord, match=r"e\.parquet, row 2: occurred_at: required"):
        load_event_log([path], RULES)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("e.csv", b"user,when\n", "no column user_id"),
        ("e.csv", b"user_id,type,type,occurred_at\n", "column type appears twice"),
        ("e.csv", b"user_id,type,occurred_at\n\xff,x,5\n", "not UTF-8"),
        ("e.parquet", b"PAR?", "cannot be read as Parquet"),
    ],
)
def test_a_file_of_something_else_is_refused(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    """
    A file that cannot hold events is named, with what it lacks.
    """
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadRecord, match=complaint):
        load_event_log([tmp_path / name], RULES)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """
    A missing file, an unknown suffix and a truncated archive are for a person to look at.
    """
    packed = gzip.compress(b'{"user_id":"1","type":"x","occurred_at":5}\n' * 100)
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[:-12])

    for name in ("none.csv", "e.xlsx", "cut.jsonl.gz"):
        with pytest.raises(Misconfigured, match=name):
            load_event_log([tmp_path / name], RULES)


def test_timestamps_without_a_zone_are_refused(tmp_path: Path) -> None:
    """
    A Parquet time must say its zone: guessing would shift every event.
    """
    path = tmp_path / "e.parquet"
    naive = pa.array([NOON.replace(tzinfo=None)], pa.timestamp("us"))
    pq.write_table(pa.table({"user_id": ["a"], "type": ["x"], "occurred_at": naive}), path)

    with pytest.raises(BadRecord, match="occurred_at needs a time zone"):
        load_event_log([path], RULES)


def test_log_order_is_by_time_with_ties_as_recorded(tmp_path: Path) -> None:
    """
    Files are merged by time; ties keep file and line order; offsets count the result.
    """
    lines = {"a.jsonl": [("u", 30, 1), ("v", 10, 2)], "b.jsonl": [("w", 10, 3), ("u", 5, 4)]}
    for name, events in lines.items():
        (tmp_path / name).write_text(
            "\n".join(
                json.dumps({"user_id": u, "type": "x", "occurred_at": ms, "pages_visited": pages})
                for u, ms, pages in events
            )
        )

    log = load_event_log([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], RULES)

    assert [4, 2, 3, 1] == log.rows["pages"].tolist()
    assert ["u", "v", "w"] == log.user_ids
    assert [0, 1, 2, 0] == log.user.tolist()
    assert [0, 1, 2, 3] == log.rows["offset"].tolist()
    assert log.active.all()


RECEIVED = [("ada", 10, 60), ("bob", 30, 40), ("ada", 50, 50)]
"""User, occurred and received, in seconds after noon."""


def _received(path: Path, rows: list[tuple[str, int, int | None]]) -> Path:
    """The rows as a log in the format that the suffix names."""
    fields = [
        {
            "user_id": user,
            "type": "x",
            "occurred_at": NOON_MS + 1_000 * occurred,
            "received_at": None if received is None else NOON_MS + 1_000 * received,
        }
        for user, occurred, received in rows
    ]
    if path.suffix == ".parquet":
        _write_table(path, **{name: [row[name] for row in fields] for name in fields[0]})
    elif path.suffix == ".csv":
        lines = [",".join("" if v is None else str(v) for v in row.values()) for row in fields]
        path.write_text("\n".join([",".join(fields[0]), *lines]))
    else:
        path.write_text("\n".join(map(json.dumps, fields)))
    return path


@pytest.mark.parametrize("name", ["e.csv", "e.jsonl", "e.parquet"])
def test_a_log_that_knows_its_receipts_is_ordered_by_them(tmp_path: Path, name: str) -> None:
    """
    Log time is the time of receipt; when things occurred stays as it was.
    """
    log = load_event_log([_received(tmp_path / name, RECEIVED)], RULES)

    assert "received_at" == log.order
    assert [40, 50, 60] == ((log.rows["log_time"] - NOON_MS) // 1_000).tolist()
    assert [30, 50, 10] == ((log.rows["occurred_at"] - NOON_MS) // 1_000).tolist()
    assert ["bob", "ada", "ada"] == [log.user_ids[user] for user in log.user]


@pytest.mark.parametrize("name", ["e.csv", "e.jsonl", "e.parquet"])
def test_receipts_of_some_events_order_nothing(tmp_path: Path, name: str) -> None:
    """
    Two clocks in one order would be no order: it is by occurrence, for all.
    """
    log = load_event_log([_received(tmp_path / name, [*RECEIVED, ("eve", 20, None)])], RULES)

    assert "occurred_at" == log.order
    assert [10, 20, 30, 50] == ((log.rows["log_time"] - NOON_MS) // 1_000).tolist()


@pytest.mark.parametrize("name", ["e.csv", "e.jsonl", "e.parquet"])
def test_an_event_from_the_future_of_its_receipt_is_refused(tmp_path: Path, name: str) -> None:
    """
    By more than a day, as in the stream; the message names the line.
    """
    path = _received(tmp_path / name, [*RECEIVED, ("eve", 90_000, 10)])

    with pytest.raises(BadRecord, match=r"(line|row) \d: received_at: more than a day before"):
        load_event_log([path], RULES)


def test_an_empty_log() -> None:
    """
    No events is a log, too.
    """
    log = event_log([], RULES)

    assert (0, [], 0) == (len(log), log.user_ids, len(log.user))


def test_progress_counts_events_over_all_files(tmp_path: Path) -> None:
    """
    Progress ends at the number of events of all files together.
    """
    for name in ("a.parquet", "b.csv"):
        write_events(EVENTS, tmp_path / name)
    heard: list[int] = []

    load_event_log([tmp_path / "a.parquet", tmp_path / "b.csv"], RULES, progress=heard.append)

    assert [3, 6] == heard


# --- the law of columns -----------------------------------------------------------------------

TIMES = st.integers(0, 4_000_000_000_000)
LATE = 4_000_000_000_000
"""Epoch ms of receipt that no event of the tables comes after."""

TABLES = {
    "user_id": (pa.string(), st.sampled_from(["a", "b", "ü", "x" * 256])),
    "type": (
        pa.string(),
        st.sampled_from(
            ["page_view", "signup", "login", "logout", "return", "purchase", "snapshot",
             "subscription_cancelled", "email_open", "own type"]
        ),
    ),
    "occurred_at": (pa.int64(), TIMES),
    "event_id": (pa.large_string(), st.none() | st.text("ab", min_size=1, max_size=2)),
    "pages_visited": (pa.int32(), st.none() | st.integers(0, 10_000)),
    "time_spent": (
        pa.float32(), st.none() | st.floats(0, 1_440, width=32),
    ),
    # Halves of a cent, which round to even, and singles, which are computed as doubles.
    "value": (
        pa.float32(),
        st.sampled_from([None, 0.125, 0.375, -0.125]) | st.floats(-1e9, 1e9, width=32),
    ),
    "is_logged_in": (pa.bool_(), st.none() | st.booleans()),
    "signed_up_at": (pa.int64(), st.none() | TIMES),
    "received_at": (pa.int64(), st.just(LATE) | st.none()),
    "location": (pa.string(), st.none() | st.sampled_from(["Zürich", "ZÜRICH ", " ", "Rome"])),
    "plan": (pa.dictionary(pa.int32(), pa.string()), st.none() | st.sampled_from(["a", "A", "b"])),
}  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A few events, by columns; some columns may be absent, some values out of bounds."""
    n = draw(st.integers(1, 8))
    optional = st.sets(st.sampled_from(sorted(set(TABLES) - {"user_id", "type", "occurred_at"})))
    columns = {
        name: pa.array(draw(st.lists(values, min_size=n, max_size=n)), kind)
        for name, (kind, values) in TABLES.items()
        if name in ("user_id", "type", "occurred_at") or name in draw(optional)
    }
    return pa.table(columns)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(table=tables())
def test_columns_agree_with_single_events(tmp_path: Path, table: pa.Table) -> None:
    """
    Decoding whole columns gives, to the bit, the rows of decoding every event by itself.
    """
    path = tmp_path / "law.parquet"
    pq.write_table(table, path)
    events = sorted(read_events(path), key=lambda event: instant_ms(event.occurred_at or 0))

    log = load_event_log([path], RULES)

    if log.order == "received_at":
        # All were received at once, so the order is that of the file.
        events = list(read_events(path))
    expected = _rows_one_by_one(events)
    if log.order == "received_at":
        expected["log_time"] = LATE
    assert expected.tolist() == log.rows.tolist()
    assert [event.user_id for event in events] == [log.user_ids[i] for i in log.user]
    if log.order == "occurred_at":
        assert expected.tolist() == event_log(events, RULES).rows.tolist()


@settings(deadline=None)
@given(
    days=st.lists(st.none() | st.floats(0, 36_500), min_size=1, max_size=5),
    pages=st.integers(0, 100_000_000),
)
def test_columns_of_snapshots_agree_with_single_events(
    days: list[float | None], pages: int
) -> None:
    """
    Tenure and totals of snapshots come out of columns as out of single events.
    """
    n = len(days)
    batch = pa.RecordBatch.from_pydict(
        {
            "user_id": ["a"] * n,
            "type": ["snapshot"] * n,
            "occurred_at": [NOON_MS] * n,
            "days_since_signup": pa.array(days, pa.float64()),
            "pages_visited": [pages] * n,
        }
    )
    events = [convert({k: v for k, v in row.items() if v is not None}) for row in batch.to_pylist()]

    columns = columns_of(batch, RULES)

    assert columns is not None
    names = ["signup_at", "pages", "kind", "occurred_at"]
    assert _rows_one_by_one(events)[names].tolist() == columns.rows[names].tolist()


@pytest.mark.parametrize(
    "column",
    [
        {"pages_visited": [1, 10_001]},
        {"pages_visited": [1, -1]},
        {"time_spent": [1.0, float("nan")]},
        {"value": [1.0, -1.1e9]},
        {"occurred_at": [1, 4_102_444_800_000]},
        {"received_at": [1, -5]},
        {"received_at": [1, 4_102_444_800_000]},
        {"received_at": ["1", "2"]},
        {"occurred_at": [1, 200_000_000], "received_at": [1, 1]},
        {"event_id": ["a", ""]},
        {"location": ["a", "x" * 257]},
        {"user_id": ["a", None]},
        {"user_id": ["a", ""]},
        {"type": ["x", "no!"]},
        {"days_since_signup": [None, 1.0]},
        {"schema_version": [1, 2]},
        {"time_spent": ["1", "2"]},
    ],
)
def test_columns_leave_what_is_odd_to_single_events(column: dict[str, list[Any]]) -> None:
    """
    Whatever breaks a limit anywhere in a column is not decoded by columns.
    """
    usual: dict[str, list[Any]] = {
        "user_id": ["a", "b"], "type": ["x", "y"], "occurred_at": [1, 2],
    }  # fmt: skip

    assert columns_of(pa.RecordBatch.from_pydict(usual), RULES) is not None
    assert columns_of(pa.RecordBatch.from_pydict(usual | column), RULES) is None


def _rows_one_by_one(events: list[ActivityEvent]) -> np.ndarray:
    places = [LogPlace(1, 0, i, instant_ms(e.occurred_at or 0)) for i, e in enumerate(events)]
    rows = [row(event, place, RULES) for event, place in zip(events, places, strict=True)]
    return np.array(rows, EVENT_ROW)


def _plain(event: ActivityEvent) -> dict[str, Any]:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    for name in ("occurred_at", "signed_up_at"):
        if fields[name] is not None:
            fields[name] = instant_ms(fields[name])
    return fields


def _write_table(path: Path, **columns: list[Any]) -> None:
    pq.write_table(pa.table(columns), path)
