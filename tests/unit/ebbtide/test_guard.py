"""What the guard stops when its owner is gone."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ebbtide.guard import Guard, left_behind, stop_groups

Sleeper = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (["+12\n", "+34\n"], {12, 34}),
        (["+12\n", "+34\n", "-12\n"], {34}),
        (["+12\n", "bye\n"], set()),
        ([], set()),
    ],
)
def test_what_is_left_is_what_was_started_and_not_reaped(lines: list[str], left: set[int]) -> None:
    """
    A pipe that ends without a farewell leaves the children that were not reaped.
    """
    assert left == left_behind(lines)


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    """Starts a process that waits for a signal, with a reaction to SIGTERM."""
    with ExitStack() as stack:

        def start(reaction: str) -> subprocess.Popen[bytes]:
            code = (
                f"import signal; signal.signal(signal.SIGTERM, signal.{reaction});"
                "print(flush=True); signal.pause()"
            )
            child = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-S", "-c", code],
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                )
            )
            assert child.stdout is not None
            child.stdout.readline()
            return child

        yield start


def test_a_group_is_asked_to_stop(sleeper: Sleeper) -> None:
    """
    A child that listens to SIGTERM is ended by it.
    """
    child = sleeper("SIG_DFL")

    stop_groups({child.pid}, grace_s=1, sleep=lambda _seconds: has_ended(child))

    assert -signal.SIGTERM == child.wait(10)


def test_a_group_that_does_not_listen_is_made_to_stop(sleeper: Sleeper) -> None:
    """
    A child that ignores SIGTERM gets SIGKILL when its grace is over.
    """
    child = sleeper("SIG_IGN")

    stop_groups({child.pid}, grace_s=1, sleep=lambda _seconds: None)

    assert -signal.SIGKILL == child.wait(10)


def has_ended(child: subprocess.Popen[bytes]) -> None:
    """Wait for the end of `child` without reaping it."""
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


OWNER = """
import os, signal, sys
from pathlib import Path
from ebbtide.child import Child
from ebbtide.guard import Guard

fifo, log = sys.argv[1:]
# Holds the pipe open while it lives, a minute at most.
code = (
    "import signal, sys; alive = open(sys.argv[1], 'wb', buffering=0); alive.write(b'.');"
    "signal.alarm(60); signal.pause()"
)
argv = [sys.executable, "-S", "-c", code, fifo]
Child(name="sleeper", argv=argv, log=Path(log), guard=Guard(), env={}).start()
signal.pause()
"""


def test_killing_the_owner_stops_its_children(tmp_path: Path) -> None:
    """
    A process killed with SIGKILL cannot clean up; its guard does, and leaves no orphan.
    """
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with (
        subprocess.Popen(
            [sys.executable, "-c", OWNER, str(fifo), str(tmp_path / "log")],
            cwd=Path(__file__).parents[3],
        ) as owner,
        os.fdopen(reader, "rb") as alive,
    ):
        assert ([alive], [], []) == select.select([alive], [], [], 20), "the child does not start"
        assert b"." == alive.read(1)

        owner.kill()

        assert ([alive], [], []) == select.select([alive], [], [], 20), "the child lives on"
        assert b"" == alive.read()


def test_a_guard_holds_what_it_was_given_until_the_children_are_gone() -> None:
    """
    A lock handed to the guard stays taken after its owner closed it, until the guard leaves.
    """
    ours, theirs = os.pipe()
    guard = Guard(keep_open=[theirs])
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        assert ([], [], []) == select.select([pipe], [], [], 0)

        guard.close()

        assert b"" == pipe.read()
