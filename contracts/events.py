"""The activity event: its wire form, its limits, and the row that `fold` reads."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final
from zlib import crc32

import msgspec
import numpy as np

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.record import LOGGED_IN, LOGGED_OUT, TYPE_SLOTS, UNKNOWN
from contracts.times import DAY_MS, EARLIEST_MS, LATEST_MS, NEVER, from_ms, to_ms
from contracts.topics import SCHEMA_VERSION

MAX_EVENT_BYTES: Final = 65_536
MAX_DEPTH: Final = 64
"""Objects and lists inside one another. Python's own limit depends on who calls, and live and
offline decoding have to agree."""

MAX_FUTURE_MS: Final = DAY_MS
"""An event later than its log time by more than this is refused: a clock is wrong somewhere."""

MAX_PAGES: Final = 10_000
MAX_MINUTES: Final = 1_440.0
MAX_TOTAL_PAGES: Final = 100_000_000
MAX_TOTAL_MINUTES: Final = 50_000_000.0
MAX_TENURE_DAYS: Final = 36_500.0
MAX_VALUE: Final = 1e9

MAX_USER_ID: Final = 256

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Instant = datetime | int

NAMED_TYPES: Final = (
    "page_view", "session_start", "login", "logout", "signup", "purchase", "return",
    "subscription_cancelled",
)  # fmt: skip
"""Types with a counter of their own; others share the remaining slots by hash."""

_HASH_SLOTS = TYPE_SLOTS - len(NAMED_TYPES)

ACTIVE, PASSIVE, SNAPSHOT, TOMBSTONE = 0, 1, 2, 3
"""Values of EVENT_ROW["kind"]."""

NO_VALUE: Final = NEVER
"""EVENT_ROW["cents"] of an event that states no money."""

EVENT_ROW: Final = np.dtype(
    [
        ("occurred_at", "i8"),
        ("log_time", "i8"),
        ("offset", "i8"),
        ("id", "u8"),  # 48-bit hash of the event id
        ("signup_at", "i8"),  # claimed by the event, NEVER if not
        ("cents", "i8"),  # signed: a return is negative
        ("log_number", "u4"),
        ("pages", "u4"),  # of the event; of a snapshot: claimed total
        ("seconds", "u4"),  # likewise
        ("location", "u4"),  # category hashes, 0 if not stated
        ("referral_source", "u4"),
        ("device_type", "u4"),
        ("plan", "u4"),
        ("kind", "u1"),
        ("type_slot", "u1"),
        ("login", "u1"),
        ("pad", "u1"),
    ]
)
"""What `fold` knows of an event. `partition` is absent: a user's events come from their home."""

CATEGORIES: Final = ("location", "referral_source", "device_type", "plan")


