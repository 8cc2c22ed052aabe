"""One child process with its log file: start, look, stop."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ebbtide.guard import Guard


def _always() -> bool:
    return True


@dataclass
class Child:
    """A process of ours; `ebbtide.supervisor` decides when it starts and stops."""

    name: str
    argv: Sequence[str]
    log: Path
    """Standard output and error, both: some servers explain their end on either."""

    guard: Guard
    env: Mapping[str, str]
    folder: Path | None = None
    """Working directory; None: ours."""

    is_ready: Callable[[], bool] = _always
    """One quick attempt at a real round trip."""

    is_drained: Callable[[], bool] = _always
    """Whether what the child still had to read is done; asked before it is told to stop."""

    may_finish: bool = False
    """An exit code of 0 is the end of its work and no accident."""

    grace_s: float = 20.0
    """Seconds between SIGTERM and SIGKILL; more than a worker's EBBTIDE_STOP_SECONDS."""

    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _watched: bool = field(default=False, init=False, repr=False)

    def start(self) -> None:
        """Start the process; its log starts anew, the previous one stays beside it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".previous.log"))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                list(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.env),
                cwd=self.folder,
                # A Ctrl-C in the terminal is for us alone: children stop in our order.
                start_new_session=True,
            )
        self.guard.watch(self._process.pid)
        self._watched = True

    @property
    def pid(self) -> int | None:
        """Process id while started."""
        return None if self._process is None else self._process.pid

    def exit_code(self) -> int | None:
        """None while running; negative: minus the signal that ended it."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None and self._watched:
            self.guard.forget(self._process.pid)
            self._watched = False
        return code

    def is_running(self) -> bool:
        """Started, and not ended."""
        return self._process is not None and self.exit_code() is None

    def terminate(self) -> None:
        """Ask it to stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Make it stop."""
        self._signal(signal.SIGKILL)

    def wait(self, timeout_s: float) -> int:
        """Exit code. Raises subprocess.TimeoutExpired."""
        if self._process is None:
            return 0
        self._process.wait(timeout_s)
        code = self.exit_code()
        assert code is not None
        return code

    def stop(self) -> int:
        """SIGTERM, wait, SIGKILL if need be; the exit code."""
        self.terminate()
        try:
            return self.wait(self.grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait(self.grace_s)

    def last_lines(self, count: int = 15) -> list[str]:
        """The end of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-count:]

    def _signal(self, number: int) -> None:
        # Checked first: the number of a process that was reaped may be another's by now.
        if self._process is not None and self.exit_code() is None:
            os.killpg(self._process.pid, number)
