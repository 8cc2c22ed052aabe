"""`GET /dead-letters`: records that could not be used, why, and what they were."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from datetime import datetime
from functools import partial
from typing import Annotated, Final, Literal, NamedTuple, get_args

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from contracts.times import EARLIEST_MS, LATEST_MS, from_ms
from contracts.topics import dead_letter
from ingest_api import openapi
from ingest_api.kept import Kept
from ingest_api.pages import once, opened, sealed
from ingest_api.system import Ends, Letters
from runtime.letter_log import Newest
from runtime.letters import Letter

LOOK_RECORDS: Final = 2_000
"""Records of a dead-letter topic that a look goes back."""
KEPT_SECONDS: Final = 5.0
SHOWN_BYTES: Final = 4_096
"""Of a key, a value or a header; `ebbtide dead-letters show` has all of it."""
MOST_HEADERS: Final = 50
MOST_REASONS: Final = 20
MOST_LETTERS: Final = 200

Topic = Literal["activity-event", "churn-score", "alert-command", "churn-alert"]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that somebody sent, made harmless."""

    size: int
    is_cut: bool
    """Only the first 4,096 bytes are here."""
    text: str | None
    """Where they are UTF-8; what does not print is written as \\uXXXX."""
    hex: str | None
    """Where they are not."""


class Header(msgspec.Struct, frozen=True):
    """One of the record's own."""

    name: str
    value: Shown | None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be used."""

    id: str
    """partition:offset in the dead-letter topic, as `ebbtide dead-letters` names it."""
    reason: str
    log_number: int
    """Ebbtide's number of the topic's incarnation it came from."""
    partition: int
    offset: int
    """Where it lay there."""
    log_time: datetime | None
    """Its Kafka timestamp; null for one that is no date."""
    key: Shown | None
    value: Shown | None
    headers: tuple[Header, ...]
    replayed: bool
    """Sent back since."""


class ReasonCount(msgspec.Struct, frozen=True):
    """Letters of one kind of reason: what was found in them is left out of it."""

    reason: str
    letters: int
    replayed: int


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one topic, by their log time, the latest first."""

    topic: str
    letters: tuple[DeadLetter, ...]
    next: str | None
    """The cursor of the next page; null: this is the last."""
    found: int
    """Letters that match, of those looked at."""
    looked_at: int
    """Records of the dead-letter topic that were read: the latest of each partition."""
    of_records: int
    """That it holds. More than were looked at: `ebbtide dead-letters list` shows all."""
    is_whole: bool
    """Whether the look came to its end in time."""
    reasons: tuple[ReasonCount, ...]
    """Of all that were looked at, the most frequent first; at most 20."""
    age_seconds: float


class LetterLook:
    """A look at each topic's letters, shared by all who ask within KEPT_SECONDS."""

    def __init__(self, letters: Letters, ends: Ends) -> None:
        self._letters = letters
        self._ends = ends
        self._looks = {
            topic: Kept(partial(self._look, topic), KEPT_SECONDS) for topic in get_args(Topic)
        }

    async def newest(self, topic: str) -> tuple[Newest, float]:
        """What was found, and how many seconds ago; raises LogUnavailable."""
        newest, age = await self._looks[topic].with_age()
        return newest, round(age, 1)

    def forget(self, topic: str) -> None:
        """Look anew for who asks next: what became of letters has changed."""
        self._looks[topic].forget()

    async def _look(self, topic: str) -> Newest:
        name = dead_letter(topic)
        found = (await self._ends.of([name])).get(name)
        partitions = found.partitions if found is not None else {}
        return await self._letters.newest(topic, partitions, LOOK_RECORDS)


class Place(NamedTuple):
    """An order that stays when letters are added."""

    log_time_ms: int
    partition: int
    offset: int


def place(letter: Letter) -> Place:
    """Where a letter stands among others; the highest comes first."""
    time_ms = min(max(letter.original.timestamp, EARLIEST_MS), LATEST_MS)
    return Place(time_ms, letter.partition, letter.offset)


