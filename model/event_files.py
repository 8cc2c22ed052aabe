"""Recorded events on disk: CSV, JSONL (both also as .gz) and Parquet, in the event's own shape.

Columns are the fields of contracts.events.ActivityEvent, and `received_at`. Others go into
`properties`; an empty CSV cell, a JSON null and a Parquet null mean "not stated".
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, TextIO, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import BadRecord, Misconfigured
from contracts.events import MAX_FUTURE_MS, ActivityEvent, convert, instant_ms

Progress = Callable[[int], None]
"""Told now and then how many events have been read or written so far."""

Format = Literal["csv", "jsonl", "parquet"]

FIELDS: Final = tuple(ActivityEvent.__struct_fields__)
INSTANTS: Final = ("occurred_at", "signed_up_at")
RECEIVED: Final = "received_at"
"""When the log took the event: about the record, not part of the event. May be absent."""

INTEGERS: Final = ("schema_version", "pages_visited")
FLOATS: Final = ("time_spent", "days_since_signup", "value")
TEXTS: Final = (
    "user_id", "type", "event_id", "location", "referral_source", "device_type", "plan",
)  # fmt: skip

BATCH_ROWS: Final = 65_536
_PROGRESS_EVERY = 10_000
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def format_of(path: Path) -> Format:
    """Tell the format from the suffix; raises Misconfigured for one we do not read or write."""
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        return "csv"
    if name.endswith((".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")):
        return "jsonl"
    if name.endswith((".parquet", ".pq")):
        return "parquet"
    raise Misconfigured(
        f"{path}: unknown kind of event file; name it .csv, .jsonl (either also .gz) or .parquet"
    )


class Recorded(NamedTuple):
    """An event, and when the log took it (epoch ms), None where that was not recorded."""

    event: ActivityEvent
    received: int | None


def read_events(
    path: Path | str, *, on_progress: Progress | None = None
) -> Iterator[ActivityEvent]:
    """Yield the events of one recorded log, in file order; raises like `read_recorded`."""
    for recorded in read_recorded(path, on_progress=on_progress):
        yield recorded.event


def read_recorded(path: Path | str, *, on_progress: Progress | None = None) -> Iterator[Recorded]:
    """Yield the events of one recorded log with their times of receipt, in file order.

    Raises BadRecord naming path, line (row, for Parquet) and field of the first bad event, and
    Misconfigured for a file that cannot be read at all.
    """
    path = Path(path)
    count = 0
    for count, (line, fields) in enumerate(_rows(path), start=1):
        try:
            recorded = _recorded(fields())
        except BadRecord as error:
            raise at_line(path, line, error) from None
        yield recorded
        if on_progress is not None and count % _PROGRESS_EVERY == 0:
            on_progress(count)
    if on_progress is not None:
        on_progress(count)


def _recorded(fields: dict[str, Any]) -> Recorded:
    received = fields.pop(RECEIVED, None)
    event = convert(fields)
    if event.occurred_at is None:
        raise BadRecord("occurred_at: required in a recorded log", field="occurred_at")
    if received is None:
        return Recorded(event, None)
    received_ms = _received_ms(received)
    if instant_ms(event.occurred_at) > received_ms + MAX_FUTURE_MS:
        raise BadRecord("received_at: more than a day before occurred_at", field=RECEIVED)
    return Recorded(event, received_ms)


def _received_ms(received: Any) -> int:
    """Read like any other instant of an event; raises BadRecord naming received_at."""
    try:
        as_event = convert({"user_id": "u", "type": "x", "occurred_at": received})
    except BadRecord as error:
        reason = error.reason.replace("occurred_at", RECEIVED)
        raise BadRecord(reason, field=RECEIVED) from None
    assert as_event.occurred_at is not None, "it was stated"
    return instant_ms(as_event.occurred_at)


def at_line(path: Path, line: int, error: BadRecord) -> BadRecord:
    """Return the same complaint, saying where the record stands (line or row, counted from 1)."""
    word = "row" if format_of(path) == "parquet" else "line"
    return BadRecord(f"{path}, {word} {line}: {error.reason}", field=error.field)


def write_events(
    events: Iterable[ActivityEvent], path: Path | str, *, on_progress: Progress | None = None
) -> int:
    """Write events in the format the suffix names; return how many.

    The file appears under its name only when it is complete.
    """
    path = Path(path)
    write = {"csv": _write_csv, "jsonl": _write_jsonl, "parquet": _write_parquet}[format_of(path)]
    part = path.with_name(f".{path.name}.part")
    count = 0

    def counted() -> Iterator[ActivityEvent]:
        nonlocal count
        for event in events:
            count += 1
            yield event
            if on_progress is not None and count % _PROGRESS_EVERY == 0:
                on_progress(count)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(counted(), part)
        part.replace(path)
    except OSError as error:
        raise Misconfigured(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    if on_progress is not None:
        on_progress(count)
    return count


# --- reading ---------------------------------------------------------------------------------


Fields = dict[str, Any]
Numbered = tuple[int, Callable[[], Fields]]
"""Line or row number, and its fields; asking for them raises BadRecord when they are unreadable."""


def _rows(path: Path) -> Iterator[Numbered]:
    read = {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}[format_of(path)]
    try:
        yield from read(path)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Misconfigured(f"cannot read {path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise BadRecord(f"{path}: not UTF-8 text ({error.reason})") from error
    except csv.Error as error:
        raise BadRecord(f"{path}: not CSV: {error}") from error
    except pa.ArrowException as error:
        raise BadRecord(f"{path}: cannot be read as Parquet: {error}") from error


def _open_text(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _csv_rows(path: Path) -> Iterator[Numbered]:
    with _open_text(path) as file:
        reader = csv.reader(file)
        header = next(reader, None)
        if header is None:
            return
        columns = [name.strip() for name in header]
        _check_columns(path, columns)
        for cells in reader:
            if not cells:
                continue
            yield reader.line_num, _csv_fields(columns, cells)


def _csv_fields(columns: list[str], cells: list[str]) -> Callable[[], Fields]:
    def fields() -> Fields:
        if len(cells) != len(columns):
            raise BadRecord(f"{len(cells)} cells under {len(columns)} columns")
        stated = {
            name: _from_text(name, cell)
            for name, cell in zip(columns, cells, strict=True)
            if cell != ""
        }
        return _shaped(stated)

    return fields


def _from_text(name: str, text: str) -> Any:
    """Read a CSV cell as its field's type; raises BadRecord naming field and text."""
    try:
        if name in INTEGERS:
            return _whole(float(text))
        if name in FLOATS:
            return float(text)
        if name in INSTANTS or name == RECEIVED:
            return int(text) if text.lstrip("-").isdecimal() else text
        if name == "is_logged_in":
            return _TRUTHS[text.strip().lower()]
        if name == "properties":
            return msgspec.json.decode(text)
    except (ValueError, KeyError, OverflowError, msgspec.MsgspecError):
        raise BadRecord(f"{name}: {text[:80]!r} is not {_expected(name)}", field=name) from None
    return text


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError
    return int(number)


