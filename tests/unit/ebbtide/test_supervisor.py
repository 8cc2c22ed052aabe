"""The supervisor's order and reactions; its parts are objects, its clock a number."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from ebbtide.supervisor import (
    START_AGAIN,
    STARTS_AGAIN,
    STARTS_WITHIN_S,
    Part,
    Supervisor,
    stopped_by_signals,
)
from runtime import service


@dataclass
class World:
    """A clock that moves only when somebody sleeps, and a diary."""

    diary: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    time: float = 0.0
    plans: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do `action` once the clock has reached `time`."""
        self.plans.append((time, action))

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        assert self.time < 1_000, "the supervisor does not come to an end"
        due = [action for time, action in self.plans if time <= self.time]
        self.plans = [(time, action) for time, action in self.plans if time > self.time]
        for action in due:
            action()

    def supervisor(
        self, *, start: Sequence[Sequence[Part]], stop: Sequence[Sequence[Part]]
    ) -> Supervisor:
        return Supervisor(
            start=start, stop=stop, say=self.said.append, now=lambda: self.time, sleep=self.sleep
        )


@dataclass
class FakePart:
    """A part that writes into the world's diary what is done to it."""

    name: str
    world: World
    ready_after: float = 0.0
    drained_at: float = 0.0
    stops_after: float = 0.0
    starts: bool = True
    may_finish: bool = False
    grace_s: float = 5.0
    log: list[str] = field(default_factory=list)
    code: int | None = None
    started_at: float | None = None

    def start(self) -> None:
        if not self.starts:
            raise FileNotFoundError(2, "No such file", self.name)
        self.world.diary.append(f"start {self.name}")
        self.started_at = self.world.time

    def exit_code(self) -> int | None:
        return self.code

    def is_running(self) -> bool:
        return self.started_at is not None and self.code is None

    def is_ready(self) -> bool:
        assert self.started_at is not None
        ready = self.world.time >= self.started_at + self.ready_after
        if ready:
            self.world.diary.append(f"ready {self.name}")
        return ready

    def is_drained(self) -> bool:
        return self.world.time >= self.drained_at

    def terminate(self) -> None:
        self.world.diary.append(f"terminate {self.name}")
        self.world.at(self.world.time + self.stops_after, self.gone)

    def gone(self) -> None:
        if self.code is None:
            self.ends(0)

    def kill(self) -> None:
        self.world.diary.append(f"kill {self.name}")
        self.code = -signal.SIGKILL

    def ends(self, code: int) -> None:
        self.world.diary.append(f"end {self.name}")
        self.code = code

    def last_lines(self) -> list[str]:
        return self.log


@pytest.fixture
def world() -> World:
    return World()


def pipeline(world: World, **gateway: object) -> tuple[list[list[FakePart]], list[list[FakePart]]]:
    """Start and stop order of a store, a scorer and a gateway."""
    store = FakePart("store", world)
    scorer = FakePart("scorer", world)
    front = FakePart("gateway", world, **gateway)  # type: ignore[arg-type]
    return [[store], [scorer, front]], [[front], [scorer], [store]]


def nothing() -> None:
    """What some tests do when everything is ready."""


def test_a_stage_starts_when_the_one_before_is_ready(world: World) -> None:
    """
    Parts of a stage start together; the next stage waits until all of them are ready.
    """
    store = FakePart("store", world, ready_after=2)
    broker = FakePart("broker", world, ready_after=1)
    scorer = FakePart("scorer", world)
    supervisor = world.supervisor(start=[[store, broker], [scorer]], stop=[[scorer, broker, store]])

    supervisor.run(when_ready=supervisor.request_stop)

    assert [
        "start store",
        "start broker",
        "ready broker",
        "ready store",
        "start scorer",
        "ready scorer",
    ] == world.diary[:6]


def test_parts_stop_one_stage_after_the_other(world: World) -> None:
    """
    A stage is told to stop only when the one before it has ended, and an orderly end is no error.
    """
    start, stop = pipeline(world, stops_after=3.0)
    supervisor = world.supervisor(start=start, stop=stop)

    code = supervisor.run(when_ready=supervisor.request_stop)

    assert 0 == code
    assert [
        "terminate gateway",
        "end gateway",
        "terminate scorer",
        "end scorer",
        "terminate store",
        "end store",
    ] == world.diary[-6:]


