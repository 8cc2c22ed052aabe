"""What came of an attempt, in the words the dispatcher acts upon."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """The channel acknowledged it."""


@dataclass(frozen=True, slots=True)
class Later:
    """It may work later."""

    reason: str
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Never:
    """It will not work however often it is tried."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The receiver wants nothing any more: the channel is switched off."""

    reason: str


Outcome = Delivered | Later | Never | Gone
