"""Reading activity events: what is refused and why, and the row the fold gets."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import (
    ACTIVE,
    EVENT_ROW,
    MAX_EVENT_BYTES,
    NAMED_TYPES,
    NO_VALUE,
    PASSIVE,
    SNAPSHOT,
    TOMBSTONE,
    ActivityEvent,
    LogPlace,
    category_hash,
    convert,
    decode,
    encode,
    id_hash,
    row,
    tombstone_row,
    type_slot,
)
from contracts.record import LOGGED_IN, LOGGED_OUT, TYPE_SLOTS, UNKNOWN
from contracts.times import DAY_MS, LATEST_MS, NEVER, from_ms

NOON = 1_769_860_800_000  # 2026-01-31T12:00:00Z
PLACE = LogPlace(log=2, partition=3, offset=7, time=NOON)
RULES = FoldRules()


def event(**fields: object) -> dict[str, object]:
    """A good event with `fields` on top."""
    return {"user_id": "ada", "type": "page_view", **fields}


def row_of(**fields: object) -> np.void:
    """EVENT_ROW of such an event."""
    return np.array([row(convert(event(**fields)), PLACE, RULES)], EVENT_ROW)[0]


BAD = {
    "empty user": ("user_id", {"user_id": ""}),
    "long user": ("user_id", {"user_id": "a" * 257}),
    "user is a number": ("user_id", {"user_id": 7}),
    "user is null": ("user_id", {"user_id": None}),
    "empty type": ("type", {"type": ""}),
    "long type": ("type", {"type": "a" * 65}),
    "type with odd signs": ("type", {"type": "page<view>"}),
    "type with a line break": ("type", {"type": "login\n"}),
    "newer schema": ("schema_version", {"schema_version": 2}),
    "schema 0": ("schema_version", {"schema_version": 0}),
    "empty id": ("event_id", {"event_id": ""}),
    "time without a zone": ("occurred_at", {"occurred_at": "2026-01-31T12:00:00"}),
    "time in words": ("occurred_at", {"occurred_at": "yesterday"}),
    "time before 1970": ("occurred_at", {"occurred_at": -1}),
    "time after 2100": ("occurred_at", {"occurred_at": LATEST_MS}),
    "fractional time": ("occurred_at", {"occurred_at": 1.5}),
    "endless time": ("occurred_at", {"occurred_at": 10**30}),
    "signup without a zone": ("signed_up_at", {"signed_up_at": "2026-01-31T12:00:00"}),
    "negative pages": ("pages_visited", {"pages_visited": -1}),
    "half a page": ("pages_visited", {"pages_visited": 1.5}),
    "pages as text": ("pages_visited", {"pages_visited": "12"}),
    "pages as truth": ("pages_visited", {"pages_visited": True}),
    "too many pages": ("pages_visited", {"pages_visited": 10_001}),
    "too many total pages": ("pages_visited", {"type": "snapshot", "pages_visited": 10**8 + 1}),
    "negative minutes": ("time_spent", {"time_spent": -0.1}),
    "more than a day": ("time_spent", {"time_spent": 1440.1}),
    "too many total minutes": ("time_spent", {"type": "snapshot", "time_spent": 5e7 + 1}),
    "login as number": ("is_logged_in", {"is_logged_in": 1}),
    "tenure of no snapshot": ("days_since_signup", {"days_since_signup": 3}),
    "negative tenure": ("days_since_signup", {"type": "snapshot", "days_since_signup": -1}),
    "endless tenure": ("days_since_signup", {"type": "snapshot", "days_since_signup": 36_501}),
    "empty place": ("location", {"location": ""}),
    "long referrer": ("referral_source", {"referral_source": "a" * 257}),
    "device as list": ("device_type", {"device_type": ["phone"]}),
    "empty plan": ("plan", {"plan": ""}),
    "too much money": ("value", {"value": 1e9 + 1}),
    "too little money": ("value", {"value": -1e9 - 1}),
    "properties as list": ("properties", {"properties": [1]}),
    "unknown field": ("pages", {"pages": 3}),
}


@pytest.mark.parametrize("character", ["\n", "\x00", "\x7f"])
def test_a_user_id_with_a_control_character_is_refused(character):
    """
    It could not be asked for, nor erased, by its address.
    """
    with pytest.raises(BadRecord, match="user_id") as refusal:
        convert({"user_id": f"ada{character}", "type": "login"})

    assert "user_id" == refusal.value.field


@pytest.mark.parametrize(("field", "fields"), BAD.values(), ids=BAD)
def test_a_bad_event_names_its_field(field, fields):
    """
    From JSON and from plain values alike, the reason leads to the field at fault.
    """
    bad = event(**fields)
    for read, value in ((decode, json.dumps(bad).encode()), (convert, bad)):
        with pytest.raises(BadRecord) as caught:
            read(value)
        assert field == caught.value.field
        assert field in caught.value.reason


@pytest.mark.parametrize("field", ["user_id", "type"])
def test_required_fields_are_named(field):
    """
    An event without a user or a type says which is missing.
    """
    event_without = {name: value for name, value in event().items() if name != field}

    with pytest.raises(BadRecord, match="required") as caught:
        decode(json.dumps(event_without).encode())
    assert field == caught.value.field


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["time_spent", "value"])
def test_numbers_are_finite(field, number):
    """
    NaN and infinity are refused, however they come in.
    """
    with pytest.raises(BadRecord) as caught:
        convert(event(**{field: number}))
    assert field == caught.value.field
    with pytest.raises(BadRecord):
        decode(json.dumps(event(**{field: number})).encode())


@pytest.mark.parametrize(
    "value",
    [
        b"", b"null", b"[]", b"7", b"{", b'"ada"', b"\xff\xfe", b"[" * 100_000, b"{}",
        b'{"user_id": "\\ud800", "type": "login"}',
        '{"user_id": "\ud800", "type": "login"}'.encode("utf-8", "surrogatepass"),
        b'{"user_id": "ada", "type": "login"} trailing',
    ],
)  # fmt: skip
def test_what_is_no_event_is_a_bad_record(value):
    """
    Whatever bytes arrive, the outcome is an event or BadRecord, never another error.
    """
    with pytest.raises(BadRecord):
        decode(value)


@given(value=st.binary(max_size=80))
def test_any_bytes_are_an_event_or_a_bad_record(value):
    """
    Decoding raises nothing but BadRecord.
    """
    with suppress(BadRecord):
        decode(value)


@pytest.mark.parametrize("field", ["user_id", "event_id", "location", "plan"])
def test_a_lone_surrogate_is_refused(field):
    """
    Python holds text that UTF-8 cannot; it must not get as far as a key.
    """
    with pytest.raises(BadRecord) as caught:
        convert(event(**{field: "a\ud800"}))
    assert field == caught.value.field


@pytest.mark.parametrize("inner", ["\ud800", object(), {"deep": {1, object()}}])
def test_properties_can_be_written_as_json(inner):
    """
    What is kept in the log has to fit into it.
    """
    with pytest.raises(BadRecord) as caught:
        convert(event(properties={"mine": inner}))
    assert "properties" == caught.value.field


def test_an_event_may_not_be_too_large():
    """
    Neither as bytes nor as values that become such bytes.
    """
    large = event(properties={"text": "a" * MAX_EVENT_BYTES})

    with pytest.raises(BadRecord, match=str(MAX_EVENT_BYTES)):
        decode(json.dumps(large).encode())
    with pytest.raises(BadRecord, match=str(MAX_EVENT_BYTES)):
        convert(large)


@given(
    st.builds(
        ActivityEvent,
        user_id=st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20
        ),
        type=st.sampled_from([*NAMED_TYPES, "custom:thing"]),
        event_id=st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
        occurred_at=st.none()
        | st.integers(0, LATEST_MS - 1)
        | st.integers(0, LATEST_MS - 1).map(from_ms),
        pages_visited=st.none() | st.integers(0, 10_000),
        time_spent=st.none() | st.floats(0, 1440),
        is_logged_in=st.none() | st.booleans(),
        value=st.none() | st.floats(-1e9, 1e9),
        properties=st.none() | st.dictionaries(st.text(max_size=3), st.integers(0, 9)),
    )
)
def test_events_survive_the_wire(sent):
    """
    What is written is what is read.
    """
    assert sent == decode(encode(sent))


def test_unstated_fields_are_not_written():
    """
    An event is as short as what it says.
    """
    assert {"user_id": "ada", "type": "login"} == json.loads(
        encode(ActivityEvent(user_id="ada", type="login"))
    )


def test_an_event_becomes_a_row():
    """
    Minutes become seconds, money cents, times milliseconds, categories hashes.
    """
    got = row_of(
        event_id="x", occurred_at="2026-01-31T13:00:00+02:00", pages_visited=3, time_spent=1.5,
        value=12.345, location="Paris", is_logged_in=True, signed_up_at=NOON - DAY_MS,
    )  # fmt: skip

    expected = {
        "occurred_at": NOON - 3_600_000, "log_time": NOON, "offset": 7, "id": id_hash("x"),
        "signup_at": NOON - DAY_MS, "cents": round(12.345 * 100), "log_number": 2, "pages": 3,
        "seconds": 90, "location": category_hash("paris"), "plan": 0, "kind": ACTIVE,
        "type_slot": 0, "login": LOGGED_IN,
    }  # fmt: skip
    assert expected == {name: got[name] for name in expected}


def test_a_bare_event_is_made_from_its_place():
    """
    Without an id or a time of its own it gets log:partition:offset and the Kafka timestamp.
    """
    got = row_of()

    assert (id_hash("2:3:7"), NOON) == (got["id"], got["occurred_at"])
    assert (NO_VALUE, NEVER, UNKNOWN) == (got["cents"], got["signup_at"], got["login"])


def test_a_page_view_that_does_not_say_is_one_page():
    """
    Only a page_view counts a page by itself; what an event states wins.
    """
    stated = [row_of(), row_of(pages_visited=0), row_of(pages_visited=4), row_of(type="login")]

    assert [1, 0, 4, 0] == [row["pages"] for row in stated]


def test_a_day_into_the_future_is_the_limit():
    """
    It is measured against the record's log time, not against any clock.
    """
    assert NOON + DAY_MS == row_of(occurred_at=NOON + DAY_MS)["occurred_at"]
    with pytest.raises(BadRecord) as caught:
        row_of(occurred_at=NOON + DAY_MS + 1)
    assert "occurred_at" == caught.value.field


@pytest.mark.parametrize("time", [-1, LATEST_MS, 2**62])
def test_a_log_time_that_is_none_is_refused(time):
    """
    A record with a made-up Kafka timestamp is parked; an erasure is carried out all the same.
    """
    place = LogPlace(log=1, partition=0, offset=0, time=time)

    with pytest.raises(BadRecord, match="log time"):
        row(convert(event()), place, RULES)
    erasure = np.array([tombstone_row(place)], EVENT_ROW)[0]
    assert TOMBSTONE == erasure["kind"]
    assert 0 <= erasure["log_time"] < LATEST_MS


def test_a_tombstone_states_nothing():
    """
    It carries its place, and no id, money or sign-up.
    """
    got = np.array([tombstone_row(PLACE)], EVENT_ROW)[0]

    assert (TOMBSTONE, 0, NO_VALUE, NEVER, 7, 2, NOON) == (
        got["kind"], got["id"], got["cents"], got["signup_at"], got["offset"], got["log_number"],
        got["log_time"],
    )  # fmt: skip


def test_a_snapshot_states_totals():
    """
    Totals may exceed what one event may have; days since sign-up say when that was.
    """
    got = row_of(type="snapshot", pages_visited=99_999, time_spent=5_000, days_since_signup=2.5)

    assert (SNAPSHOT, 99_999, 300_000, NOON - 2.5 * DAY_MS) == (
        got["kind"], got["pages"], got["seconds"], got["signup_at"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "login"),
    [
        ({"type": "login"}, LOGGED_IN),
        ({"type": "logout"}, LOGGED_OUT),
        ({"type": "login", "is_logged_in": False}, LOGGED_OUT),
        ({"is_logged_in": False}, LOGGED_OUT),
        ({}, UNKNOWN),
    ],
)
def test_login_is_stated_by_field_or_type(fields, login):
    """
    The field wins over the type.
    """
    assert login == row_of(**fields)["login"]


def test_a_signup_is_its_own_claim():
    """
    An event of type signup claims its own time, unless it states another.
    """
    assert row_of(type="signup")["signup_at"] == NOON
    assert row_of(type="signup", signed_up_at=5)["signup_at"] == 5


def test_a_return_takes_money_back():
    """
    Its value counts as negative, with either sign.
    """
    assert [-500, -500, 500] == [
        row_of(type="return", value=5)["cents"],
        row_of(type="return", value=-5)["cents"],
        row_of(type="purchase", value=5)["cents"],
    ]


@pytest.mark.parametrize(
    "event_type", ["subscription_cancelled", "return", "email_opened", "invoice_sent", "system_x"]
)
def test_what_befalls_a_user_is_passive(event_type):
    """
    The default list of types that are no activity; rules may name another.
    """
    everything = FoldRules(passive_types=())
    kind = EVENT_ROW.names.index("kind")

    assert PASSIVE == row_of(type=event_type)["kind"]
    assert ACTIVE == row(convert(event(type=event_type)), PLACE, everything)[kind]


@given(st.text(min_size=1, max_size=30))
def test_every_type_has_a_counter(event_type):
    """
    Named types have their own, all others share the rest.
    """
    slot = type_slot(event_type)

    assert 0 <= slot < TYPE_SLOTS
    assert (event_type in NAMED_TYPES) == (slot < len(NAMED_TYPES))


def test_categories_are_compared_normalised():
    """
    Case, width and spaces make no difference; the hash is never 0, which means not stated.
    """
    assert category_hash("New York") == category_hash("  new   YORK ")
    assert category_hash("\uff2e\uff25\uff37 york") == category_hash("new york")
    assert category_hash("paris") != category_hash("london")
    assert 0 == category_hash(None)
    assert 0 != category_hash(" ")
    assert 0x962CCBE2 == category_hash("Paris")


def test_ids_are_48_bits_and_stable():
    """
    The hash of an id is the same in every release.
    """
    assert 0 <= id_hash("x") < 2**48
    assert 167_023_922_613_531 == id_hash("1:0:0")