class ActivityEvent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something a user did (or, as a `snapshot`, the totals a system of record holds of them).

    Times are ISO 8601 with a zone, or epoch milliseconds. `time_spent` is minutes, `value` money
    in one currency. For `snapshot`, `pages_visited` and `time_spent` are totals since sign-up.
    """

    user_id: Text
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[\w.:/ -]+$")]
    schema_version: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA_VERSION
    event_id: Text | None = None
    """Made from the record's place in the log if absent; give one to make retries harmless."""
    occurred_at: Instant | None = None
    """The record's log time if absent."""
    pages_visited: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOTAL_PAGES)] | None = None
    """A `page_view` that does not say is one page."""
    time_spent: Annotated[float, msgspec.Meta(ge=0, le=MAX_TOTAL_MINUTES)] | None = None
    is_logged_in: bool | None = None
    signed_up_at: Instant | None = None
    days_since_signup: Annotated[float, msgspec.Meta(ge=0, le=MAX_TENURE_DAYS)] | None = None
    location: Text | None = None
    referral_source: Text | None = None
    device_type: Text | None = None
    plan: Text | None = None
    value: Annotated[float, msgspec.Meta(ge=-MAX_VALUE, le=MAX_VALUE)] | None = None
    properties: dict[str, Any] | None = None
    """Kept in the log, not scored."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_LONGEST_NAME = 80
_EARLIEST_YEAR, _LATEST_YEAR = from_ms(EARLIEST_MS).year, from_ms(LATEST_MS).year - 1
_decoder = msgspec.json.Decoder(ActivityEvent)
_encoder = msgspec.json.Encoder()


def decode(value: bytes) -> ActivityEvent:
    """Read one event from its JSON bytes.

    Raises BadRecord naming the field when it is not one, or breaks a limit.
    """
    if len(value) > MAX_EVENT_BYTES:
        raise BadRecord(f"the event has {len(value)} bytes; at most {MAX_EVENT_BYTES} are taken")
    try:
        event = _decoder.decode(value)
    except msgspec.ValidationError as error:
        _check_depth(value)
        raise _bad(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _check_depth(value)
        raise BadRecord(f"not a JSON event: {error}") from None
    if event.properties is not None:  # nothing else may be nested
        _check_depth(value)
    check(event)
    return event


def convert(value: Any) -> ActivityEvent:
    """Read one event from plain Python values; raises like `decode`."""
    try:
        event = msgspec.convert(value, ActivityEvent)
    except msgspec.ValidationError as error:
        raise _bad(str(error)) from None
    check(event)
    _check_encodable(event)
    return event


def encode(event: ActivityEvent) -> bytes:
    """Return the event as JSON bytes, without the fields that were not stated."""
    return _encoder.encode(event)


def check(event: ActivityEvent) -> None:
    """Raise BadRecord where a limit is broken that the types alone cannot say."""
    check_user_id(event.user_id)
    if event.schema_version > SCHEMA_VERSION:
        raise BadRecord(
            f"schema_version {event.schema_version} is newer than {SCHEMA_VERSION}, "
            "the newest this release reads: upgrade Ebbtide",
            field="schema_version",
        )
    if event.type[-1] == "\n":  # which `$` in the pattern lets pass
        raise BadRecord("type must not end in a line break", field="type")
    if event.occurred_at is not None:
        _check_instant("occurred_at", event.occurred_at)
    if event.signed_up_at is not None:
        _check_instant("signed_up_at", event.signed_up_at)
    if event.time_spent is not None:
        _check_finite("time_spent", event.time_spent)
    if event.days_since_signup is not None:
        _check_finite("days_since_signup", event.days_since_signup)
    if event.value is not None:
        _check_finite("value", event.value)
    if event.type == "snapshot":
        return
    if event.days_since_signup is not None:
        raise BadRecord(
            "days_since_signup belongs to a snapshot; send signed_up_at", field="days_since_signup"
        )
    if event.pages_visited is not None and event.pages_visited > MAX_PAGES:
        raise BadRecord(
            f"pages_visited must be at most {MAX_PAGES} in one event", field="pages_visited"
        )
    if event.time_spent is not None and event.time_spent > MAX_MINUTES:
        raise BadRecord(
            f"time_spent must be at most {MAX_MINUTES:.0f} minutes in one event", field="time_spent"
        )


def check_user_id(user_id: str) -> None:
    """Raise BadRecord for a text that no event could have as its user_id."""
    if not 1 <= len(user_id) <= MAX_USER_ID:
        raise BadRecord(f"user_id must have 1 to {MAX_USER_ID} characters", field="user_id")
    # Only what cannot be printed can be a control character, and few names have any of that.
    if not user_id.isprintable() and _CONTROL.search(user_id):
        raise BadRecord(
            "user_id must not contain control characters, such as a newline", field="user_id"
        )


def erased_user(key: bytes | None) -> str:
    """The user whom a record without value erases; raises BadRecord if its key names none."""
    if not key:
        raise BadRecord("a record without value erases a user and needs the user_id as its key")
    try:
        user_id = key.decode()
    except UnicodeDecodeError:
        raise BadRecord("the key is not UTF-8") from None
    check_user_id(user_id)
    return user_id


def with_event_id(value: bytes, event_id: str) -> bytes:
    """The JSON of an event that has no event_id, with one and otherwise to the byte.

    Added to the text, not encoded anew: 1e9 would come back as 1000000000.0. Of two fields of a
    name the last one counts. An event that would grow beyond the limit leaves its properties.
    """
    opened = value.rstrip().removesuffix(b"}")
    longer = opened + b',"event_id":"%s"}' % event_id.encode()
    if len(longer) <= MAX_EVENT_BYTES:
        return longer
    return encode(msgspec.structs.replace(decode(value), event_id=event_id, properties=None))


class LogPlace(msgspec.Struct, frozen=True, gc=False):
    """Where a record stands: `log` is Ebbtide's number of the topic's incarnation."""

    log: int
    partition: int
    offset: int
    time: int  # Kafka timestamp, ms

    @property
    def event_id(self) -> str:
        """The id of an event that came without one."""
        return f"{self.log}:{self.partition}:{self.offset}"


RowTuple = tuple[int, ...]


def row(event: ActivityEvent, place: LogPlace, rules: FoldRules) -> RowTuple:
    """One EVENT_ROW, as a tuple: pure, so that live and offline decoding agree to the bit.

    Raises BadRecord for an event more than a day later than its log time, and for a log time that
    is none (Kafka stores -1, or whatever a producer made up).
    """
    if not EARLIEST_MS <= place.time < LATEST_MS:
        raise BadRecord(f"the record's log time {place.time} does not lie between 1970 and 2100")
    occurred_at = place.time if event.occurred_at is None else instant_ms(event.occurred_at)
    if occurred_at > place.time + MAX_FUTURE_MS:
        raise BadRecord(
            f"occurred_at {from_ms(occurred_at).isoformat()} is more than a day later than the "
            f"record's log time {from_ms(place.time).isoformat()}",
            field="occurred_at",
        )
    event_type = event.type
    if event_type == "snapshot":
        kind = SNAPSHOT
    else:
        kind = ACTIVE if rules.is_activity(event_type) else PASSIVE
    cents = NO_VALUE
    if event.value is not None:
        cents = round(event.value * 100)
        if event_type == "return":
            cents = -abs(cents)
    return (
        occurred_at,
        place.time,
        place.offset,
        id_hash(place.event_id if event.event_id is None else event.event_id),
        _signup_claim(event, occurred_at),
        cents,
        place.log,
        _pages(event),
        0 if event.time_spent is None else round(event.time_spent * 60),
        category_hash(event.location),
        category_hash(event.referral_source),
        category_hash(event.device_type),
        category_hash(event.plan),
        kind,
        type_slot(event_type),
        _login(event),
        0,
    )


def tombstone_row(place: LogPlace) -> RowTuple:
    """One EVENT_ROW that erases its user, whatever its log time: an erasure is never refused."""
    # A made-up time must not move the user's: nothing after it could ever be due.
    time = place.time if EARLIEST_MS <= place.time < LATEST_MS else EARLIEST_MS
    blank = (0,) * len(EVENT_ROW.names or ())
    values = dict(zip(EVENT_ROW.names or (), blank, strict=True))
    values |= {
        "occurred_at": time,
        "log_time": time,
        "offset": place.offset,
        "log_number": place.log,
        "signup_at": NEVER,
        "cents": NO_VALUE,
        "kind": TOMBSTONE,
    }
    return tuple(values.values())


def instant_ms(instant: Instant) -> int:
    """Milliseconds since 1970 of a wire instant."""
    return instant if isinstance(instant, int) else to_ms(instant)


def id_hash(event_id: str) -> int:
    """48-bit hash of an event id (BLAKE2b): what the duplicate window remembers."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=6).digest(), "little")


