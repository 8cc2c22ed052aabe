"""How fast simulated time runs. Pure: real time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FOREVER: Final = 2**62


@dataclass(frozen=True)
class Pace:
    """Simulated time as a function of real time, both epoch ms.

    speed_up: simulated seconds per real second, None for as fast as possible.
    from_ms: simulated moment at which pacing begins; what is earlier is due at once.
    live: simulated time never passes real time, and goes on at its speed once it has caught up.
    """

    speed_up: float | None = None
    from_ms: int = 0
    live: bool = False

    @property
    def paced(self) -> bool:
        """Whether anything ever has to wait."""
        return self.speed_up is not None or self.live

    def present(self, now_ms: int, began_ms: int) -> int:
        """Simulated present at real `now_ms`, when pacing began at real `began_ms`."""
        present = FOREVER
        if self.speed_up is not None:
            present = self.from_ms + int((now_ms - began_ms) * self.speed_up)
        return min(present, now_ms) if self.live else present

    def due(self, moment_ms: int, began_ms: int) -> int:
        """Earliest real time at which `moment_ms` is not in the future any more."""
        due = began_ms
        if self.speed_up is not None:
            # Ceiling: a float just below a whole millisecond must not wake us too early.
            due -= int((self.from_ms - moment_ms) / self.speed_up // 1)
        return max(due, moment_ms) if self.live else due
