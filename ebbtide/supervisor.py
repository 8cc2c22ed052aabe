"""Starts parts in stages, watches them, stops them in order.

Knows no process, socket or clock of its own: a part is anything with these seven methods, time
is handed in. One part's death is everybody's end: half a pipeline is worse than none, because
nobody notices. A worker that stalled and asks for it by its exit code is started again some times.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final, Protocol

LOOK_EVERY_S: Final = 0.05

SAY_AFTER_S: Final = 2.0
"""Waiting for less than this is not worth a line."""

START_AGAIN: Final = 75
"""Exit code of a part that wants to be started again: `runtime.service` has it from sysexits.h."""

STARTS_AGAIN: Final = 3
STARTS_WITHIN_S: Final = 600.0
"""More new starts of one part in this time are no help any more."""

INTERRUPTED: Final = 130
"""Exit code after a second Ctrl-C, as shells have it."""


class Part(Protocol):
    """Something that runs beside us."""

    @property
    def name(self) -> str: ...

    @property
    def may_finish(self) -> bool:
        """Whether ending with exit code 0 is fine."""

    @property
    def grace_s(self) -> float:
        """Seconds between asking it to stop and making it stop."""

    @property
    def is_ready(self) -> Callable[[], bool]: ...

    @property
    def is_drained(self) -> Callable[[], bool]: ...

    def start(self) -> None: ...

    def exit_code(self) -> int | None:
        """None while running, and before it was started."""

    def is_running(self) -> bool: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def last_lines(self) -> list[str]: ...


class _Stop(Exception):
    """Somebody asked us to stop."""


class _Failed(Exception):
    """A part died or did not get ready; the message is for the console."""


class Supervisor:
    """Runs parts until told to stop, or until one of them ends."""

    def __init__(
        self,
        *,
        start: Sequence[Sequence[Part]],
        stop: Sequence[Sequence[Part]],
        say: Callable[[str], None],
        now: Callable[[], float],
        sleep: Callable[[float], None],
        ready_within_s: float = 60.0,
        drained_within_s: float = 30.0,
    ) -> None:
        """`start`, `stop`: stages; the parts of one go together, the next waits for them."""
        self._start = start
        self._stop = stop
        self._say = say
        self._now = now
        self._sleep = sleep
        self._ready_within_s = ready_within_s
        self._drained_within_s = drained_within_s
        self._finished: set[str] = set()
        self._started_again: dict[str, list[float]] = {}
        self.stop_requests = 0

    def request_stop(self, *_: object) -> None:
        """Stop in order; asked again: stop at once."""
        self.stop_requests += 1

    def run(self, *, when_ready: Callable[[], None]) -> int:
        """Start everything, call `when_ready`, watch, stop everything; our exit code."""
        code = 0
        try:
            for stage in self._start:
                self._bring_up(stage)
            when_ready()
            while True:
                self._look()
        except _Stop:
            self._say("stopping ...")
        except _Failed as failure:
            self._say(str(failure))
            self._say("stopping the rest ...")
            code = 1
        finally:
            in_order = self._bring_down()
        return code if in_order or code else INTERRUPTED

    def _bring_up(self, stage: Sequence[Part]) -> None:
        for part in stage:
            try:
                part.start()
            except OSError as error:
                raise _Failed(f"{part.name} cannot be started: {error}") from error
        deadline = self._now() + self._ready_within_s
        waiting = list(stage)
        while True:
            self._check()
            waiting = [
                part for part in waiting if part.name not in self._finished and not part.is_ready()
            ]
            if not waiting:
                return
            if self._now() > deadline:
                late = waiting[0]
                raise _Failed(
                    f"{late.name} is not ready after {self._ready_within_s:.0f} s.{_quoted(late)}"
                )
            self._sleep(LOOK_EVERY_S)

    def _look(self) -> None:
        self._check()
        self._sleep(LOOK_EVERY_S)

    def _check(self) -> None:
        """Raise if somebody wants us to stop or a part has ended."""
        if self.stop_requests:
            raise _Stop
        for part in self._parts():
            code = part.exit_code()
            if code is None or part.name in self._finished:
                continue
            if code == START_AGAIN and self._may_start_again(part):
                self._say(f"{part.name} stalled and is started again.{_quoted(part)}")
                part.start()
                continue
            if code != 0 or not part.may_finish:
                raise _Failed(f"{part.name} died: {_described(code)}.{_quoted(part)}")
            self._finished.add(part.name)
            self._say(f"{part.name} has finished")

    def _may_start_again(self, part: Part) -> bool:
        now = self._now()
        before = self._started_again.get(part.name, [])
        recent = [moment for moment in before if now - moment < STARTS_WITHIN_S]
        if len(recent) >= STARTS_AGAIN:
            return False
        self._started_again[part.name] = [*recent, now]
        return True

    def _parts(self) -> Iterator[Part]:
        for stage in self._start:
            yield from stage

    def _bring_down(self) -> bool:
        """Stop all stages; whether it was done in order rather than at once."""
        for stage in self._stop:
            running = [part for part in stage if part.is_running()]
            self._drain(running)
            for part in running:
                part.terminate()
            self._await_end(running)
        return self.stop_requests < 2

    def _drain(self, running: Sequence[Part]) -> None:
        began = self._now()
        said = False
        while self.stop_requests < 2 and self._now() < began + self._drained_within_s:
            behind = [p.name for p in running if p.is_running() and not p.is_drained()]
            if not behind:
                return
            if not said and self._now() > began + SAY_AFTER_S:
                self._say(f"waiting for {', '.join(behind)} to read to the end of the log ...")
                said = True
            self._sleep(LOOK_EVERY_S)
        if said:
            self._say("... stopping it before the end of the log")

    def _await_end(self, running: Sequence[Part]) -> None:
        asked = self._now()
        killed: set[str] = set()
        while remaining := [part for part in running if part.is_running()]:
            for part in remaining:
                out_of_time = self._now() > asked + part.grace_s
                if (out_of_time or self.stop_requests > 1) and part.name not in killed:
                    if out_of_time:
                        self._say(f"{part.name} did not stop within {part.grace_s:.0f} s: killed")
                    part.kill()
                    killed.add(part.name)
            self._sleep(LOOK_EVERY_S)


@contextmanager
def stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal stop `supervisor`."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        supervisor.request_stop()

    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _described(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _quoted(part: Part) -> str:
    lines = part.last_lines()
    if not lines:
        return " It wrote nothing."
    return " Its last lines:\n" + "\n".join(f"  {part.name} | {line}" for line in lines)
