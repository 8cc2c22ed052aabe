"""`POST /dead-letters/replay` and `/accept`: back once, by choice, and not where it does harm."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from contracts.events import decode
from contracts.record import ERASED, HAS_SCORE, ID_WINDOW
from contracts.scores import encode_score
from contracts.times import DAY_MS, HOUR_MS, from_ms
from contracts.topics import ACTIVITY, ALERTS, COMMANDS, SCORES, dead_letter
from ingest_api.replay import MOST_RECORDS, MOST_SENT
from runtime import keys
from runtime.letters import Letter, Original
from runtime.log_ends import Ends, TopicEnds
from tests.churn_scores import churn_score
from tests.unit.ingest_api.stand import NOON, Stand, seen

VISIT = b'{"user_id": "ada", "type": "page_view"}'
BAD = b'{"user_id": "ada", "type": "page_view", "pages_visited": "3"}'


def letter(
    offset: int, value: bytes | None = VISIT, *, topic: str = ACTIVITY, partition: int = 0,
    at: int = NOON, reason: str = "too new", replayed: bool = False, key: bytes = b"ada",
) -> Letter:  # fmt: skip
    original = Original(key, value, (("trace", b"t"),), at)
    source = f"3:{partition}:{100 + offset}"
    return Letter(partition, offset, topic, source, reason, original, replayed)


async def ask(gateway: Stand, path: str = "replay", **order: Any) -> tuple[int, dict[str, Any]]:
    answer = await gateway.http.post(f"/dead-letters/{path}", json=order)
    return answer.status_code, answer.json()


async def test_letters_go_back_once(gateway: Stand) -> None:
    """With an id and their log time; asked again, nothing goes, and it is said why."""
    box = gateway.boxes[ACTIVITY]
    box.parked = [letter(1), letter(2), letter(3)]

    status, told = await ask(gateway, letters=["0:1", "0:3"])
    again = (await ask(gateway, letters=["0:1"]))[1]

    assert (200, 2, 0, False) == (status, told["went_back"], told["stay"], told["more"])
    [[first, third]] = box.sent
    assert ["3:0:101", "3:0:103"] == [decode(m.value or b"").event_id for m in (first, third)]
    assert {NOON} == {first.timestamp_ms, third.timestamp_ms}
    assert (0, 1, True) == (
        again["went_back"], again["stay"], "sent back before" in again["staying"][0]["why"],
    )  # fmt: skip


async def test_a_choice_takes_what_it_names(gateway: Stand) -> None:
    """By partition and part of the reason, or all; what went back before is not chosen."""
    box = gateway.boxes[ACTIVITY]
    box.parked = [
        letter(1, partition=1), letter(2, partition=2), letter(3, partition=2, reason="odd"),
        letter(4, partition=2, replayed=True),
    ]  # fmt: skip

    counts = [
        (await ask(gateway, dry_run=True, **choice))[1]["went_back"]
        for choice in ({"partition": 2}, {"partition": 2, "reason": "ODD"}, {"all": True})
    ]

    assert [2, 1, 3] == counts
    assert [] == box.sent


async def test_what_would_be_parked_again_stays_until_it_is_corrected(gateway: Stand) -> None:
    """The reason is told; the corrected value goes with the id the record had."""
    box = gateway.boxes[ACTIVITY]
    box.parked = [letter(1, BAD)]

    told = (await ask(gateway, all=True))[1]
    assert (0, 1) == (told["went_back"], told["stay"])
    assert "would be parked again: pages_visited" in told["staying"][0]["why"]

    assert 1 == (await ask(gateway, letters=["0:1"], value=VISIT.decode()))[1]["went_back"]
    assert "3:0:101" == decode(box.sent[0][0].value or b"").event_id


async def test_no_more_go_at_a_time_than_a_duplicate_window_holds(gateway: Stand) -> None:
    """So what goes twice, because noting it failed, counts once."""
    box = gateway.boxes[ACTIVITY]
    box.parked = [letter(n) for n in range(2 * ID_WINDOW + 1)]

    await ask(gateway, all=True)

    assert [ID_WINDOW, ID_WINDOW, 1] == [len(sent) for sent in box.sent]


async def test_a_request_does_its_part_and_says_that_there_is_more(gateway: Stand) -> None:
    """Asking until there is none sends each letter once."""
    box = gateway.boxes[ACTIVITY]
    box.parked = [letter(n) for n in range(MOST_SENT + 20)]

    first = (await ask(gateway, all=True))[1]
    second = (await ask(gateway, all=True))[1]

    assert [(MOST_SENT, True), (20, False)] == [
        (told["went_back"], told["more"]) for told in (first, second)
    ]
    offsets = [decode(m.value or b"").event_id for sent in box.sent for m in sent]
    assert len(offsets) == len(set(offsets)) == MOST_SENT + 20


async def test_a_failure_tells_how_many_went(gateway: Stand) -> None:
    """And whoever asks again goes on behind them."""
    box = gateway.boxes[ACTIVITY]
    box.parked = [letter(n) for n in range(20)]
    send = box.send

    async def once(*sent: Any) -> None:
        await send(*sent)
        gateway.log.away = 0

    box.send = once  # type: ignore[method-assign, assignment]
    status, told = await ask(gateway, all=True)
    assert (503, ID_WINDOW) == (status, told["acknowledged"])
    assert "16 went back; ask again for the rest" in told["detail"]

    gateway.log.away, box.send = None, send  # type: ignore[method-assign]
    assert 20 - ID_WINDOW == (await ask(gateway, all=True))[1]["went_back"]


async def test_one_at_a_time(gateway: Stand) -> None:
    """Whoever comes meanwhile is asked to wait; a dry run and another topic are not."""
    await gateway.redis.set(keys.replaying(ACTIVITY), "another gateway")

    busy = await ask(gateway, all=True)
    free = [await ask(gateway, all=True, dry_run=True), await ask(gateway, all=True, topic=SCORES)]

    assert (503, True) == (busy[0], "being sent back already" in busy[1]["detail"])
    assert [200, 200] == [status for status, _ in free]
    assert None is await gateway.redis.get(keys.replaying(SCORES))


async def test_who_was_erased_does_not_come_back(gateway: Stand) -> None:
    """Their letters stay."""
    gone = seen(NOON - DAY_MS)
    gone["facts"]["flags"] = ERASED
    await gateway.redis.keep("ada", gone)
    gateway.boxes[ACTIVITY].parked = [letter(1)]

    told = (await ask(gateway, all=True))[1]

    assert (0, True) == (told["went_back"], "was erased" in told["staying"][0]["why"])


async def test_what_would_do_harm_stays(gateway: Stand) -> None:
    """An erasure, a moment of the future, an overtaken score, an alert of last week."""
    known = seen(NOON)
    known["outlook"]["state"] = HAS_SCORE
    known["outlook"]["scored_at"] = NOON
    await gateway.redis.keep("ada", known)
    old = msgspec.structs.replace(
        churn_score(0.5, 0, user_id="ada"), scored_at=from_ms(NOON - HOUR_MS)
    )
    gateway.boxes[ACTIVITY].parked = [letter(1, None), letter(2, at=NOON + 2 * HOUR_MS)]
    gateway.boxes[SCORES].parked = [letter(3, encode_score(old), topic=SCORES)]

    whys = [
        staying["why"]
        for topic in (ACTIVITY, SCORES)
        for staying in (await ask(gateway, all=True, topic=topic))[1]["staying"]
    ]

    assert ["erases a user", "in the future", "scored since"] == [
        said
        for said, why in zip(("erases a user", "in the future", "scored since"), whys, strict=True)
        if said in why
    ]
    assert [] == gateway.boxes[ACTIVITY].sent + gateway.boxes[SCORES].sent


@pytest.mark.parametrize(
    ("order", "field", "fix"),
    [
        ({}, "letters", "say in one way which"),
        ({"all": True, "partition": 1}, "letters", "got more than one"),
        ({"letters": ["1:2", "3:4"], "value": "{}"}, "value", "corrects one letter"),
        ({"letters": ["one"]}, "letters", "list"),
        ({"letters": ["0:9"]}, "letters[0]", "there is no dead letter 0:9"),
        ({"topic": "churn", "all": True}, "topic", "must be activity-event or"),
        ({"all": True, "agian": True}, "agian", "remove it"),
    ],
)
async def test_what_is_not_right_is_named_with_the_fix(
    gateway: Stand, order: dict[str, Any], field: str, fix: str
) -> None:
    """A field, and what would do."""
    status, told = await ask(gateway, **order)

    assert 422 == status
    [error] = [error for error in told["errors"] if error["field"] == field]
    assert fix in error["reason"]


async def test_a_topic_too_long_for_a_request_is_for_the_command_line(gateway: Stand) -> None:
    """Refused before anything is read."""
    name = dead_letter(ACTIVITY)
    gateway.ends.known[name] = TopicEnds("x", {0: Ends(0, MOST_RECORDS), 1: Ends(5, 6)})

    status, told = await ask(gateway, all=True)

    assert (413, True) == (status, "ebbtide dead-letters replay" in told["detail"])


async def test_it_is_told_when_what_went_back_was_read(gateway: Stand) -> None:
    """By the ends of the homes it went to."""
    gateway.ends.known[ACTIVITY] = TopicEnds("x", {0: Ends(0, 41)})
    gateway.boxes[ACTIVITY].parked = [letter(1)]

    assert [{"partition": 0, "offset": 41}] == (await ask(gateway, all=True))[1]["read_when"]


async def test_a_partition_goes_on_where_it_was_seen_to_wait(gateway: Stand) -> None:
    """Not at a later hold, not twice, and no other partition."""
    held = keys.held(COMMANDS)
    await gateway.redis.zadd(held, {"3@1:1700": 3.0, "4@1:9": 4.0})
    order = {"topic": COMMANDS, "partition": 3}

    early = await ask(gateway, "accept", **order, held="1:1600")
    done = await ask(gateway, "accept", **order, held="1:1700")
    twice = await ask(gateway, "accept", **order, held="1:1700")

    assert (422, 200, 422) == (early[0], done[0], twice[0])
    assert ["held", "partition"] == [told["errors"][0]["field"] for _, told in (early, twice)]
    assert "it waits at 1:1700 now" in early[1]["errors"][0]["reason"]
    assert [b"4@1:9"] == await gateway.redis.zrange(held, 0, -1)


async def test_the_audit_log_says_which_and_how_many(gateway: Stand) -> None:
    """Beside who and from where."""
    gateway.boxes[ALERTS].parked = []
    gateway.boxes[ACTIVITY].parked = [letter(1), replace(letter(2, BAD), partition=0)]
    await ask(gateway, all=True)

    async def said() -> list[str]:
        acts = json.loads((await gateway.http.get("/audit")).content)["acts"]
        return [act["said"] for act in acts]

    for _ in range(100):
        if await said():
            break
        await asyncio.sleep(0)

    assert ["activity-event all: 1 went back, 1 stay"] == await said()
