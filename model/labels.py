"""What became of a user: by their silence, by an event that says so, by a list, or by a verdict.

Silence is the default, and needs nothing: no activity in (t, t + H]. A business with contracts
knows better, from a cancellation in its log or from a file of its own. What people say of alerts
are notes, and labels only where somebody decides so.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import BadRecord, Misconfigured
from contracts.events import NAMED_TYPES
from contracts.times import to_ms
from model.dataset import INSTANT, Moments, Outcome
from model.event_log import EventLog
from model.instants import FOREVER, Instants
from model.volume import Volume

FEWEST_LEAKS: Final = 20
"""A type that occurs less often than this is not accused of anything."""

VERDICTS: Final = ("helped", "wrong", "duplicate")

_TRUTHS: Final = {"1": 1, "true": 1, "yes": 1, "0": 0, "false": 0, "no": 0}


def outcome_of(
    log: EventLog, horizon: int, volume: Volume, churn_types: Sequence[str] = ()
) -> Outcome:
    """How a moment ends within `horizon` ms: in silence, or in an event of `churn_types`.

    Unknown where outages cover the horizon and, with churn types, for users who had already
    churned and were not active since.
    Raises Misconfigured for a type without a counter of its own, or one the log does not have.
    """
    quits = _times_of(log, _slots(log, churn_types)) if churn_types else None
    visits = _instants(log, log.active)

    def outcome(user: np.ndarray, as_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known = ~volume.masked(as_of, horizon)
        if quits is None:
            return (visits.next(user, as_of) > as_of + horizon).astype(np.uint8), known
        gone = quits.last(user, as_of) > visits.last(user, as_of)
        return (quits.next(user, as_of) <= as_of + horizon).astype(np.uint8), known & ~gone

    return outcome


def telltale_types(log: EventLog, horizon: int, churn_types: Sequence[str] = ()) -> list[str]:
    """Event types that occur only once a user has churned: they know the answer.

    By silence: whenever it occurs, the user has been silent for more than `horizon` ms. With
    churn types: it never comes before the user's first event of those.
    """
    after = np.zeros(len(log), bool)
    who, when = log.user.astype(np.int64), log.rows["occurred_at"]
    if churn_types:
        quits = _times_of(log, _slots(log, churn_types))
        after = quits.last(who, when) > -FOREVER
    else:
        last = _instants(log, log.active).last(who, when)
        after = (when - last > horizon) & (last > -FOREVER)
    found = []
    for slot in np.unique(log.rows["type_slot"]):
        of_type = log.rows["type_slot"] == slot
        if _name(int(slot)) in churn_types:
            continue
        if of_type.sum() >= FEWEST_LEAKS and after[of_type].all():
            found.append(_name(int(slot)))
    return found


def read_labels(path: Path, log: EventLog) -> tuple[Moments, int]:
    """Read moments and outcomes from a .csv or .parquet file with user_id, as_of and churned.

    Returns them in time order, and how many rows were left out because the log knows nothing of
    that user at that time. Raises BadRecord naming the line, Misconfigured for an unreadable file.
    """
    index = {name: i for i, name in enumerate(log.user_ids)}
    user, as_of, label = [], [], []
    for line, row in enumerate(_table(path), start=1):
        try:
            name, moment, churned = str(row["user_id"]), _instant(row["as_of"]), row["churned"]
            label.append(_TRUTHS[str(churned).strip().lower()])
        except (KeyError, ValueError, TypeError) as error:
            raise BadRecord(
                f"{path}, row {line}: needs user_id, as_of (ISO 8601 with a zone, or epoch ms) and "
                f"churned (0 or 1): {error}"
            ) from None
        user.append(index.get(name, -1))
        as_of.append(moment)
    who, moments = np.array(user, np.int64), np.array(as_of, np.int64)
    seen = _instants(log, log.active).last(np.maximum(who, 0), moments) > -FOREVER
    kept = np.flatnonzero((who >= 0) & seen)
    order = kept[np.lexsort((who[kept], moments[kept]))]
    stratum = np.full(len(order), INSTANT, np.uint8)
    churned = np.array(label, np.uint8)[order]
    return Moments(who[order], moments[order], stratum, churned), len(who) - len(order)


@dataclass(frozen=True)
class Verdicts:
    """Alerts that somebody called wrong, (n,) each: about whom, and when they said so (ms)."""

    user: np.ndarray
    at: np.ndarray


def read_verdicts(path: Path, log: EventLog) -> Verdicts:
    """Read what people said of alerts: .jsonl, .csv or .parquet with user_id, at and verdict
    (helped, wrong or duplicate).

    Only `wrong` says something about the user: that they were not leaving. Raises BadRecord naming
    the row, Misconfigured for an unreadable file.
    """
    index = {name: i for i, name in enumerate(log.user_ids)}
    user, at = [], []
    for line, row in enumerate(_table(path), start=1):
        try:
            name, moment, verdict = str(row["user_id"]), _instant(row["at"]), row["verdict"]
            if verdict not in VERDICTS:
                raise ValueError(f"verdict {verdict!r}")
        except (KeyError, ValueError, TypeError) as error:
            raise BadRecord(
                f"{path}, row {line}: needs user_id, at (ISO 8601 with a zone, or epoch ms) and "
                f"verdict ({', '.join(VERDICTS)}): {error}"
            ) from None
        if verdict == "wrong" and name in index:
            user.append(index[name])
            at.append(moment)
    return Verdicts(np.array(user, np.int64), np.array(at, np.int64))


def overruled(moments: Moments, verdicts: Verdicts, horizon: int) -> tuple[Moments, int]:
    """The moments with verdicts as labels, and how many labels that changed.

    Who was not leaving when the verdict was given had not churned at a moment up to `horizon` ms
    earlier: such a label becomes 0. Later moments, and labels that were 0, stay as they are.
    """
    said = Instants(verdicts.user, verdicts.at)
    still_there = said.next(moments.user, moments.as_of - 1) <= moments.as_of + horizon
    changed = still_there & (moments.label == 1)
    label = np.where(changed, 0, moments.label).astype(np.uint8)
    return replace(moments, label=label), int(changed.sum())


def _times_of(log: EventLog, slots: list[int]) -> Instants:
    return _instants(log, np.isin(log.rows["type_slot"], slots))


def _instants(log: EventLog, chosen: np.ndarray) -> Instants:
    return Instants(log.user[chosen], log.rows["occurred_at"][chosen])


def _slots(log: EventLog, churn_types: Sequence[str]) -> list[int]:
    slots = []
    for name in churn_types:
        if name not in NAMED_TYPES:
            raise Misconfigured(
                f"--churn-events {name}: only {', '.join(NAMED_TYPES)} have a counter of their "
                "own; give other outcomes as --labels FILE"
            )
        slots.append(NAMED_TYPES.index(name))
        if not (log.rows["type_slot"] == slots[-1]).any():
            raise Misconfigured(f"--churn-events {name}: the log has no such event")
    return slots


def _name(slot: int) -> str:
    return NAMED_TYPES[slot] if slot < len(NAMED_TYPES) else f"the types of slot {slot}"


def _table(path: Path) -> list[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix in {".parquet", ".pq"}:
        return _parquet(path)
    return _jsonl(path) if suffix in {".jsonl", ".ndjson"} else _csv(path)


def _jsonl(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror or error}") from error
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(msgspec.json.decode(line, type=dict[str, Any]))
        except msgspec.MsgspecError as error:
            raise BadRecord(f"{path}, row {number}: not a JSON object: {error}") from None
    return rows


def _csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror or error}") from error


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise Misconfigured(f"cannot read {path}: {error}") from error
    return rows


def _instant(value: Any) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, datetime):
        moment = value
    elif str(value).lstrip("-").isdigit():
        return int(value)
    else:
        moment = datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError(f"as_of {value} has no time zone")
    return to_ms(moment)
