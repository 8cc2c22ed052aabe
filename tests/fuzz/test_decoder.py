"""The decoder on whatever bytes: an event or BadRecord, and in time that grows with the bytes."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import (
    EVENT_ROW,
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    LogPlace,
    decode,
    encode,
    erased_user,
    row,
    with_event_id,
)

NOON = 1_769_860_800_000
PLACE = LogPlace(log=2, partition=3, offset=7, time=NOON)
RULES = FoldRules()

fields = st.sampled_from(
    ["user_id", "type", "schema_version", "event_id", "occurred_at", "pages_visited", "time_spent",
     "is_logged_in", "signed_up_at", "days_since_signup", "location", "value", "properties", "?"]
)  # fmt: skip
leaves = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=9), st.integers(-(10**40), 10**40),
    st.sampled_from(["2026-01-31T12:00:00Z", "2026-02-30T12:00:00Z", "ada", "snapshot", 10**999]),
)  # fmt: skip
values = st.recursive(
    leaves, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=3), one)
)


def read(value: bytes) -> None:
    """An event and its row, or BadRecord."""
    with suppress(BadRecord):
        event = decode(value)
        assert len(encode(event)) <= 4 * MAX_EVENT_BYTES
        np.array([row(event, PLACE, RULES)], EVENT_ROW)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_bytes(value):
    """
    Nothing but an event or BadRecord comes of them, as a value and as the key of an erasure.
    """
    read(value)
    with suppress(BadRecord):
        assert 1 <= len(erased_user(value)) <= 256


@settings(max_examples=150)
@given(st.lists(st.tuples(fields, values), max_size=6), st.data())
def test_what_looks_like_an_event(pairs, data):
    """
    Good names with any values, names more than once, and the text spoiled somewhere.
    """
    parts = ['"user_id":"ada"', '"type":"login"']
    parts += [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs]
    text = ("{" + ",".join(parts) + "}").encode("utf-8", "surrogatepass")
    read(text)

    at = data.draw(st.integers(0, len(text)))
    read(text[:at] + data.draw(st.binary(max_size=4)) + text[at + data.draw(st.integers(0, 3)) :])


@given(st.integers(1, 2 * MAX_DEPTH), st.integers(0, 600))
def test_nesting_is_judged_alike_wherever_it_is_decoded(depth, frames):
    """
    At any depth of Python's stack; brackets inside a text are none.
    """
    nested = "[" * depth + "]" * depth
    value = f'{{"user_id":"a","type":"x","properties":{{"a":{nested},"b":"[{{\\"[["}}}}'.encode()

    def deeper(more: int) -> bool:
        if more:
            return deeper(more - 1)
        try:
            decode(value)
        except BadRecord as bad:
            return "nested" not in bad.reason
        return True

    assert (depth + 2 <= MAX_DEPTH) == deeper(frames)


def filled(head: bytes, body: bytes, end: bytes = b"") -> bytes:
    """As much of the body as a record may have."""
    room = MAX_EVENT_BYTES - len(head) - len(end)
    return head + (body * (room // len(body)))[:room] + end


OPEN = b'{"user_id":"a","type":"x",'
WORST = {
    "brackets": filled(b"", b"["),
    "pairs of brackets": filled(b"", b"[]"),
    "quotes": filled(b"", b'"'),
    "escaped quotes": filled(b"[" * 70, b'\\"'),
    "backslashes": filled(b"[" * 70 + b'"', b"\\"),
    "open strings": filled(b"[" * 70, b'"\\"'),
    "a number": filled(OPEN + b'"value":', b"9"),
    "a number in properties": filled(OPEN + b'"properties":{"n":', b"9"),
    "a small number": filled(OPEN + b'"value":0.', b"0", b"1}"),
    "an exponent": filled(OPEN + b'"value":1e', b"9"),
    "many long numbers": filled(OPEN + b'"properties":{"n":[', b"9" * 4_000 + b",", b"1]}}"),
    "a time": filled(OPEN + b'"occurred_at":"2026-01-31T12:00:00.', b"9", b'Z"}'),
    "a name": filled(OPEN + b'"', b"x", b'":1}'),
    "a type": filled(b'{"user_id":"a","type":"', b"a ", b'"}'),
    "names again": filled(OPEN, b'"plan":"x",', b'"plan":"y"}'),
    "names that collide": filled(OPEN + b'"properties":{', b'"":1,', b'"":1}}'),
    "white space": filled(OPEN, b" \n", b'"plan":"x"}'),
    "text of any language": filled(OPEN + b'"plan":"', "\u0149".encode(), b'"}'),
}


@pytest.mark.parametrize("value", WORST.values(), ids=WORST)
def test_the_worst_records_take_no_longer_than_their_bytes(value):
    """
    A record of 64 KiB is decoded, or refused, within a twentieth of a second.
    """
    assert len(value) <= MAX_EVENT_BYTES

    def seconds() -> float:
        began = time.process_time()
        read(value)
        return time.process_time() - began

    assert min(seconds() for _ in range(3)) < 0.05


@given(st.integers(MAX_EVENT_BYTES - 60, MAX_EVENT_BYTES), st.booleans())
def test_an_event_that_is_sent_home_is_still_one(size, roomy):
    """
    With the id it gets there it is no longer than an event may be, and otherwise the same.
    """
    head, end = OPEN + b'"value":1e9,"properties":{"a":"', b'"}}'
    value = head + b"x" * (size - len(head) - len(end) - 200 * roomy) + end

    sent = with_event_id(value, "12:345:6789012345")

    assert len(sent) <= MAX_EVENT_BYTES
    event = decode(sent)
    assert ("12:345:6789012345", "a", 1e9) == (event.event_id, event.user_id, event.value)
    if len(value) + 40 <= MAX_EVENT_BYTES:
        assert decode(value).properties == event.properties