@lru_cache(maxsize=65_536)
def normalise(category: str) -> str:
    """How a category is compared: NFKC, case folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", category).casefold().split())


@lru_cache(maxsize=65_536)
def category_hash(category: str | None) -> int:
    """Stable 32-bit hash of the normalised category (CRC-32), never 0; 0 for None."""
    return 0 if category is None else crc32(normalise(category).encode()) or 1


@lru_cache(maxsize=4096)
def type_slot(event_type: str) -> int:
    """The counter of an event type: its own for NAMED_TYPES, else one shared by hash."""
    if event_type in NAMED_TYPES:
        return NAMED_TYPES.index(event_type)
    return len(NAMED_TYPES) + crc32(event_type.encode()) % _HASH_SLOTS


def _signup_claim(event: ActivityEvent, occurred_at: int) -> int:
    if event.signed_up_at is not None:
        return instant_ms(event.signed_up_at)
    if event.days_since_signup is not None:
        return occurred_at - round(event.days_since_signup * DAY_MS)
    return occurred_at if event.type == "signup" else NEVER


def _pages(event: ActivityEvent) -> int:
    if event.pages_visited is not None:
        return event.pages_visited
    return 1 if event.type == "page_view" else 0


def _login(event: ActivityEvent) -> int:
    if event.is_logged_in is not None:
        return LOGGED_IN if event.is_logged_in else LOGGED_OUT
    if event.type == "login":
        return LOGGED_IN
    return LOGGED_OUT if event.type == "logout" else UNKNOWN


def _check_instant(name: str, instant: Instant) -> None:
    if isinstance(instant, datetime):
        if instant.tzinfo is None:
            raise BadRecord(
                f"{name} needs a time zone, for example 2026-01-31T12:00:00Z", field=name
            )
        if _EARLIEST_YEAR < instant.year < _LATEST_YEAR:
            return  # whatever the zone: cheaper than to count the milliseconds
    if not EARLIEST_MS <= instant_ms(instant) < LATEST_MS:
        raise BadRecord(f"{name} must lie between 1970 and 2100", field=name)


def _check_finite(name: str, number: float) -> None:
    if not math.isfinite(number):
        raise BadRecord(f"{name} must be a finite number", field=name)


def _check_depth(value: bytes) -> None:
    """Raise BadRecord where brackets outside of texts are nested more than MAX_DEPTH deep."""
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", value)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise BadRecord(f"not a JSON event: nested more than {MAX_DEPTH} levels deep")


def _check_encodable(event: ActivityEvent) -> None:
    """Plain Python values may hold what no JSON text can: lone surrogates, objects, too much."""
    try:
        encoded = _encoder.encode(event)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadRecord(
            f"{(name := _unencodable(event))}: cannot be written as JSON: {error}", field=name
        ) from None
    if len(encoded) > MAX_EVENT_BYTES:
        raise BadRecord(f"the event has {len(encoded)} bytes; at most {MAX_EVENT_BYTES} are taken")
    _check_depth(encoded)


def _unencodable(event: ActivityEvent) -> str | None:
    for name in event.__struct_fields__:
        try:
            _encoder.encode(getattr(event, name))
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
            return name
    return None


_UNKNOWN = "Object contains unknown field `"


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


def _bad(message: str) -> BadRecord:
    """Turn msgspec's 'Expected ... - at `$.field`' into a reason that leads with the field."""
    if message.startswith(_UNKNOWN):
        name = _shortened(message.removeprefix(_UNKNOWN).removesuffix("`"))
        return BadRecord(
            f"{name}: not a field of an event; put what is your own under properties", field=name
        )
    text, _, path = message.partition(" - at `")
    # `$.field`, `$.field[...]` or `key` in `$.field`
    field = path.partition("$")[2].lstrip(".").partition("[")[0].rstrip("`") or None
    if field:
        return BadRecord(f"{field}: {text}", field=field)
    if "missing required field" in text:
        name = text.split("`")[1]
        return BadRecord(f"{name}: required", field=name)
    return BadRecord(text)
