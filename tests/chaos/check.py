"""One promise of the oracle and what was found of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SHOWN: Final = 5


@dataclass
class Check:
    """One promise: how many cases were looked at, and those that differ."""

    promise: str
    cases: int = 0
    differences: int = 0
    examples: list[str] = field(default_factory=list)

    def expect(self, holds: bool, example: str) -> None:
        """Count one case."""
        self.cases += 1
        if not holds:
            self.differs(example)

    def differs(self, example: str, count: int = 1) -> None:
        """Count differences."""
        self.differences += count
        if len(self.examples) < SHOWN:
            self.examples.append(example)