def _expected(name: str) -> str:
    if name in INTEGERS:
        return "a whole number"
    if name in FLOATS:
        return "a number"
    return {"is_logged_in": "true or false", "properties": "a JSON object"}.get(name, "valid")


def _jsonl_rows(path: Path) -> Iterator[Numbered]:
    with _open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _json_fields(line)


def _json_fields(line: str) -> Callable[[], Fields]:
    def fields() -> Fields:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRecord(f"not JSON: {error}") from None
        if not isinstance(value, dict):
            raise BadRecord("not a JSON object")
        return _shaped(value)

    return fields


def _parquet_rows(path: Path) -> Iterator[Numbered]:
    number = 0
    for batch in parquet_batches(path):
        for fields in batch.to_pylist():
            number += 1
            stated = {name: value for name, value in fields.items() if value is not None}
            yield number, partial(_parquet_fields, stated)


def _parquet_fields(stated: dict[str, Any]) -> dict[str, Any]:
    own = stated.get("properties")
    if isinstance(own, str):
        stated["properties"] = _from_text("properties", own)
    return _shaped(stated)


def parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the file's rows in batches, known columns in plain types (see `_plain`)."""
    with pq.ParquetFile(path) as file:
        _check_columns(path, list(file.schema_arrow.names))
        for batch in file.iter_batches(BATCH_ROWS):
            named = zip(batch.schema.names, batch.columns, strict=True)
            plain = [_plain(path, name, column) for name, column in named]
            yield pa.RecordBatch.from_arrays(plain, names=batch.schema.names)


