"""One reader of `churn-alert` for all who listen: it tells each what they asked for.

A listener has a bounded queue. Whoever reads more slowly than alerts come is told so and dropped,
and comes back with the id of the last alert they got.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from contracts.alerts import ChurnAlert, decode_alert
from contracts.errors import LogUnavailable, Unavailable
from ingest_api.problems import TooManyListeners
from runtime.handler import Record
from runtime.tail import MAX_RECORDS, Cursor, Tail

logger = structlog.get_logger(__name__)

OpenTail = Callable[[Cursor | None], AbstractAsyncContextManager[Tail]]

MAX_LISTENERS: Final = 100
MAX_WAITING: Final = 2 * MAX_RECORDS
"""Alerts that may wait for one listener: more than come at once."""
PATIENCE_SECONDS: Final = 0.5
"""How long all wait for one whose queue could not hold as many more."""
READY_SECONDS: Final = 5.0
"""How long a new listener waits for Kafka."""
IDLE_SECONDS: Final = 60.0
"""How long the feed reads on after the last listener has gone."""
RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Told:
    """An alert as it lies in the log."""

    partition: int
    offset: int
    alert: ChurnAlert
    value: bytes


class Listening:
    """What waits for one listener."""

    def __init__(
        self, wanted: Callable[[ChurnAlert], bool], after: Cursor, taken: asyncio.Event
    ) -> None:
        """taken: set whenever something has been taken from the queue."""
        self._wanted = wanted
        self._after = after
        self._taken = taken
        self._waiting: deque[Told] = deque()
        self._news = asyncio.Event()
        self.ended: str | None = None
        """Why nothing more comes: `dropped`, `restarted` or `closing`."""

    def offer(self, told: Told) -> None:
        """Queue an alert if it is wanted and was not taken before."""
        if self.ended or self._after.has(told.partition, told.offset):
            return
        if not self._wanted(told.alert):
            return
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()
            self.end("dropped")
            return
        self._waiting.append(told)
        self._news.set()

    @property
    def has_room(self) -> bool:
        """Whether another read fits in, whatever it brings."""
        return len(self._waiting) <= MAX_WAITING - MAX_RECORDS

    def end(self, why: str) -> None:
        """Let nothing more come."""
        if self.ended is None:
            self.ended = why
        self._news.set()

    def take(self) -> Told | None:
        """The next alert, None when none waits."""
        if self._waiting:
            self._taken.set()
            return self._waiting.popleft()
        self._news.clear()
        return None

    async def wait(self, seconds: float) -> bool:
        """Until something may be new, or the end has come; False once `seconds` have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._news.wait()
        return False


class AlertFeed:
    """Reads the topic while anybody listens. `run` does the reading."""

    def __init__(
        self,
        open_tail: OpenTail,
        *,
        max_listeners: int = MAX_LISTENERS,
        ready_seconds: float = READY_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.open_tail = open_tail
        self._max_listeners = max_listeners
        self._ready_seconds = ready_seconds
        self._idle_seconds = idle_seconds
        self._places = 0
        self._listening: set[Listening] = set()
        self._at: Cursor | None = None
        self._is_wanted = asyncio.Event()
        self._is_live = asyncio.Event()
        self._taken = asyncio.Event()
        self._trouble = "not connected yet"
        self._is_doubted = False
        self.closing = False

    @property
    def listeners(self) -> int:
        """How many have a place."""
        return self._places

    async def run(self) -> None:
        """Read while somebody listens, until cancelled."""
        failures = 0
        while True:
            await self._is_wanted.wait()
            try:
                async with self.open_tail(self._at) as tail:
                    failures = 0
                    await self._read(tail)
            except Unavailable as error:
                self._trouble = str(error)
                if failures == 0:
                    logger.warning("alert_feed_away", reason=self._trouble)
                await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the listeners for the length of the block; raises TooManyListeners."""
        if self._places >= self._max_listeners:
            raise TooManyListeners(
                f"{self._places} clients listen already; this gateway serves no more at once"
            )
        self._places += 1
        self._is_wanted.set()
        try:
            yield
        finally:
            self._places -= 1
            if self._places == 0:
                self._is_wanted.clear()

    async def ready(self) -> None:
        """Until the feed stands somewhere; raises LogUnavailable when it takes too long."""
        try:
            async with asyncio.timeout(self._ready_seconds):
                await self._is_live.wait()
        except TimeoutError:
            raise LogUnavailable(self._trouble) from None

    @property
    def at(self) -> Cursor:
        """What has been read and told. Only after `ready`."""
        assert self._at is not None
        return self._at

    @contextmanager
    def listen(self, wanted: Callable[[ChurnAlert], bool], after: Cursor) -> Iterator[Listening]:
        """Be told what comes from here on, except what `after` has."""
        listening = Listening(wanted, after, self._taken)
        self._listening.add(listening)
        if self.closing:
            listening.end("closing")
        try:
            yield listening
        finally:
            self._listening.discard(listening)
            self._taken.set()

    def look_again(self) -> None:
        """Open the topic anew: somebody has found another one in its place."""
        self._is_doubted = True

    def close(self) -> None:
        """Let every listener end: the gateway stops."""
        self.closing = True
        self._end_all("closing")

    async def _read(self, tail: Tail) -> None:
        """Tell what comes until nobody has listened for a while."""
        if self._at is not None and tail.take_gap():
            self._end_all("restarted")
        self._at = tail.at
        self._is_doubted = False
        self._is_live.set()
        loop = asyncio.get_running_loop()
        wanted_at = loop.time()
        try:
            while self._places or loop.time() < wanted_at + self._idle_seconds:
                records = await tail.read()
                if self._is_doubted:
                    raise LogUnavailable("the topic was made anew")
                if tail.take_gap():
                    self._end_all("restarted")
                for told in readable(records):
                    for listening in self._listening:
                        listening.offer(told)
                self._at = tail.at
                await self._make_room()
                if self._places:
                    wanted_at = loop.time()
            self._at = None
        finally:
            self._is_live.clear()

    async def _make_room(self) -> None:
        """Let listeners take what waits, so that a burst drops only those who do not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not all(listening.has_room for listening in self._listening):
                    self._taken.clear()
                    await self._taken.wait()

    def _end_all(self, why: str) -> None:
        for listening in self._listening:
            listening.end(why)


def readable(records: Sequence[Record]) -> Iterator[Told]:
    """The alerts among the records; what is none is left out."""
    for record in records:
        if record.value is None:
            continue
        try:
            alert = decode_alert(record.value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("not_an_alert", place=f"{record.partition}:{record.offset}", error=error)
            continue
        yield Told(record.partition, record.offset, alert, record.value)
