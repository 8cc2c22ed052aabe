"""What a benchmark is about, on standard error: its tables come at the end only."""

from __future__ import annotations

import sys
import time
from typing import Final

_BEGAN: Final = time.monotonic()


def say(words: str) -> None:
    """A line, with the seconds since the program began."""
    print(f"[{time.monotonic() - _BEGAN:4.0f} s] {words}", file=sys.stderr, flush=True)
