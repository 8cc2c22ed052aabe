"""A child process from start to end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ebbtide.child import Child
from ebbtide.guard import Guard

Spawn = Callable[[str], Child]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Starts a child that runs a line of Python."""
    guard = Guard()
    children: list[Child] = []

    def start(code: str) -> Child:
        argv = [sys.executable, "-S", "-c", code]
        child = Child(
            name="child", argv=argv, log=tmp_path / "child.log", guard=guard, env={}, grace_s=5
        )
        child.start()
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait(5)
    guard.close()


def test_last_words_come_from_both_outputs(spawn: Spawn) -> None:
    """
    The end of standard output and of standard error is kept, in the order written.
    """
    child = spawn(
        "import os; [os.write(1 + n % 2, b'line %d\\n' % n) for n in range(30)]; os._exit(3)"
    )

    assert 3 == child.wait(10)
    assert 3 == child.exit_code()
    assert [f"line {n}" for n in range(15, 30)] == child.last_lines()


def test_a_new_start_has_a_new_log(spawn: Spawn, tmp_path: Path) -> None:
    """
    Last words are those of this run; the log of the run before is kept beside it.
    """
    spawn("print('first')").wait(10)
    child = spawn("print('second')")
    child.wait(10)

    assert ["second"] == child.last_lines()
    assert "first\n" == (tmp_path / "child.previous.log").read_text()


def test_a_child_leads_a_group_of_its_own(spawn: Spawn) -> None:
    """
    A Ctrl-C in our terminal must not reach the children: they stop in our order.
    """
    child = spawn("import signal; signal.pause()")

    assert child.pid is not None
    assert child.pid == os.getpgid(child.pid)
    assert child.is_running()
    assert -signal.SIGTERM == child.stop()
    assert not child.is_running()


def test_stopping_what_has_ended_is_no_error(spawn: Spawn) -> None:
    """
    A process that is gone is never signalled: its number may be another's.
    """
    child = spawn("pass")
    child.wait(10)

    child.terminate()
    child.kill()

    assert 0 == child.exit_code()