def test_a_worker_reads_to_the_end_before_it_is_told_to_stop(world: World) -> None:
    """
    A part that is behind is waited for, and we say so.
    """
    start, stop = pipeline(world)
    scorer = start[1][0]
    scorer.drained_at = 7.0
    told_at: list[float] = []
    scorer.terminate = lambda: (told_at.append(world.time), scorer.ends(0))  # type: ignore
    supervisor = world.supervisor(start=start, stop=stop)

    supervisor.run(when_ready=supervisor.request_stop)

    assert pytest.approx([7.0], abs=0.1) == told_at
    assert "waiting for scorer to read to the end of the log ..." in world.said


def test_a_worker_that_never_catches_up_is_not_waited_for_for_ever(world: World) -> None:
    """
    Waiting for the end of the log has a deadline.
    """
    start, stop = pipeline(world)
    start[1][0].drained_at = 999.0
    supervisor = world.supervisor(start=start, stop=stop)

    assert 0 == supervisor.run(when_ready=supervisor.request_stop)
    assert pytest.approx(30.0, abs=1) == world.time


def test_a_part_that_ignores_sigterm_is_killed(world: World) -> None:
    """
    After its grace a part is killed, once, and the next one gets its turn.
    """
    start, stop = pipeline(world, stops_after=500.0, grace_s=5.0)
    supervisor = world.supervisor(start=start, stop=stop)

    code = supervisor.run(when_ready=supervisor.request_stop)

    assert 0 == code
    assert ["terminate gateway", "kill gateway", "terminate scorer"] == world.diary[6:9]
    assert "gateway did not stop within 5 s: killed" in world.said


def test_a_second_request_kills_at_once(world: World) -> None:
    """
    Asked to stop twice, nothing is waited for any longer, and the exit code says so.
    """
    start, stop = pipeline(world, stops_after=500.0, grace_s=100.0)
    supervisor = world.supervisor(start=start, stop=stop)
    world.at(2.0, supervisor.request_stop)

    code = supervisor.run(when_ready=supervisor.request_stop)

    assert 130 == code
    assert "kill gateway" in world.diary
    assert world.time < 3
    assert not any(part.is_running() for stage in stop for part in stage)


@pytest.mark.parametrize(("code", "described"), [(3, "exit code 3"), (-9, "killed by SIGKILL")])
def test_a_death_ends_everything(world: World, code: int, described: str) -> None:
    """
    When a part dies we say which, how and its last words, stop the rest and fail.
    """
    start, stop = pipeline(world)
    scorer = start[1][0]
    scorer.log = ["reading", "Redis is gone"]
    world.at(5.0, lambda: scorer.ends(code))
    supervisor = world.supervisor(start=start, stop=stop)

    assert 1 == supervisor.run(when_ready=nothing)
    assert (
        f"scorer died: {described}. Its last lines:\n  scorer | reading\n  scorer | Redis is gone"
        == world.said[0]
    )
    assert ["terminate gateway", "end gateway", "terminate store", "end store"] == world.diary[-4:]


def test_a_service_that_ends_by_itself_has_died(world: World) -> None:
    """
    Exit code 0 is no excuse for a service.
    """
    start, stop = pipeline(world)
    world.at(5.0, lambda: start[1][1].ends(0))

    assert 1 == world.supervisor(start=start, stop=stop).run(when_ready=nothing)
    assert "gateway died: exit code 0. It wrote nothing." == world.said[0]


def test_a_visitor_may_finish(world: World) -> None:
    """
    A part whose work has an end may end with exit code 0, and everything else goes on.
    """
    start, stop = pipeline(world)
    visitor = FakePart("simulator", world, may_finish=True)
    supervisor = world.supervisor(start=[*start, [visitor]], stop=[[visitor], *stop])
    world.at(5.0, lambda: visitor.ends(0))
    world.at(9.0, supervisor.request_stop)

    assert 0 == supervisor.run(when_ready=nothing)
    assert ["simulator has finished", "stopping ..."] == world.said


def test_a_visitor_that_fails_has_died(world: World) -> None:
    """
    Being allowed to finish is not being allowed to fail.
    """
    start, stop = pipeline(world)
    visitor = FakePart("simulator", world, may_finish=True)
    world.at(5.0, lambda: visitor.ends(2))

    code = world.supervisor(start=[*start, [visitor]], stop=stop).run(when_ready=nothing)

    assert 1 == code
    assert world.said[0].startswith("simulator died: exit code 2.")


