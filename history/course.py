"""How the population of one partition goes on: hours and days that end, and what they brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts import population as stored
from contracts.bands import CELLS
from contracts.lapse import lapsed_after_days
from contracts.population import (
    COHORT_DAYS_KEPT,
    DAYS_KEPT,
    HOURS_KEPT,
    MODELS,
    MODELS_KEPT,
    NOW,
    Closing,
    ModelMark,
    PopulationNow,
    cohort_field,
    day_field,
    hour_field,
)
from contracts.times import DAY_MS, HOUR_MS, NEVER
from history.tally import NOBODY, Tally, packed
from history.told import Told

_HOURS = DAY_MS // HOUR_MS
SAME_MODEL_MS = HOUR_MS
"""While a model is rolled out, scores of both arrive: one that comes back so soon is no change."""


class Course:
    """The sum of a partition's tallies, and what became of it. `changes` tells what to store."""

    def __init__(self, tallies: Sequence[Tally], retention_days: int) -> None:
        self._tallies = tallies
        self._retention_days = retention_days
        self.now = PopulationNow(NEVER, 0, 0, [0] * CELLS, NEVER)
        self._models: list[ModelMark] = []
        self._changed: dict[str, bytes | None] = {}

    def restore(self, fields: Mapping[bytes, bytes]) -> None:
        """Go on where the stored fields end; raises Misconfigured for another release's."""
        if NOW.encode() in fields:
            self.now = stored.unpack(fields[NOW.encode()], PopulationNow)
            self._forget(self.now.clock // DAY_MS)
        if MODELS.encode() in fields:
            self._models = stored.unpack(fields[MODELS.encode()], list[ModelMark])
        if self.now.clock != NEVER:
            self._lapse(self.now.clock // DAY_MS)
        days = {int(name[1:]) for name in fields if name[:1] == b"c"}
        for day in sorted(days.union(*(tally.cohorts for tally in self._tallies))):
            # On a cluster a save may have reached the tallies and not what is summed up of them.
            summed = packed(self._cohorts(day))
            if summed != fields.get(cohort_field(day).encode()):
                self._changed[cohort_field(day)] = summed

    def advance(self, clock: int) -> bool:
        """Bring time to `clock` (epoch ms); whether an hour has ended."""
        now = self.now
        if now.clock == NEVER:
            now.clock = clock
            self._expire(clock // DAY_MS)
            return True
        before, after = now.clock // HOUR_MS, clock // HOUR_MS
        now.clock = max(now.clock, clock)
        if after <= before:
            return False
        counts, lapsed = self._sum(), self._sum_lapsed()
        for hour in range(before, after):
            # What nobody keeps need not be made: a log may rest for years.
            if hour >= after - HOURS_KEPT:
                brought = Closing(counts, now.activity, now.scores, lapsed)
                self._changed[hour_field(hour)] = stored.pack(brought)
            self._end_hour(hour)
            if (hour + 1) % _HOURS == 0:
                self._end_day(hour // _HOURS, counts, lapsed)
                counts, lapsed = self._sum(), self._sum_lapsed()
        return True

    def _end_hour(self, hour: int) -> None:
        now = self.now
        self._changed[hour_field(hour - HOURS_KEPT)] = None
        now.activity = now.scores = 0

    def _end_day(self, day: int, counts: list[int], lapsed: list[int]) -> None:
        now = self.now
        brought = Closing(counts, now.day_activity, now.day_scores, lapsed)
        self._changed[day_field(day)] = stored.pack(brought)
        self._changed[day_field(day - DAYS_KEPT)] = None
        now.day_activity = now.day_scores = 0
        self._expire(day + 1)

    def _expire(self, today: int) -> None:
        """Who was last seen so long ago that they are gone by the beginning of `today`."""
        for tally in self._tallies:
            tally.expire(max(today - self._retention_days - 1, NOBODY))
        self._lapse(today)
        self._forget(today)

    def _lapse(self, today: int) -> None:
        """Who was last seen so long ago that all of their day has lapsed as `today` begins."""
        if not self._models:
            return
        silent = lapsed_after_days(self._models[-1].horizon)
        for tally in self._tallies:
            tally.lapse(max(today - silent - 1, NOBODY))

    def _forget(self, today: int) -> None:
        for tally in self._tallies:
            tally.forget_cohorts(today - COHORT_DAYS_KEPT)

    def count(self, told: Told, scored_at: int, log: int, offset: int) -> None:
        """Note a score that is news."""
        now = self.now
        if (log, offset) < (now.log, now.offset):
            # On a cluster the shard of this course may hold a batch that others have yet to.
            return
        now.log, now.offset = log, offset + 1
        now.scored_at = max(now.scored_at, scored_at)
        now.scores += 1
        now.day_scores += 1
        if told.trigger == "activity":
            now.activity += 1
            now.day_activity += 1
        self._note_model(told, scored_at)

    def _note_model(self, told: Told, scored_at: int) -> None:
        models = self._models
        if models and models[-1].version == told.model_version:
            return
        if any(
            known.version == told.model_version and scored_at - known.at < SAME_MODEL_MS
            for known in models
        ):
            return
        models.append(ModelMark(scored_at, told.model_version, told.origin, told.horizon_days))
        del models[:-MODELS_KEPT]
        self._lapse(self.now.clock // DAY_MS)
        self._changed[MODELS] = stored.pack(models)

    def changes(self) -> dict[str, bytes | None]:
        """Fields to store, None for those to take out, since the last call; before the tallies'."""
        self.now.counts, self.now.lapsed = self._sum(), self._sum_lapsed()
        changed = self._changed
        for day in sorted({day for tally in self._tallies for day in tally.cohorts_moved}):
            changed[cohort_field(day)] = packed(self._cohorts(day))
        changed[NOW] = stored.pack(self.now)
        self._changed = {}
        return changed

    def _sum(self) -> list[int]:
        return [sum(cell) for cell in zip(*(tally.counts for tally in self._tallies), strict=True)]

    def _sum_lapsed(self) -> list[int]:
        if not self._models:
            return []
        return [sum(cell) for cell in zip(*(tally.lapsed for tally in self._tallies), strict=True)]

    def _cohorts(self, day: int) -> dict[tuple[int, int], list[int]]:
        """A day's cohorts over all tallies."""
        total: dict[tuple[int, int], list[int]] = {}
        for tally in self._tallies:
            for key, counts in tally.cohorts.get(day, {}).items():
                known = total.setdefault(key, [0] * len(counts))
                total[key] = [a + b for a, b in zip(known, counts, strict=True)]
        return total
