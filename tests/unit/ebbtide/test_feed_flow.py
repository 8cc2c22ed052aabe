"""The sending loop on a clock that only moves when somebody waits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import BadRecord, LogUnavailable
from contracts.events import ActivityEvent
from contracts.record import ID_WINDOW
from ebbtide.feed.flow import feed
from ebbtide.feed.pace import FOREVER, Pace
from ebbtide.feed.records import Queue, Sendable, sendable
from ebbtide.feed.sink import Refusal

HOUR = 3_600_000
REAL = 1_000_000_000_000
"""Real time when a test begins; far from the simulated times used."""


def record(ms: int, user: str = "ada") -> Sendable:
    return Sendable(ms, user, f"{user}-{ms}", b"{}")


class Clock:
    """Real time: stands still, except while somebody waits."""

    def __init__(self, now: int = REAL, stop_at: int | None = None) -> None:
        self.now = now
        self.stop_at = stop_at

    def __call__(self) -> int:
        return self.now

    async def pause(self, seconds: float) -> bool:
        assert seconds >= 0
        self.now += round(seconds * 1_000)
        return self.stop_at is not None and self.now >= self.stop_at


class FakeSink:
    """Remembers when what arrived; optionally takes real time for every chunk, or refuses."""

    target, lanes = "memory", 1

    def __init__(self, clock: Clock, *, cost_ms: int = 0, fail_at: int | None = None) -> None:
        self.clock = clock
        self.cost_ms = cost_ms
        self.fail_at = fail_at
        self.arrived: list[tuple[int, int]] = []  # real ms since the start, simulated ms
        self.ticks: list[tuple[int, int]] = []
        self.chunks: list[int] = []

    def lane(self, user_id: str) -> int:
        return 0

    async def send(self, chunk: Sequence[Sendable]) -> list[Refusal]:
        if self.fail_at is not None and any(r.ms >= self.fail_at for r in chunk):
            raise LogUnavailable("gone")
        self.clock.now += self.cost_ms
        self.chunks.append(len(chunk))
        self.arrived.extend((self.clock.now - REAL, r.ms) for r in chunk)
        return []

    async def tick(self, moment_ms: int) -> None:
        if self.arrived:
            assert moment_ms >= self.arrived[-1][1]
        self.ticks.append((self.clock.now - REAL, moment_ms))


class Heard:
    def __init__(self) -> None:
        self.records: list[Sendable] = []

    def sent(self, chunk: Sequence[Sendable], refusals: Sequence[Refusal]) -> None:
        self.records.extend(chunk)


async def run(
    records: list[Sendable], sink: FakeSink, pace: Pace, end_ms: int, chunk_size: int = 1_000
) -> tuple[bool, Heard]:
    heard = Heard()
    finished = await feed(
        records, sink, pace=pace, end_ms=end_ms, now_ms=sink.clock, pause=sink.clock.pause,
        watcher=heard, chunk_size=chunk_size,
    )  # fmt: skip
    return finished, heard


async def test_as_fast_as_possible_waits_for_nothing() -> None:
    """
    Unpaced, everything before the end is sent at once, in order, and one tick says the end.
    """
    sink = FakeSink(Clock())
    records = [record(ms) for ms in range(0, 50 * HOUR, HOUR)]

    finished, heard = await run(records, sink, Pace(), 40 * HOUR)

    assert finished
    assert records[:40] == heard.records
    assert [(0, ms) for ms in range(0, 40 * HOUR, HOUR)] == sink.arrived
    assert [(0, 40 * HOUR)] == sink.ticks


async def test_a_speed_up_paces_events_and_ticks_the_clock_each_second() -> None:
    """
    At 3,600 an hour passes per second; the clock ticks with it, also when nobody sends.
    """
    sink = FakeSink(Clock())

    finished, _ = await run(
        [record(0), record(HOUR // 2), record(4 * HOUR)], sink, Pace(3_600.0), 5 * HOUR
    )

    assert finished
    assert [(0, 0), (500, HOUR // 2), (4_000, 4 * HOUR)] == sink.arrived
    ticked = [moment for _, moment in sink.ticks]
    assert ticked == sorted(ticked)
    assert 5 * HOUR == ticked[-1]
    assert 5 <= len(ticked) <= 7
    assert all(moment <= real * 3_600 for real, moment in sink.ticks)


async def test_the_clock_never_passes_what_was_not_sent() -> None:
    """
    When sending is slower than the pace, the clock waits for the events that are due.
    """
    sink = FakeSink(Clock(), cost_ms=1_500)
    records = [record(i * HOUR, f"u{i}") for i in range(6)]

    await run(records, sink, Pace(36_000.0), 6 * HOUR, chunk_size=1)

    sent_by = {moment: real for real, moment in sink.arrived}
    for real, moment in sink.ticks:
        assert all(sent_by[r.ms] <= real for r in records if r.ms < moment)


async def test_the_warm_up_is_not_paced() -> None:
    """
    What is earlier than the pace begins is due at once, and pacing counts from there.
    """
    sink = FakeSink(Clock())

    await run(
        [record(0), record(9 * HOUR), record(12 * HOUR)],
        sink,
        Pace(3_600.0, from_ms=10 * HOUR),
        13 * HOUR,
    )

    assert [(0, 0), (0, 9 * HOUR), (2_000, 12 * HOUR)] == sink.arrived


async def test_a_simulation_that_caught_up_goes_on_live() -> None:
    """
    Simulated time catches up with real time and then runs beside it.
    """
    sink = FakeSink(Clock(stop_at=REAL + 10_000))
    behind = [record(REAL - 1_000), record(REAL + 3_000), record(REAL + 60_000)]

    finished, _ = await run(behind, sink, Pace(None, live=True), FOREVER)

    assert not finished
    assert [(0, REAL - 1_000), (3_000, REAL + 3_000)] == sink.arrived
    assert all(moment <= REAL + real for real, moment in sink.ticks)


async def test_stopping_leaves_the_end_unsaid() -> None:
    """
    Asked to stop, the loop ends between chunks and does not claim the end was reached.
    """
    sink = FakeSink(Clock(stop_at=REAL + 1_000))

    finished, heard = await run([record(0), record(5 * HOUR)], sink, Pace(3_600.0), 6 * HOUR)

    assert not finished
    assert [record(0)] == heard.records
    assert all(moment < 5 * HOUR for _, moment in sink.ticks)


async def test_what_failed_is_not_reported_as_sent() -> None:
    """
    The watcher hears only of chunks that were acknowledged.
    """
    sink = FakeSink(Clock(), fail_at=3)
    heard = Heard()

    with pytest.raises(LogUnavailable):
        await feed(
            [record(ms) for ms in range(6)], sink, pace=Pace(), end_ms=10, now_ms=sink.clock,
            pause=sink.clock.pause, watcher=heard, chunk_size=2,
        )  # fmt: skip

    assert [record(0), record(1)] == heard.records
    assert [] == sink.ticks


@given(
    speed=st.none() | st.floats(0.01, 1e7),
    live=st.booleans(),
    moment=st.integers(0, 2 * REAL),
    start=st.integers(0, REAL),
    began=st.integers(REAL, 2 * REAL),
)
def test_nothing_is_early(
    speed: float | None, live: bool, moment: int, start: int, began: int
) -> None:
    """
    At the time a moment is due it is past; a little before, it was still to come.
    """
    pace = Pace(speed, start, live)
    due = max(pace.due(moment, began), began)

    assert pace.present(due + 1, began) >= moment
    if due > began + 1:
        assert pace.present(due - 2, began) <= moment


@given(
    users=st.lists(st.sampled_from("aaab"), min_size=60, max_size=120),
    most=st.integers(1, 60),
    present=st.integers(50, 120),
)
def test_chunks_hold_few_of_one_user(users: list[str], most: int, present: int) -> None:
    """
    Chunks are the due records in order, none bigger than asked, and none with more of one user
    than the duplicate window remembers.
    """
    records = [record(ms, user) for ms, user in enumerate(users)]
    queue = Queue(records)

    chunks = list(iter(lambda: queue.due(present, most), []))

    assert records[: present + 1] == [r for chunk in chunks for r in chunk]
    for chunk in chunks:
        assert len(chunk) <= most
        assert all(sum(r.user_id == u for r in chunk) <= ID_WINDOW for u in "ab")


@pytest.mark.parametrize("missing", ["occurred_at", "event_id"])
def test_what_is_sent_states_time_and_id(missing: str) -> None:
    """
    Without a time there is no order, without an id no harmless repeat.
    """
    fields = {"occurred_at": 5, "event_id": "x"} | {missing: None}

    with pytest.raises(BadRecord, match=missing):
        sendable(ActivityEvent(user_id="a", type="x", **fields))  # type: ignore[arg-type]
