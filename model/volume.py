"""How busy a log is from day to day: where it really ends, and where it has holes.

An export rarely ends with a whole day, and a tracker that was down for one looks as if everybody
had left. Both would make labels too dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.times import DAY_MS
from model.event_log import EventLog

WEEKS_AROUND: Final = 8
"""The usual volume of a day: the median of the same weekday, so many weeks to either side."""

END_SHARE: Final = 0.5
"""The log ends with the last day that has this share of its usual volume."""

OUTAGE_SHARE: Final = 0.2
"""A day with less than this share of its usual volume is an outage."""

LEAST_USUAL: Final = 10
"""With fewer events a day than this a quiet day is chance."""

MASKED_SHARE: Final = 0.1
"""A label is unknown when outages cover more than this share of its horizon. Not any outage at
all: a shop that closes on bank holidays has no 90 days without one."""


@dataclass(frozen=True)
class Volume:
    """Activity per UTC day: first_day (days since 1970), and (d,) events and usual events."""

    first_day: int
    events: np.ndarray
    usual: np.ndarray
    last_event: int

    @property
    def end(self) -> int:
        """Epoch ms up to which the log is complete: its last activity, unless it fades out."""
        enough = np.flatnonzero(
            (self.events >= END_SHARE * self.usual) | (self.usual < LEAST_USUAL)
        )
        last = int(enough[-1]) if len(enough) else len(self.events) - 1
        return min(self.last_event, (self.first_day + last + 1) * DAY_MS - 1)

    @property
    def outages(self) -> np.ndarray:
        """(k,) days since 1970 on which next to nothing was recorded, within the complete log."""
        quiet = (self.usual >= LEAST_USUAL) & (self.events < OUTAGE_SHARE * self.usual)
        quiet &= self.first_day + np.arange(len(quiet)) <= self.end // DAY_MS
        return np.asarray(self.first_day + np.flatnonzero(quiet))

    def masked(self, as_of: np.ndarray, horizon: int) -> np.ndarray:
        """(n,) bool: outages cover too much of (as_of, as_of + horizon] to tell who came back."""
        starts = self.outages * DAY_MS
        # Outage time before a moment: whole outage days, and the part of one it falls into.
        before = np.concatenate([[0], np.cumsum(np.full(len(starts), DAY_MS))])

        def until(moment: np.ndarray) -> np.ndarray:
            index = np.searchsorted(starts, moment, side="right")
            if not len(starts):
                return np.zeros(len(moment))
            last = starts[np.maximum(index - 1, 0)]
            spare = np.maximum(DAY_MS - (moment - last), 0)
            return np.asarray(before[index] - np.where(index > 0, spare, 0))

        covered = until(as_of + horizon) - until(as_of)
        return np.asarray(covered > MASKED_SHARE * horizon)


def volume(log: EventLog) -> Volume:
    """Daily volume of a log with at least one activity event."""
    seen = log.rows["occurred_at"][log.active]
    days = seen // DAY_MS
    first = int(days.min())
    events = np.bincount(days - first)
    return Volume(first, events, _usual(events), int(seen.max()))


def _usual(events: np.ndarray) -> np.ndarray:
    """(d,) median of the same weekday around, the day itself left out."""
    reach = 7 * WEEKS_AROUND
    padded = np.concatenate([np.full(reach, np.nan), events, np.full(reach, np.nan)])
    shifts = [shift for shift in range(-reach, reach + 1, 7) if shift]
    around = np.stack([padded[reach + s : reach + s + len(events)] for s in shifts])
    known = ~np.isnan(around).all(axis=0)
    usual = np.zeros(len(events))
    usual[known] = np.nanmedian(around[:, known], axis=0)
    return usual
