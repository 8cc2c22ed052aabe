"""`POST /dead-letters/replay` and `/accept`: what could not be read goes back, partitions go on.

A letter is sent first and noted second, so nothing is lost in between, and with the event_id it
had, at most a duplicate window's worth at a time: what a crash makes go twice counts once. Nobody
else replays meanwhile (`_turn`), and what was noted does not go again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from contracts.activity import FoldRules
from contracts.commands import Actor
from contracts.errors import BadRecord, LogUnavailable, StoreUnavailable
from contracts.partition import home
from contracts.topics import dead_letter
from ingest_api import bodies, openapi
from ingest_api.audit import tell
from ingest_api.dead_letters import Topic, harmless
from ingest_api.problems import FieldError, Invalid, NotAcknowledged, Overloaded, TooLarge
from ingest_api.replay_dangers import Load, dangers
from ingest_api.system import Back, Box, Ends
from runtime import keys
from runtime.clock import wall_ms
from runtime.dead_letters import accept_at, held_at
from runtime.kafka import Message
from runtime.letter_box import TOGETHER, Wanted, message_of
from runtime.letters import Letter
from runtime.redis_errors import redis_errors

MAX_BYTES: Final = 512 * 1024
MOST_NAMED: Final = 200
MOST_SENT: Final = 480
"""Letters a request sends back; who asks again goes on."""
WORK_SECONDS: Final = 15.0
MOST_RECORDS: Final = 100_000
"""Of a dead-letter topic, that a request reads through, twice."""
MOST_TOLD: Final = 20
TURN_MS: Final = 60_000
"""Longer than a request may take; a gateway that was killed is waited for so long."""
KAFKA_MS: Final = 5_000

LetterId = Annotated[str, Meta(pattern=r"^[0-9]{1,9}:[0-9]{1,18}$")]
Partition = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class ReplayOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters are to go back."""

    topic: Topic = "activity-event"
    letters: Annotated[tuple[LetterId, ...], Meta(min_length=1, max_length=MOST_NAMED)] | None = (
        None
    )
    """These, by their `id`. Otherwise those chosen by what follows, not sent back before."""
    partition: Partition | None = None
    """Of the topic: those that came from it."""
    reason: Annotated[str, Meta(max_length=200)] = ""
    """Whose reason contains this, in any case."""
    all: bool = False
    """All of the topic."""
    value: Annotated[str, Meta(max_length=MAX_BYTES // 2)] | None = None
    """A corrected value, for one named letter."""
    dry_run: bool = False
    """Only say what would be done."""
    actor: Actor = ""

    def wanted(self) -> Wanted:
        """Raises Invalid for a choice that is none, or two."""
        chosen = self.partition is not None or bool(self.reason)
        ways = [self.letters is not None, chosen, self.all]
        if sum(ways) != 1:
            said = "got none" if not any(ways) else "got more than one"
            fix = "name `letters`, or choose by `partition` and `reason`, or say `all`"
            raise Invalid([FieldError("letters", f"say in one way which: {fix}; {said}")])
        if self.value is not None and (self.letters is None or len(self.letters) != 1):
            raise Invalid([FieldError("value", "corrects one letter: name that one in `letters`")])
        if self.letters is not None:
            return Wanted(ids=frozenset(self.letters))
        return Wanted(reason=self.reason, partition=self.partition, replayed=False)


class Staying(msgspec.Struct, frozen=True):
    """A letter that does not go back."""

    id: str
    why: str


class ReadWhen(msgspec.Struct, frozen=True):
    """Where a partition's watermark stands once what went back was read."""

    partition: int
    offset: int


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the letters that were chosen."""

    topic: str
    dry_run: bool
    went_back: int
    """Kafka has them, and it is noted that they went; with `dry_run`: would go."""
    stay: int
    staying: tuple[Staying, ...]
    """The first 20 of those."""
    more: bool
    """There was more to do than one request does: ask again."""
    read_when: tuple[ReadWhen, ...]
    """Their reader is through with them when `GET /system` tells these watermarks, or higher."""


class AcceptOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Which partition is to go on."""

    partition: Partition
    held: Annotated[str, Meta(pattern=r"^[0-9]{1,10}:[0-9]{1,19}$")]
    """Where it waits, as `GET /system` tells it: a later hold is not accepted unseen."""
    topic: Topic = "activity-event"
    actor: Actor = ""


class Accepted(msgspec.Struct, frozen=True):
    """The partition goes on as soon as its worker looks, which is within a second."""

    topic: str
    partition: int
    held: str


@dataclass(slots=True)
class _Sum:
    went_back: int = 0
    stay: int = 0
    staying: list[Staying] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    more: bool = False

    def stays(self, letter: Letter, why: str) -> None:
        self.stay += 1
        if len(self.staying) < MOST_TOLD:
            self.staying.append(Staying(letter.id, harmless(why)))


@dataclass(frozen=True, slots=True)
class Replays:
    """Sends letters back. now: epoch ms by the clock of the scores."""

    boxes: Callable[[str], Box]
    redis: Redis
    ends: Ends
    load: Load
    rules: FoldRules
    now: Callable[[], int]
    done: Callable[[str], None]
    """Called with the topic when letters went back."""

    async def do(self, order: ReplayOrder) -> ReplayAnswer:
        """Raises Invalid, TooLarge, Overloaded, and LogUnavailable or StoreUnavailable with how
        many went.
        """
        wanted = order.wanted()
        await self._require_readable(order, wanted)
        done = _Sum()
        async with AsyncExitStack() as stack:
            if not order.dry_run:
                await stack.enter_async_context(_turn(self.redis, order.topic))
            try:
                await self._work(order, wanted, done)
            except LogUnavailable as error:
                raise NotAcknowledged(_so_far(done, error), done.went_back) from error
            except StoreUnavailable as error:
                raise StoreUnavailable(_so_far(done, error)) from error
        if order.letters is not None and (missing := wanted.ids - done.seen) and not done.more:
            raise Invalid(
                [
                    FieldError(
                        f"letters[{number}]",
                        f"there is no dead letter {each} of {order.topic}: take an `id` of "
                        "GET /dead-letters",
                    )
                    for number, each in enumerate(order.letters)
                    if each in missing
                ]
            )
        return ReplayAnswer(
            topic=order.topic,
            dry_run=order.dry_run,
            went_back=done.went_back,
            stay=done.stay,
            staying=tuple(done.staying),
            more=done.more,
            read_when=() if order.dry_run else await self._read_when(order.topic, done.users),
        )

    async def _require_readable(self, order: ReplayOrder, wanted: Wanted) -> None:
        """Raise TooLarge for a topic that a request does not get through."""
        name = dead_letter(order.topic)
        found = (await self.ends.of([name])).get(name)
        of_them = {int(each.partition(":")[0]) for each in wanted.ids}
        records = sum(
            ends.end - ends.begin
            for number, ends in (found.partitions if found is not None else {}).items()
            if not of_them or number in of_them
        )
        if records > MOST_RECORDS:
            raise TooLarge(
                f"{name} has {records} records to look through, and a request takes at most "
                f"{MOST_RECORDS}: use `ebbtide dead-letters replay`"
            )

    async def _work(self, order: ReplayOrder, wanted: Wanted, done: _Sum) -> None:
        box = self.boxes(order.topic)
        deadline = asyncio.get_running_loop().time() + WORK_SECONDS
        async with AsyncExitStack() as stack:
            way: Back | None = None

            async def settle(letters: list[Letter]) -> None:
                nonlocal way
                going = await self._that_may_go(order, letters, done)
                if going and not order.dry_run:
                    if way is None:
                        way = await stack.enter_async_context(box.returning(KAFKA_MS))
                    await way.send(going, wall_ms())
                    self.done(order.topic)
                done.went_back += len(going)
                done.users.update((message.key or b"").decode() for _, message in going)

            letters = await stack.enter_async_context(aclosing(box.letters(wanted)))
            waiting: list[Letter] = []
            async for letter in letters:
                done.seen.add(letter.id)
                waiting.append(letter)
                if len(waiting) < TOGETHER:
                    continue
                await settle(waiting)
                waiting = []
                is_late = asyncio.get_running_loop().time() > deadline
                if is_late or (done.went_back >= MOST_SENT and not order.dry_run):
                    done.more = True
                    return
            await settle(waiting)

    async def _that_may_go(
        self, order: ReplayOrder, letters: Sequence[Letter], done: _Sum
    ) -> list[tuple[Letter, Message]]:
        """With what is sent; why the others stay is noted."""
        value = None if order.value is None else order.value.encode()
        readable = []
        for letter in letters:
            if letter.replayed:
                done.stays(letter, "it was sent back before; the command line sends it `--again`")
                continue
            try:
                readable.append((letter, message_of(letter, self.rules, value=value)))
            except BadRecord as bad:
                done.stays(letter, f"it would be parked again: {bad.reason}")
        going = []
        found = await dangers(readable, self.load, self.now())
        for (letter, message), why in zip(readable, found, strict=True):
            if why is None:
                going.append((letter, message))
            else:
                done.stays(letter, why)
        return going

    async def _read_when(self, topic: str, users: set[str]) -> tuple[ReadWhen, ...]:
        if not users:
            return ()
        try:
            found = (await self.ends.of([topic])).get(topic)
        except LogUnavailable:
            return ()  # they went; when they are read is not known
        if found is None:
            return ()
        homes = {home(user, len(found.partitions)) for user in users}
        return tuple(ReadWhen(n, found.partitions[n].end) for n in sorted(homes))


def _so_far(done: _Sum, error: Exception) -> str:
    return f"{done.went_back} went back; ask again for the rest, none goes twice: {error}"


@asynccontextmanager
async def _turn(redis: Redis, topic: str) -> AsyncIterator[None]:
    """The only replay of a topic's letters at a time, by whatever gateway; raises Overloaded."""
    name, mine = keys.replaying(topic), secrets.token_hex(8)
    with redis_errors("asking who replays"):
        is_mine = await redis.set(name, mine, nx=True, px=TURN_MS)
    if not is_mine:
        raise Overloaded(f"letters of {topic} are being sent back already: wait for that to end")
    try:
        yield
    finally:
        with redis_errors("ending a replay"):
            if await redis.get(name) == mine.encode():
                await redis.delete(name)


def router(*, replays: Replays) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["operation"])

    @routes.post(
        "/dead-letters/replay",
        summary="Send records that could not be used back to their topic",
        description=_DESCRIPTION,
        openapi_extra=openapi.body(ReplayOrder, example={"letters": ["3:17"], "dry_run": True}),
        responses=openapi.responses(
            {200: openapi.of(ReplayAnswer, "What became of them.")},
            400, 408, 413, 415, 422, 503,
        ),
    )  # fmt: skip
    async def replay(request: Request) -> Response:
        order = bodies.decode(ReplayOrder, await bodies.read(request, MAX_BYTES))
        tell(request, _told(order))
        done = await replays.do(order)
        would = "would go" if order.dry_run else "went"
        tell(request, f"{_told(order)}: {done.went_back} {would} back, {done.stay} stay")
        return openapi.reply(done)

    @routes.post(
        "/dead-letters/accept",
        summary="Let a partition go on that waits since a long run of bad records",
        description="The records of the run stay in the dead letters. Should the next hundred be "
        "as bad, the partition waits again.",
        openapi_extra=openapi.body(AcceptOrder, example={"partition": 3, "held": "1:1700"}),
        responses=openapi.responses(
            {200: openapi.of(Accepted, "It goes on.")}, 400, 408, 413, 415, 422, 503
        ),
    )
    async def accept(request: Request) -> Response:
        order = bodies.decode(AcceptOrder, await bodies.read(request, MAX_BYTES))
        tell(request, f"{order.topic} partition {order.partition} at {order.held}")
        if not await accept_at(replays.redis, order.topic, order.partition, order.held):
            held = await held_at(replays.redis, order.topic, order.partition)
            raise Invalid(
                [FieldError("partition", f"{order.topic} partition {order.partition} waits for "
                            "nobody")]
                if held is None
                else [FieldError("held", f"it waits at {held} now: look at the dead letters "
                                 "before that, then send this")]
            )  # fmt: skip
        return openapi.reply(Accepted(order.topic, order.partition, order.held))

    return routes


def _told(order: ReplayOrder) -> str:
    """The order as the audit log has it."""
    if order.letters is not None:
        which = f"{len(order.letters)} letters" if len(order.letters) > 1 else order.letters[0]
    elif order.all:
        which = "all"
    else:
        named = "" if order.partition is None else f"partition {order.partition}"
        which = " ".join(filter(None, [named, order.reason and f"reason {order.reason!r}"]))
    corrected = ", corrected" if order.value is not None else ""
    return f"{order.topic} {which}{corrected}{', dry run' if order.dry_run else ''}"


_DESCRIPTION = f"""As `ebbtide dead-letters replay`: with their event_id, log time and headers, to
their users' homes, and noted beside the letters. What a worker would park again stays, with the
reason; so does what would do harm: records of users who were erased, log times in the future,
scores that were overtaken, commands and alerts older than a day, erasures. A request sends up to
{MOST_SENT} letters; `more` says that there are others. Events keep their ids, so one that went
twice, because something broke in between, counts once."""
