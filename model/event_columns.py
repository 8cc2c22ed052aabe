"""Turn whole columns of recorded events into EVENT_ROW at once.

The law: `columns_of` gives what `contracts.events.row` gives for every single event, or None.
It returns None whenever a value is missing where it may not be, out of range or of an unusual
type, so that it never has to explain; reading event by event does that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import (
    ACTIVE,
    CATEGORIES,
    EVENT_ROW,
    MAX_FUTURE_MS,
    NO_VALUE,
    PASSIVE,
    SNAPSHOT,
    category_hash,
    convert,
    id_hash,
    type_slot,
)
from contracts.record import LOGGED_IN, LOGGED_OUT, UNKNOWN
from contracts.times import DAY_MS, NEVER
from model.event_files import RECEIVED


@dataclass(frozen=True)
class Columns:
    """Events as rows, not yet in log order: `offset` is 0, and so is `id` where nameless.

    rows: (n,) EVENT_ROW, log time as if received when they occurred; users: n names; nameless:
    (n,) bool, came without an event id; received: (n,) epoch ms of receipt, NEVER if not stated.
    """

    rows: np.ndarray
    users: list[str]
    nameless: np.ndarray
    received: np.ndarray


_TYPES: Final[dict[str, Callable[[pa.DataType], bool]]] = {
    "occurred_at": pa.types.is_integer,
    "signed_up_at": pa.types.is_integer,
    RECEIVED: pa.types.is_integer,
    "pages_visited": pa.types.is_integer,
    "time_spent": pa.types.is_floating,
    "days_since_signup": pa.types.is_floating,
    "value": pa.types.is_floating,
    "is_logged_in": pa.types.is_boolean,
    **dict.fromkeys(
        ("user_id", "type", "event_id", *CATEGORIES),
        lambda kind: pa.types.is_large_string(kind) or pa.types.is_string(kind),
    ),
}
_NEEDS_A_LOOK: Final = ("schema_version", "properties")


def columns_of(batch: pa.RecordBatch, rules: FoldRules) -> Columns | None:
    """Rows of a batch with columns in plain types (see event_files), or None: look singly."""
    stated: dict[str, pa.Array] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count == len(column):
            continue
        if name in _NEEDS_A_LOOK:
            return None
        if name not in _TYPES:
            continue
        if not _TYPES[name](column.type):
            return None
        stated[name] = column
    if any(name not in stated or stated[name].null_count for name in _REQUIRED):
        return None
    if not _within_limits(stated):
        return None
    columns = _rows(stated, rules)
    early = columns.rows["occurred_at"] > columns.received + MAX_FUTURE_MS
    return None if (early & (columns.received != NEVER)).any() else columns


_LIKE: Final = {RECEIVED: "occurred_at"}
"""What is no field of an event, and the field whose limits it has."""

_REQUIRED: Final = ("user_id", "type", "occurred_at")


def _within_limits(stated: dict[str, pa.Array]) -> bool:
    """Whether every value passes `contracts.events.convert`.

    Limits are intervals, of numbers or of text lengths, so a column passes when its least and
    its greatest value do; types are few and tried one by one.
    """
    snapshot = pc.equal(stated["type"], "snapshot")
    try:
        for name in pc.unique(stated["type"]).to_pylist():
            convert({"user_id": "u", "type": name})
        for kind, mask in (("snapshot", snapshot), ("page_view", pc.invert(snapshot))):
            for name, column in stated.items():
                if name != "type":
                    for value in _extremes(column.filter(mask).drop_null()):
                        convert({"user_id": "u", "type": kind} | {_LIKE.get(name, name): value})
    except BadRecord:
        return False
    return True


def _extremes(column: pa.Array) -> list[Any]:
    if len(column) == 0 or pa.types.is_boolean(column.type):
        return []
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        return [values.min().item(), values.max().item()]  # NaN if there is any
    lengths = pc.utf8_length(column).to_numpy(zero_copy_only=False)
    return [column[int(lengths.argmin())].as_py(), column[int(lengths.argmax())].as_py()]


def _rows(stated: dict[str, pa.Array], rules: FoldRules) -> Columns:
    types, type_of = _coded(stated["type"])
    occurred_at = _numbers(stated["occurred_at"], 0).astype(np.int64)
    n = len(occurred_at)

    rows = np.zeros(n, EVENT_ROW)
    rows["occurred_at"] = occurred_at
    rows["log_time"] = occurred_at
    rows["log_number"] = 1
    rows["kind"] = np.array([_kind(name, rules) for name in types], np.uint8)[type_of]
    rows["type_slot"] = np.array([type_slot(name) for name in types], np.uint8)[type_of]
    rows["login"] = _login(stated, types, type_of)
    rows["signup_at"] = _signup(stated, occurred_at, _is(types, type_of, "signup"))
    rows["cents"] = _cents(stated, n, _is(types, type_of, "return"))
    rows["pages"] = _is(types, type_of, "page_view")
    if "pages_visited" in stated:
        pages = stated["pages_visited"]
        rows["pages"] = np.where(_valid(pages), _numbers(pages, 0), rows["pages"])
    if "time_spent" in stated:
        rows["seconds"] = np.rint(_floats(stated["time_spent"]) * 60)
    for name in CATEGORIES:
        if name in stated:
            names, code = _coded(stated[name])
            hashes = np.array([category_hash(value) for value in names] + [0], np.uint32)
            rows[name] = hashes[code]

    nameless = np.ones(n, bool)
    if "event_id" in stated:
        ids = stated["event_id"].to_pylist()
        nameless = np.fromiter((value is None for value in ids), bool, n)
        rows["id"] = [0 if value is None else id_hash(value) for value in ids]
    received = np.full(n, NEVER)
    if RECEIVED in stated:
        received = _numbers(stated[RECEIVED], NEVER).astype(np.int64)
    return Columns(rows, stated["user_id"].to_pylist(), nameless, received)


def _coded(column: pa.Array) -> tuple[list[str], np.ndarray]:
    """Distinct values, and for each row the index of its own; -1 where there is none."""
    coded = column.dictionary_encode()
    return coded.dictionary.to_pylist(), _numbers(coded.indices, -1)


def _numbers(column: pa.Array, missing: float) -> np.ndarray:
    numbers: np.ndarray = column.fill_null(missing).to_numpy(zero_copy_only=False)
    return numbers


def _floats(column: pa.Array) -> np.ndarray:
    # Doubles whatever the column holds: Python computes single events in doubles, too.
    return _numbers(column, 0.0).astype(np.float64)


def _valid(column: pa.Array) -> np.ndarray:
    valid: np.ndarray = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _is(types: list[str], type_of: np.ndarray, name: str) -> np.ndarray:
    named: np.ndarray = np.array([value == name for value in types], bool)[type_of]
    return named


def _kind(name: str, rules: FoldRules) -> int:
    if name == "snapshot":
        return SNAPSHOT
    return ACTIVE if rules.is_activity(name) else PASSIVE


def _login(stated: dict[str, pa.Array], types: list[str], type_of: np.ndarray) -> np.ndarray:
    by_type = {"login": LOGGED_IN, "logout": LOGGED_OUT}
    implied: np.ndarray = np.array([by_type.get(t, UNKNOWN) for t in types], np.uint8)[type_of]
    if "is_logged_in" not in stated:
        return implied
    said = _numbers(stated["is_logged_in"], False)
    return np.where(
        _valid(stated["is_logged_in"]), np.where(said, LOGGED_IN, LOGGED_OUT), implied
    ).astype(np.uint8)


def _signup(
    stated: dict[str, pa.Array], occurred_at: np.ndarray, is_signup: np.ndarray
) -> np.ndarray:
    claim = np.where(is_signup, occurred_at, NEVER)
    if "days_since_signup" in stated:
        days = _floats(stated["days_since_signup"])
        tenure = np.rint(days * DAY_MS).astype(np.int64)
        claim = np.where(_valid(stated["days_since_signup"]), occurred_at - tenure, claim)
    if "signed_up_at" in stated:
        column = stated["signed_up_at"]
        claim = np.where(_valid(column), _numbers(column, 0).astype(np.int64), claim)
    return claim


def _cents(stated: dict[str, pa.Array], n: int, is_return: np.ndarray) -> np.ndarray:
    if "value" not in stated:
        return np.full(n, NO_VALUE)
    cents = np.rint(_floats(stated["value"]) * 100).astype(np.int64)
    cents = np.where(is_return, -np.abs(cents), cents)
    return np.where(_valid(stated["value"]), cents, NO_VALUE)
