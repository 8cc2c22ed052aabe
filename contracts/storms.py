"""An alert storm as it lies in Redis, and what a person decides about it."""

from __future__ import annotations

from typing import Literal

import msgspec

Order = Literal["release", "discard"]


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants done with the held alerts."""

    order: Order
    actor: str = ""
    """Who, as they called themselves; empty: the policy's `on_clear`, or nobody said."""
    at: int
    """Epoch ms."""


class StormState(msgspec.Struct, frozen=True, kw_only=True):
    """A storm that rages, or whose held alerts somebody released."""

    incident_id: str
    since: int
    """Epoch ms of the data."""
    crossed: int
    active: int
    cause: str
    overruled: bool = False
    """A person released what was held: nothing is held until it has cleared."""
    decided: Decided | None = None
    """What a person decided last."""
    over: int | None = None
    """When it cleared, epoch ms; of the last storm, which is kept for people to read."""
