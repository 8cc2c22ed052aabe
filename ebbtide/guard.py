"""Children never outlive us, even if we are killed with -9: a guard process sees to it.

The guard reads one line per child from a pipe that only we hold (`+PID` started, `-PID` reaped).
When the pipe ends without a `bye`, we are gone, and the guard stops what is left. A pipe ends on
every platform; Linux's parent-death signal would not help on macOS, and dies with a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

GRACE_S: Final = 5.0


class Guard:
    """Our end of the pipe. Children must lead their own process group."""

    def __init__(self, *, keep_open: Iterable[int] = ()) -> None:
        """`keep_open`: file descriptors (locks) to be held until the last child is gone."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=tuple(keep_open),
            start_new_session=True,
        )

    def watch(self, pid: int) -> None:
        """Stop the process group `pid` should we die."""
        self._say(f"+{pid}")

    def forget(self, pid: int) -> None:
        """`pid` has been reaped: its number may soon be somebody else's."""
        self._say(f"-{pid}")

    def close(self) -> None:
        """Dismiss the guard; whatever still runs keeps running."""
        self._say("bye")
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        # A guard that somebody killed is no reason to stop serving.
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ValueError):
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()


def left_behind(lines: Iterable[str]) -> set[int]:
    """Process groups to stop once `lines` has ended; none if its last word was `bye`."""
    running: set[int] = set()
    for line in lines:
        word = line.strip()
        if word == "bye":
            return set()
        if word.startswith("+"):
            running.add(int(word[1:]))
        elif word.startswith("-"):
            running.discard(int(word[1:]))
    return running


def stop_groups(groups: set[int], *, grace_s: float, sleep: Callable[[float], None]) -> None:
    """SIGTERM every group, then SIGKILL those still there after `grace_s` seconds."""
    remaining = {group for group in groups if _signal(group, signal.SIGTERM)}
    waited = 0.0
    while remaining and waited < grace_s:
        sleep(0.1)
        waited += 0.1
        remaining = {group for group in remaining if _signal(group, 0)}
    for group in remaining:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Whether the group was there to be signalled."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    stop_groups(left_behind(sys.stdin), grace_s=GRACE_S, sleep=time.sleep)
