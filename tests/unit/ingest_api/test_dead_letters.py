"""`GET /dead-letters`: what could not be used, shown so that it harms nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.topics import COMMANDS
from ingest_api.dead_letters import SHOWN_BYTES, harmless, kind_of, page, place, shown
from runtime.letter_log import Newest
from runtime.letters import Letter, Original
from tests.unit.ingest_api.stand import NOON, Stand


def letter(
    offset: int, reason: str = "not JSON", *, at: int = NOON, replayed: bool = False,
    value: bytes | None = b"{", partition: int = 0,
) -> Letter:  # fmt: skip
    original = Original(b"ada", value, (("trace", b"\xff\x00"), ("none", None)), at)
    return Letter(partition, offset, "activity-event", f"3:1:{offset}", reason, original, replayed)


def keep(gateway: Stand, *letters: Letter, topic: str = "activity-event") -> None:
    gateway.letters.newest_of[topic] = Newest(letters, len(letters), 900, True)


async def test_a_letter_is_told_with_its_reason_place_and_bytes(gateway: Stand) -> None:
    """Text as text, other bytes as digits, an absent value as none."""
    keep(gateway, letter(7, value=None))
    answer = (await gateway.http.get("/dead-letters")).json()
    [told] = answer["letters"]
    assert ("0:7", "not JSON", 3, 1, 7, None) == tuple(
        told[name] for name in ("id", "reason", "log_number", "partition", "offset", "value")
    )
    assert {"size": 3, "is_cut": False, "text": "ada", "hex": None} == told["key"]
    assert ["ff 00", None] == [
        header["value"] and header["value"]["hex"] for header in told["headers"]
    ]
    assert (1, 1, 900) == (answer["found"], answer["looked_at"], answer["of_records"])


async def test_pages_follow_one_another(gateway: Stand) -> None:
    """The latest first, until there are no more."""
    keep(gateway, *(letter(n, at=NOON + n // 2, partition=n % 3) for n in range(7)))
    names, cursor = [], ""
    for _ in range(4):
        answer = (await gateway.http.get(f"/dead-letters?limit=2{cursor}")).json()
        names += [told["id"] for told in answer["letters"]]
        cursor = f"&cursor={answer['next']}"
    assert ["0:6", "2:5", "1:4", "2:2", "0:3", "1:1", "0:0"] == names
    assert None is answer["next"]


def test_a_cursor_stands_at_a_letter_not_at_a_number_of_them() -> None:
    """What comes meanwhile moves nothing."""
    old = [letter(n, at=NOON + n) for n in range(4)]
    came = [letter(9, at=NOON + 9), letter(8, at=NOON)]
    before = place(old[2])
    found = page(
        "activity-event", Newest((*old, *came), 6, 6, True), 0, reason="", before=before, limit=2
    )
    assert ["0:1", "0:8"] == [each.id for each in found.letters]


async def test_reasons_are_counted_by_kind_and_chosen_by_part(gateway: Stand) -> None:
    """Over all that were looked at, whatever part of them is shown."""
    keep(
        gateway,
        letter(1, "pages_visited: must be at most 50; got 77"),
        letter(2, "pages_visited: must be at most 50; got 'x'", replayed=True),
        letter(3, "not JSON"),
        topic=COMMANDS,
    )
    asked = f"/dead-letters?topic={COMMANDS}&reason=not+json"
    answer = (await gateway.http.get(asked)).json()
    assert [
        {"reason": "pages_visited: must be at most #", "letters": 2, "replayed": 1},
        {"reason": "not JSON", "letters": 1, "replayed": 0},
    ] == answer["reasons"]
    assert (["0:3"], 1) == ([told["id"] for told in answer["letters"]], answer["found"])


@pytest.mark.parametrize("query", ["cursor=%00", "cursor=WzFd", "cursor=a", "topic=x", "limit=0"])
async def test_what_cannot_be_asked_is_refused(gateway: Stand, query: str) -> None:
    """Naming the parameter."""
    answer = await gateway.http.get(f"/dead-letters?{query}")
    assert (422, query.split("=", maxsplit=1)[0]) == (
        answer.status_code,
        answer.json()["errors"][0]["field"],
    )


async def test_without_kafka_it_says_so(gateway: Stand) -> None:
    """As nothing else holds them."""
    gateway.log.away = 0
    assert 503 == (await gateway.http.get("/dead-letters")).status_code


@given(st.binary(max_size=3 * SHOWN_BYTES))
def test_any_bytes_are_shown(data: bytes) -> None:
    """As text or as digits, never both, and never more than the beginning."""
    found = shown(data)
    assert (len(data), len(data) > SHOWN_BYTES) == (found.size, found.is_cut)
    assert (found.text is None) != (found.hex is None)
    if found.hex is not None:
        assert data[:SHOWN_BYTES] == bytes.fromhex(found.hex)


def test_a_character_that_is_cut_in_two_is_left_out() -> None:
    """Rather than making digits of a text."""
    found = shown(b"x" + "ä".encode() * SHOWN_BYTES)
    assert ("x" + "ä" * (SHOWN_BYTES // 2 - 1), True) == (found.text, found.is_cut)


@given(st.text())
def test_what_turns_writing_around_is_written_out(text: str) -> None:
    """A page shows letters as they are, in their order."""
    told = harmless(text + "\u202e\x00\x1b")
    assert told.endswith("\\u202e\\u0000\\u001b")
    assert not set(told) & set("\u202e\u2066\x00\x1b\u200b")


def test_a_kind_of_reason_holds_nothing_of_the_record() -> None:
    """So that a thousand bad records are one line."""
    assert {"time_spent: must be at most #"} == {
        kind_of(f"time_spent: must be at most 50; got {what}") for what in ("9", "'a\nb'", "[1]")
    }
