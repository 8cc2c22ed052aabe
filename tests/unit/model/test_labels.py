"""Outcomes: silence, an event that says so, a list."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.activity import FoldRules
from contracts.errors import BadRecord, Misconfigured
from contracts.events import ActivityEvent
from contracts.times import DAY_MS, from_ms
from model.dataset import Moments
from model.event_log import EventLog, event_log
from model.labels import (
    Verdicts,
    outcome_of,
    overruled,
    read_labels,
    read_verdicts,
    telltale_types,
)
from model.volume import volume

START = 1_600_041_600_000
RULES = FoldRules()
H = 10 * DAY_MS


def happened(*events: tuple[str, str, float]) -> EventLog:
    """A log of (user, type, days after START)."""
    return event_log(
        (
            ActivityEvent(user_id=user, type=kind, occurred_at=START + int(days * DAY_MS))
            for user, kind, days in events
        ),
        RULES,
    )


def outcomes(log: EventLog, *asked: tuple[str, float], churn_types: tuple[str, ...] = ()):
    user = np.array([log.user_ids.index(name) for name, _ in asked])
    as_of = START + (np.array([days for _, days in asked]) * DAY_MS).astype(np.int64)
    label, known = outcome_of(log, H, volume(log), churn_types)(user, as_of)
    return label.tolist(), known.tolist()


def test_silence_is_churn():
    """
    1 when no activity lies in (t, t + H], its end included.
    """
    log = happened(("ada", "page_view", 0), ("bob", "page_view", 0), ("ada", "page_view", 12))

    assert ([1, 0, 1, 1], [True] * 4) == outcomes(
        log, ("ada", 1), ("ada", 2), ("ada", 12), ("bob", 1)
    )


def test_a_cancellation_is_churn_where_asked_for():
    """
    Within the horizon, whatever the user does otherwise; silence alone is none.
    """
    log = happened(
        ("ada", "page_view", 0), ("ada", "subscription_cancelled", 8), ("bob", "page_view", 0)
    )
    found = outcomes(log, ("ada", 1), ("bob", 1), churn_types=("subscription_cancelled",))

    assert ([1, 0], [True, True]) == found


def test_who_has_cancelled_is_no_longer_asked_about():
    """
    Until they are active again.
    """
    log = happened(
        ("ada", "page_view", 0), ("ada", "subscription_cancelled", 2), ("ada", "login", 5)
    )
    _, known = outcomes(
        log, ("ada", 1), ("ada", 3), ("ada", 6), churn_types=("subscription_cancelled",)
    )

    assert [True, False, True] == known


@pytest.mark.parametrize("name", ["account_closed", "subscription_cancelled"])
def test_churn_events_must_be_known_and_present(name):
    """
    A type without a counter of its own, or that the log does not have, is refused.
    """
    log = happened(("ada", "page_view", 0))

    with pytest.raises(Misconfigured, match=name):
        outcome_of(log, H, volume(log), (name,))


def test_a_type_that_knows_the_answer_is_named():
    """
    A clean-up that comes only after a silence longer than the horizon gives churn away; a
    cancellation at the time of the last visit does not.
    """
    visits = [(f"u{i}", "page_view", i * 0.1) for i in range(30)]
    leaving = [(f"u{i}", "subscription_cancelled", i * 0.1 + 0.05) for i in range(30)]
    cleaned = [(f"u{i}", "return", 20 + i * 0.1) for i in range(30)]

    assert [] == telltale_types(happened(*visits, *leaving), H)
    assert ["return"] == telltale_types(happened(*visits, *leaving, *cleaned), H)


def test_a_type_that_follows_every_cancellation_is_named():
    """
    With churn events: what never comes before one.
    """
    visits = [(f"u{i}", "page_view", i * 0.1) for i in range(30)]
    leaving = [(f"u{i}", "subscription_cancelled", 5) for i in range(30)]
    refunds = [(f"u{i}", "return", 6) for i in range(30)]
    log = happened(*visits, *leaving, *refunds)

    assert ["return"] == telltale_types(log, H, ("subscription_cancelled",))


def test_labels_are_read_from_csv_and_parquet(tmp_path):
    """
    In time order, without users the log does not know at that time, which are counted.
    """
    log = happened(("ada", "page_view", 1), ("bob", "page_view", 3))
    rows = [
        ("bob", START + 4 * DAY_MS, 1),
        ("ada", START + 2 * DAY_MS, 0),
        ("bob", START + 2 * DAY_MS, 0),
        ("eve", START + 2 * DAY_MS, 1),
    ]
    with (tmp_path / "l.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["user_id", "as_of", "churned"])
        out.writerows((user, from_ms(at).isoformat(), churned) for user, at, churned in rows)
    columns = dict(zip(["user_id", "as_of", "churned"], zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), tmp_path / "l.parquet")

    for name in ("l.csv", "l.parquet"):
        found, left_out = read_labels(tmp_path / name, log)
        assert 2 == left_out
        assert [("ada", 0), ("bob", 1)] == [
            (log.user_ids[user], label) for user, label in zip(found.user, found.label, strict=True)
        ]


@pytest.mark.parametrize(
    "line", ["ada,yesterday,1", "ada,2026-01-01T00:00:00,1", "ada,1600000000000,perhaps"]
)
def test_a_bad_label_is_named(tmp_path, line):
    """
    With file and row, and what a label looks like.
    """
    path = tmp_path / "l.csv"
    path.write_text(f"user_id,as_of,churned\n{line}\n")

    with pytest.raises(BadRecord, match=r"l\.csv, row 1: needs user_id"):
        read_labels(path, happened(("ada", "page_view", 1)))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    """
    Naming it.
    """
    with pytest.raises(Misconfigured, match="gone"):
        read_labels(tmp_path / "gone.csv", happened(("ada", "page_view", 1)))


ASKED = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 1)), min_size=1, max_size=12
)


@given(said=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), max_size=6), asked=ASKED)
def test_who_was_called_wrongly_alerted_had_not_churned_until_then(said, asked):
    """
    A churned label becomes 0 where a verdict lies within the horizon, and nothing else changes.
    """
    user, as_of, label = (np.array(column, np.int64) for column in zip(*asked, strict=True))
    moments = Moments(user, as_of, np.zeros(len(user), np.uint8), label.astype(np.uint8))
    who, at = np.array([u for u, _ in said], np.int64), np.array([t for _, t in said], np.int64)
    found, changed = overruled(moments, Verdicts(who, at), 10)

    expected = [
        0 if any(u == name and 0 <= t - when <= 10 for u, t in said) else was
        for name, when, was in asked
    ]
    assert expected == found.label.tolist()
    assert sum(label) - sum(expected) == changed
    assert (user.tolist(), as_of.tolist()) == (found.user.tolist(), found.as_of.tolist())


def test_only_a_wrong_alert_is_a_verdict_on_the_user(tmp_path):
    """
    `helped` and `duplicate` say something of the alert; strangers are left out.
    """
    log = happened(("ada", "page_view", 0), ("bob", "page_view", 0))
    said = [("ada", 1, "helped"), ("bob", 2, "wrong"), ("eve", 3, "wrong"), ("ada", 4, "duplicate")]
    rows = [
        {"user_id": user, "at": from_ms(START + day * DAY_MS).isoformat(), "verdict": verdict}
        for user, day, verdict in said
    ]
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (tmp_path / "v.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)

    for name in ("v.jsonl", "v.csv"):
        found = read_verdicts(tmp_path / name, log)
        assert (["bob"], [START + 2 * DAY_MS]) == (
            [log.user_ids[user] for user in found.user], found.at.tolist(),
        )  # fmt: skip


@pytest.mark.parametrize("line", ["ada,1600000000000,nonsense", "ada,yesterday,wrong"])
def test_a_bad_verdict_is_named(tmp_path, line):
    """
    With file and row, and what a verdict looks like.
    """
    path = tmp_path / "v.csv"
    path.write_text(f"user_id,at,verdict\n{line}\n")

    with pytest.raises(BadRecord, match=r"v\.csv, row 1: needs user_id"):
        read_verdicts(path, happened(("ada", "page_view", 1)))
