"""What a holdout has shown so far, as sums that the alerts worker keeps.

A user takes part once per experiment, from their first alert in it; that alert's rule, arm and day
(UTC) say which sum they count in. Who comes back within the horizon is counted there, too, so a
day's sums are final a horizon after it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from contracts.alerts import Arm


class Cell(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Names a sum."""

    epoch: str
    rule: str
    arm: Arm
    horizon_days: int
    day: int
    """Days since 1970 of the first alert."""


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """Users of a cell, and those of them who came back within the horizon."""

    users: int = 0
    retained: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.users + other.users, self.retained + other.retained)


Sums = dict[Cell, Tally]

KEPT_DAYS = 400
"""How long a cell is kept after its day."""

_decoder = msgspec.msgpack.Decoder(list[tuple[Cell, Tally]])


def decode_sums(stored: bytes | None) -> Sums:
    """Read what `encode_sums` wrote; nothing stored is no sums."""
    return {} if stored is None else dict(_decoder.decode(stored))


def encode_sums(sums: Sums) -> bytes:
    """Return the sums without cells that are empty, or older than KEPT_DAYS behind the newest."""
    newest = max((cell.day for cell in sums), default=0)
    kept = [
        (cell, tally)
        for cell, tally in sorted(sums.items())
        if tally.users and cell.day >= newest - KEPT_DAYS
    ]
    return msgspec.msgpack.encode(kept)


def total(changes: Iterable[tuple[Cell, Tally]], onto: Sums | None = None) -> Sums:
    """The sums after the changes."""
    sums = dict(onto or {})
    for cell, change in changes:
        sums[cell] = sums.get(cell, Tally()) + change
    return sums
