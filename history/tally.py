"""Counts of one shard of a partition: users by cell, by day last seen, and by cohort."""

from __future__ import annotations

from collections.abc import Mapping

from contracts import population as stored
from contracts.bands import CELLS
from contracts.population import NOW, Cohort, TallyNow, cohort_field, seen_field

NOBODY = -1
"""No day: nobody has expired yet."""


class Tally:
    """Moved by deltas. `changes` tells what is to be stored."""

    def __init__(self) -> None:
        self.counts = [0] * CELLS
        self.gone = NOBODY
        self.lapsed = [0] * CELLS
        """Of the counts, users last seen on a day that is too long ago (`contracts.lapse`)."""
        self._lapsed_through = NOBODY
        self.cohorts: dict[int, dict[tuple[int, int], list[int]]] = {}
        """By day, by horizon and cell: users, how many of them came back, or perhaps did, and late
        scores."""
        self._cohorts_from = 0
        self._seen: dict[int, list[int]] = {}
        self._moved = False
        self._seen_moved: set[int] = set()
        self.cohorts_moved: set[int] = set()

    @classmethod
    def of(cls, fields: Mapping[bytes, bytes]) -> Tally:
        """From its stored fields; raises Misconfigured for another release's."""
        tally = cls()
        for name, value in fields.items():
            kind, day = name[:1], name[1:]
            if name == NOW.encode():
                now = stored.unpack(value, TallyNow)
                tally.counts, tally.gone = now.counts, now.gone
            elif kind == b"s":
                tally._seen[int(day)] = stored.unpack(value, list[int])
            elif kind == b"c":
                tally.cohorts[int(day)] = {
                    (each.horizon, each.cell): [
                        each.users,
                        each.returned,
                        each.unknown,
                        each.late,
                    ]
                    for each in stored.unpack(value, list[Cohort])
                }
        return tally

    def move(self, day: int, cell: int, by: int) -> None:
        """Count a user last seen on a UTC day in or out."""
        seen = self._seen.get(day)
        if seen is None:
            seen = self._seen[day] = [0] * CELLS
        seen[cell] += by
        self.counts[cell] += by
        if day <= self._lapsed_through:
            self.lapsed[cell] += by
        self._seen_moved.add(day)
        self._moved = True

    def cohort(
        self,
        at: tuple[int, int, int],
        users: int = 0,
        returned: int = 0,
        unknown: int = 0,
        late: int = 0,
    ) -> None:
        """Add to the cohort of a day, horizon and cell; one that is no longer kept stays away."""
        day, horizon, cell = at
        if day < self._cohorts_from:
            return
        of_day = self.cohorts.setdefault(day, {})
        counts = of_day.setdefault((horizon, cell), [0, 0, 0, 0])
        counts[0] += users
        counts[1] += returned
        counts[2] += unknown
        counts[3] += late
        if not any(counts):
            del of_day[horizon, cell]
        self.cohorts_moved.add(day)

    def lapse(self, through: int) -> None:
        """Let those have lapsed who were last seen on that day or before, and nobody else."""
        known = self._lapsed_through
        if through == known:
            return
        first, last = sorted((known, through))
        sign = 1 if through > known else -1
        for day, users in self._seen.items():
            if first < day <= last:
                for cell, number in enumerate(users):
                    self.lapsed[cell] += sign * number
        self._lapsed_through = through

    def expire(self, through: int) -> None:
        """Take out whoever was last seen on that day or before."""
        if through <= self.gone:
            return
        for day in sorted(day for day in self._seen if day <= through):
            for cell, users in enumerate(self._seen.pop(day)):
                self.counts[cell] -= users
                if day <= self._lapsed_through:
                    self.lapsed[cell] -= users
            self._seen_moved.add(day)
        self.gone = through
        self._moved = True

    def forget_cohorts(self, before: int) -> None:
        """Keep no cohorts of days before that one."""
        self._cohorts_from = before
        for day in [day for day in self.cohorts if day < before]:
            del self.cohorts[day]
            self.cohorts_moved.add(day)

    def changes(self) -> dict[str, bytes | None]:
        """Fields to store, None for those to take out, since the last call."""
        changed: dict[str, bytes | None] = {}
        if self._moved:
            changed[NOW] = stored.pack(TallyNow(self.counts, self.gone))
        for day in sorted(self._seen_moved):
            seen = self._seen.get(day)
            if seen is not None and not any(seen):
                del self._seen[day]
                seen = None
            changed[seen_field(day)] = None if seen is None else stored.pack(seen)
        for day in sorted(self.cohorts_moved):
            changed[cohort_field(day)] = packed(self.cohorts.get(day))
        self._moved = False
        self._seen_moved.clear()
        self.cohorts_moved.clear()
        return changed


def packed(cohorts: Mapping[tuple[int, int], list[int]] | None) -> bytes | None:
    """A day's cohorts as they are stored, None for none."""
    if not cohorts:
        return None
    return stored.pack(
        [Cohort(horizon, cell, *counts) for (horizon, cell), counts in sorted(cohorts.items())]
    )
