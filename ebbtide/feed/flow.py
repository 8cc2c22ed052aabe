"""The loop that sends: what is due, in chunks, ticking the clock in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from ebbtide.feed.pace import Pace
from ebbtide.feed.records import Queue, Sendable
from ebbtide.feed.sink import Refusal, Sink

CHUNK: Final = 1_000
TICK_MS: Final = 1_000
"""Real time between clock records."""


class Watcher(Protocol):
    """Hears what was acknowledged."""

    def sent(self, chunk: Sequence[Sendable], refusals: Sequence[Refusal]) -> None:
        """A chunk is acknowledged, save for the refusals."""


async def feed(
    records: Iterable[Sendable],
    sink: Sink,
    *,
    pace: Pace,
    end_ms: int,
    now_ms: Callable[[], int],
    pause: Callable[[float], Awaitable[bool]],
    watcher: Watcher,
    chunk_size: int = CHUNK,
) -> bool:
    """Send records (in time order) up to before `end_ms`; whether the end was reached.

    `pause` waits so many seconds and answers True when we are asked to stop; the chunk under way
    is finished first. At the end the clock is ticked to `end_ms`.
    """
    queue = Queue(records)
    began = None
    ticked = now_ms()
    while True:
        now = now_ms()
        warming_up = pace.paced and queue.next is not None and queue.next.ms <= pace.from_ms
        if began is None and not warming_up:
            began = now
        present = pace.from_ms if began is None else pace.present(now, began)
        chunk = queue.due(min(present, end_ms - 1), chunk_size)
        if chunk:
            watcher.sent(chunk, await sink.send(chunk))
        upcoming = end_ms if queue.next is None else min(queue.next.ms, end_ms)
        if upcoming >= end_ms and (present >= end_ms or not pace.paced):
            break
        wait = 0.0
        if not chunk:
            assert began is not None, "before pacing begins something is always due"
            wait = max(min(pace.due(upcoming, began) - now, TICK_MS), 0) / 1_000
        if await pause(wait):
            return False
        now = now_ms()
        if pace.paced and began is not None and now - ticked >= TICK_MS:
            ticked = now
            # Never past what has not been sent: the clock would call its user silent.
            await sink.tick(min(pace.present(now, began), upcoming))
    await sink.tick(end_ms)
    return True