def _plain(path: Path, name: str, column: pa.Array) -> pa.Array:
    """Bring a Parquet column to the type its field is read from.

    Instants to epoch ms (truncated) or text, texts and numeric ids to text; nested and unknown
    columns stay, with times in microseconds, which Python can hold.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_timestamp(kind):
        if name in INSTANTS or name == RECEIVED:
            if kind.tz is None:
                raise BadRecord(f"{path}: {name} needs a time zone, for example UTC", field=name)
            return column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if name in TEXTS and (pa.types.is_integer(kind) or pa.types.is_string(kind)):
        return column.cast(pa.large_string())
    return column


def _check_columns(path: Path, columns: list[str]) -> None:
    """Refuse a table that cannot hold events, before its first row is blamed for it."""
    for name in ("user_id", "type", "occurred_at"):
        if name not in columns:
            raise BadRecord(
                f"{path}: no column {name}; found {', '.join(columns) or 'none'}", field=name
            )
    twice = {name for name in columns if columns.count(name) > 1}
    if twice:
        raise BadRecord(f"{path}: column {min(twice)} appears twice", field=min(twice))


def _shaped(stated: dict[str, Any]) -> dict[str, Any]:
    """Move what is no field of an event, nor about its record, into `properties`."""
    foreign = stated.keys() - _KNOWN
    if not foreign:
        return stated
    own = stated.get("properties") or {}
    if not isinstance(own, dict):
        raise BadRecord("properties: must be an object", field="properties")
    shaped = {name: value for name, value in stated.items() if name in _KNOWN}
    shaped["properties"] = {n: v for n, v in stated.items() if n in foreign} | own
    return shaped


_KNOWN = frozenset((*FIELDS, RECEIVED))

# --- writing ---------------------------------------------------------------------------------

_WRITTEN = tuple(name for name in FIELDS if name != "schema_version")
_encoder = msgspec.json.Encoder()

_SCHEMA = pa.schema(
    [
        (
            name,
            pa.timestamp("ms", "UTC")
            if name in INSTANTS
            else pa.int64()
            if name in INTEGERS
            else pa.float64()
            if name in FLOATS
            else pa.bool_()
            if name == "is_logged_in"
            else pa.string(),
        )
        for name in _WRITTEN
    ]
)


@contextmanager
def _create(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as raw:
        if not path.name.lower().endswith(".gz.part"):
            yield raw
            return
        # No name and no time in the header: same events, same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
            yield cast(BinaryIO, packed)


def _write_jsonl(events: Iterator[ActivityEvent], path: Path) -> None:
    with _create(path) as file:
        for event in events:
            file.write(_encoder.encode(event) + b"\n")


def _write_csv(events: Iterator[ActivityEvent], path: Path) -> None:
    with _create(path) as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_WRITTEN)
        for event in events:
            stated = msgspec.to_builtins(event)
            writer.writerow([_to_text(stated.get(name)) for name in _WRITTEN])


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return _encoder.encode(value).decode()
    return str(value)


def _write_parquet(events: Iterator[ActivityEvent], path: Path) -> None:
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        while rows := [_parquet_row(event) for event in islice(events, BATCH_ROWS)]:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, _SCHEMA))


def _parquet_row(event: ActivityEvent) -> dict[str, Any]:
    stated = msgspec.structs.asdict(event)
    for name in INSTANTS:
        if stated[name] is not None:
            stated[name] = instant_ms(stated[name])
    if stated["properties"] is not None:
        stated["properties"] = _encoder.encode(stated["properties"]).decode()
    return stated
