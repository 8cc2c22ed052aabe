"""The Shelf in memory, with the real one's semantics."""

from __future__ import annotations

from collections.abc import Mapping

from alerts.delivery import rows
from alerts.delivery.rows import Crossing
from alerts.delivery.storm import Seen
from contracts.alerts import ChurnAlert
from contracts.deliveries import Row, encode
from contracts.errors import StoreUnavailable
from contracts.storms import Decided, StormState
from contracts.times import HOUR_MS
from runtime.deliveries import Slip, Waiting

STATES = {"held": "held", "digest": "digest"}


class FakeShelf:
    """A Shelf in a few dictionaries. `away` makes every settling fail."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.leader: str | None = None
        self.switched_off: dict[str, tuple[str, str]] = {}
        self.told_at: dict[tuple[str, str], dict[str, int]] = {}
        self.state: StormState | None = None
        self.wanted: Decided | None = None
        self.last_storm: StormState | None = None
        self.openings: dict[str, tuple[int, Crossing]] = {}
        self.active = 0
        self.read: tuple[int, dict[int, int]] = (0, {})
        self.volumes: list[tuple[int, Mapping[int, int]]] = []
        self.away = False

    def take_in(self, alert: ChurnAlert, now_ms: int, channel: str = "crm") -> Row:
        """What the intake does with an alert."""
        if alert.kind == "opened":
            member, at = rows.crossing_of(alert)
            self.openings[alert.dedup_key] = (int(at), rows.crossing(member))
        row = rows.row_of(alert, channel, now_ms)
        self.rows[row.row_id] = row
        return row

    def states(self) -> dict[str, int]:
        """How many rows are in which state."""
        found: dict[str, int] = {}
        for row in self.rows.values():
            found[row.state] = found.get(row.state, 0) + 1
        return found

    async def lead(self, who: str, for_ms: int) -> bool:
        self.leader = self.leader or who
        return self.leader == who

    async def resign(self, who: str) -> None:
        if self.leader == who:
            self.leader = None

    async def channels(self) -> list[str]:
        return sorted({row.channel for row in self.rows.values()})

    async def due(self, channel: str, now_ms: int, limit: int) -> list[Slip]:
        found = [
            row
            for row in self.rows.values()
            if row.channel == channel and row.state == "waiting" and row.due <= now_ms
        ]
        found.sort(key=lambda row: (row.due, row.row_id))
        return [_slip(row) for row in found[:limit]]

    async def settle(self, slip: Slip, after: Row) -> Slip | None:
        if self.away:
            raise StoreUnavailable("Redis is away")
        stored = self.rows.get(slip.row.row_id)
        if stored is None or encode(stored) != slip.stored:
            return None
        self.rows[after.row_id] = after
        return _slip(after)

    async def add(self, row: Row) -> bool:
        if row.row_id in self.rows:
            return False
        self.rows[row.row_id] = row
        return True

    async def waiting_in(self, place: Waiting, until_ms: int, limit: int) -> list[Slip]:
        found = [r for r in self.rows.values() if r.state == place and r.due <= until_ms]
        return [_slip(row) for row in found[:limit]]

    async def count_in(self, place: Waiting) -> int:
        return sum(row.state == place for row in self.rows.values())

    async def of_episode(self, row: Row) -> list[Slip]:
        return [
            _slip(other)
            for other in self.rows.values()
            if other.dedup_key == row.dedup_key
            and other.channel == row.channel
            and other.row_id != row.row_id
        ]

    async def told(self, channel: str, rule: str, now_ms: int) -> tuple[int, int]:
        def within(name: tuple[str, str]) -> int:
            return sum(now_ms - at < HOUR_MS for at in self.told_at.get(name, {}).values())

        return within((channel, "")), within((channel, rule))

    async def note_told(self, row: Row, now_ms: int) -> None:
        for name in ((row.channel, ""), (row.channel, row.rule)):
            self.told_at.setdefault(name, {})[row.row_id] = now_ms

    async def disabled(self, channel: str, address: str) -> str:
        was, reason = self.switched_off.get(channel, ("", ""))
        return reason if was == address else ""

    async def disable(self, channel: str, address: str, reason: str) -> None:
        self.switched_off[channel] = (address, reason)

    async def storm(self) -> StormState | None:
        return self.state

    async def set_storm(self, state: StormState | None) -> None:
        self.state = state

    async def keep_storm(self, state: StormState) -> None:
        self.last_storm = state

    async def order(self) -> Decided | None:
        return self.wanted

    async def obeyed(self, order: Decided) -> None:
        self.wanted = None

    async def seen(self, since_ms: int) -> Seen:
        crossed = sum(at >= since_ms for at, _ in self.openings.values())
        return Seen(crossed=crossed, active=self.active)

    async def crossings(self, since_ms: int, from_ms: int) -> tuple[list[Crossing], list[Crossing]]:
        found = [(at, one) for at, one in self.openings.values() if at >= since_ms]
        return [o for at, o in found if at >= from_ms], [o for at, o in found if at < from_ms]

    async def forget_crossings(self, until_ms: int) -> None:
        self.openings = {k: v for k, v in self.openings.items() if v[0] > until_ms}

    async def read_so_far(self) -> tuple[int, dict[int, int]]:
        return self.read

    async def samples(self) -> list[tuple[int, Mapping[int, int]]]:
        return self.volumes

    async def add_sample(self, at: int, offsets: Mapping[int, int], forget_until: int) -> None:
        self.volumes.append((at, dict(offsets)))


def _slip(row: Row) -> Slip:
    return Slip(0, row, encode(row))