def page(
    topic: str, newest: Newest, age: float, *, reason: str, before: Place | None, limit: int
) -> DeadLetters:
    """One page of a look. reason: part of it, in any case. before: what the last page ended at."""
    wanted = [each for each in newest.letters if reason.casefold() in each.reason.casefold()]
    wanted.sort(key=place, reverse=True)
    rest = [each for each in wanted if before is None or place(each) < before]
    shown = rest[:limit]
    return DeadLetters(
        topic=topic,
        letters=tuple(map(_shown_letter, shown)),
        next=sealed(place(shown[-1])) if len(rest) > limit else None,
        found=len(wanted),
        looked_at=newest.records,
        of_records=newest.of_records,
        is_whole=newest.is_whole,
        reasons=_reasons(newest),
        age_seconds=age,
    )


def _reasons(newest: Newest) -> tuple[ReasonCount, ...]:
    every = Counter(kind_of(each.reason) for each in newest.letters)
    replayed = Counter(kind_of(each.reason) for each in newest.letters if each.replayed)
    return tuple(
        ReasonCount(reason, count, replayed[reason])
        for reason, count in every.most_common(MOST_REASONS)
    )


_GOT = re.compile(r"[;,:]? got .*", re.DOTALL)
_NUMBER = re.compile(r"\d+")
_KIND_LENGTH: Final = 120


def kind_of(reason: str) -> str:
    """A reason without what was found: one for all records with the same fault."""
    return harmless(_NUMBER.sub("#", _GOT.sub("", reason)))[:_KIND_LENGTH]


def shown(data: bytes) -> Shown:
    """The beginning of some bytes as text a page can show, or as hex digits."""
    part = data[:SHOWN_BYTES]
    text: str | None
    try:
        # A character may be cut in two at the end of the part.
        text = part.decode("utf-8", "strict" if len(part) == len(data) else "ignore")
        data.decode()
    except UnicodeDecodeError:
        text = None
    return Shown(
        size=len(data),
        is_cut=len(data) > len(part),
        text=None if text is None else harmless(text),
        hex=part.hex(" ") if text is None else None,
    )


def harmless(text: str) -> str:
    """The text with what does not print, or turns the writing around, written out."""
    return "".join(
        sign if sign in "\n\t" or unicodedata.category(sign)[0] != "C" else _written(sign)
        for sign in text
    )


def _written(sign: str) -> str:
    number = ord(sign)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _shown_letter(letter: Letter) -> DeadLetter:
    original = letter.original
    log, partition, offset = map(int, letter.source.split(":"))
    in_range = EARLIEST_MS <= original.timestamp < LATEST_MS
    return DeadLetter(
        id=letter.id,
        reason=harmless(letter.reason),
        log_number=log,
        partition=partition,
        offset=offset,
        log_time=from_ms(original.timestamp) if in_range else None,
        key=None if original.key is None else shown(original.key),
        value=None if original.value is None else shown(original.value),
        headers=tuple(
            Header(harmless(name), None if value is None else shown(value))
            for name, value in original.headers[:MOST_HEADERS]
        ),
        replayed=letter.replayed,
    )


def router(*, look: LetterLook) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["operation"])

    @routes.get(
        "/dead-letters",
        dependencies=[once()],
        summary="Records that could not be used, and why",
        responses=openapi.responses(
            {200: openapi.of(DeadLetters, "The latest of each partition, as far as looked.")},
            422,
            503,
        ),
    )
    async def get_dead_letters(
        topic: Annotated[Topic, Query(description="Whose dead letters.")] = "activity-event",
        reason: Annotated[str, Query(max_length=200, description="Part of the reason.")] = "",
        cursor: Annotated[str, Query(max_length=200, description="`next`.")] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_LETTERS)] = 50,
    ) -> Response:
        before = opened(cursor, Place) if cursor else None
        newest, age = await look.newest(topic)
        return openapi.reply(page(topic, newest, age, reason=reason, before=before, limit=limit))

    return routes