def test_a_part_that_never_gets_ready_ends_the_start(world: World) -> None:
    """
    Getting ready has a deadline; what was started is stopped again and nothing else is started.
    """
    start, stop = pipeline(world)
    start[0][0].ready_after = 999.0
    ready: list[str] = []

    code = world.supervisor(start=start, stop=stop).run(when_ready=lambda: ready.append("yes"))

    assert 1 == code
    assert [] == ready
    assert ["start store", "terminate store", "end store"] == world.diary
    assert "store is not ready after 60 s. It wrote nothing." == world.said[0]


def test_a_death_during_the_start_is_noticed(world: World) -> None:
    """
    A part that dies before it is ready is reported as dead, not as late.
    """
    start, stop = pipeline(world, ready_after=50.0)
    world.at(3.0, lambda: start[1][1].ends(1))

    assert 1 == world.supervisor(start=start, stop=stop).run(when_ready=nothing)
    assert world.said[0].startswith("gateway died: exit code 1.")
    assert world.time < 10


def test_a_part_that_cannot_be_started_ends_the_start(world: World) -> None:
    """
    A missing program is a message, and what runs already is stopped.
    """
    start, stop = pipeline(world, starts=False)

    assert 1 == world.supervisor(start=start, stop=stop).run(when_ready=nothing)
    assert world.said[0].startswith("gateway cannot be started: ")
    assert ["end scorer", "terminate store", "end store"] == world.diary[-3:]


def test_a_request_during_the_start_is_heard(world: World) -> None:
    """
    Ctrl-C while something gets ready stops what has been started.
    """
    start, stop = pipeline(world, ready_after=50.0)
    supervisor = world.supervisor(start=start, stop=stop)
    world.at(3.0, supervisor.request_stop)

    assert 0 == supervisor.run(when_ready=nothing)
    assert world.time < 10
    assert not any(part.is_running() for stage in stop for part in stage)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_ask_it_to_stop(world: World, number: signal.Signals) -> None:
    """
    Ctrl-C, SIGTERM and a closed terminal all stop in order; afterwards signals are as before.
    """
    start, stop = pipeline(world)
    supervisor = world.supervisor(start=start, stop=stop)
    before = signal.getsignal(number)

    with stopped_by_signals(supervisor):
        code = supervisor.run(when_ready=lambda: os.kill(os.getpid(), number))

    assert 0 == code
    assert before == signal.getsignal(number)


@dataclass
class StallingPart(FakePart):
    """A part that asks to be started again, some seconds after each start."""

    every: float = 1.0
    starts_seen: int = 0

    def start(self) -> None:
        super().start()
        self.code = None
        self.starts_seen += 1
        self.world.at(self.world.time + self.every, lambda: self.ends(START_AGAIN))


def test_supervisor_and_workers_mean_the_same_exit_code() -> None:
    """
    The supervisor does not import the workers, so it has the number a second time.
    """
    assert service.START_AGAIN == START_AGAIN


def test_a_worker_that_stalled_is_started_again(world: World) -> None:
    """
    It says so by its exit code; the rest goes on, and the console is told.
    """
    scorer = StallingPart("scorer", world, every=100.0)
    store = FakePart("store", world)
    supervisor = world.supervisor(start=[[store], [scorer]], stop=[[scorer], [store]])
    world.at(150.0, supervisor.request_stop)

    assert 0 == supervisor.run(when_ready=nothing)

    assert 2 == scorer.starts_seen
    assert 1 == world.diary.count("start store")
    assert any("scorer stalled" in line for line in world.said)


def test_a_worker_that_stalls_over_and_over_ends_everything(world: World) -> None:
    """
    Three new starts within ten minutes are enough to know that they do not help.
    """
    scorer = StallingPart("scorer", world)
    supervisor = world.supervisor(start=[[scorer]], stop=[[scorer]])

    assert 1 == supervisor.run(when_ready=nothing)

    assert 1 + STARTS_AGAIN == scorer.starts_seen
    assert any("scorer died: exit code 75" in line for line in world.said)


def test_a_worker_that_stalls_once_in_a_while_is_started_as_often(world: World) -> None:
    """
    Stalls of long ago do not count.
    """
    scorer = StallingPart("scorer", world, every=STARTS_WITHIN_S / 2)
    supervisor = world.supervisor(start=[[scorer]], stop=[[scorer]])
    world.at(900.0, supervisor.request_stop)

    assert 0 == supervisor.run(when_ready=nothing)
