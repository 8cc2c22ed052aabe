"""Progress on stderr: events, events a second, simulated time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from contracts.times import from_ms
from ebbtide.feed.records import Sendable
from ebbtide.feed.sink import Refusal

_TERMINAL_EVERY_MS = 500
_FILE_EVERY_MS = 5_000
_REFUSALS_SHOWN = 5


@dataclass
class Report:
    """Counts what was sent and says so: one line that renews itself, or a line now and then."""

    name: str
    now_ms: Callable[[], int]
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    sent_count: int = 0
    refused_count: int = 0

    def __post_init__(self) -> None:
        self._began = self._said = self.now_ms()
        self._moment: int | None = None

    def sent(self, chunk: Sequence[Sendable], refusals: Sequence[Refusal]) -> None:
        """Count a chunk; the first refusals are told in full."""
        self.sent_count += len(chunk) - len(refusals)
        for refusal in refusals:
            if self.refused_count < _REFUSALS_SHOWN:
                self.say(f"refused: event {refusal.record.event_id}: {refusal.reason}")
            self.refused_count += 1
        if chunk:
            self._moment = chunk[-1].ms
        now = self.now_ms()
        terminal = self.stream.isatty()
        if now - self._said >= (_TERMINAL_EVERY_MS if terminal else _FILE_EVERY_MS):
            self._said = now
            line = self.line(now)
            self.stream.write(f"\r{line}\x1b[K" if terminal else f"{line}\n")
            self.stream.flush()

    def reading(self, count: int) -> None:
        """Say how far reading the input has come."""
        if self.stream.isatty():
            self.stream.write(f"\r{self.name}: read {count:,} events\x1b[K")
            self.stream.flush()

    def line(self, now_ms: int) -> str:
        """Where we are."""
        seconds = max(now_ms - self._began, 1) / 1_000
        parts = [f"{self.sent_count:,} events", f"{self.sent_count / seconds:,.0f}/s"]
        if self._moment is not None:
            parts.append(f"at {from_ms(self._moment):%Y-%m-%d %H:%M} UTC")
        if self.refused_count:
            parts.append(f"{self.refused_count:,} refused")
        return f"{self.name}: {', '.join(parts)}"

    def begin(self) -> None:
        """Sending starts now; what came before does not count for the speed."""
        self._began = self._said = self.now_ms()

    def say(self, message: str) -> None:
        """Write a line of its own."""
        clear = "\r\x1b[K" if self.stream.isatty() else ""
        self.stream.write(f"{clear}{self.name}: {message}\n")
        self.stream.flush()

    def end(self) -> None:
        """Write the last word."""
        clear = "\r\x1b[K" if self.stream.isatty() else ""
        self.stream.write(f"{clear}{self.line(self.now_ms())}\n")
        self.stream.flush()
