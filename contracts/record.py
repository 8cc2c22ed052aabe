"""The one Redis value that holds everything known of a user.

A record is a fixed-size, versioned numpy row, stored without its zeros (`contracts.packing`). It
has two parts:

* FACTS are a pure function of the log up to the record's position (see `model.fold`). No floats:
  times in ms, durations in seconds, money in cents, decays in fixed point.
* OUTLOOK is derived: last score, silence curve, next due time. Rebuilt from facts and the model.

Fields are ordered so that every one is naturally aligned; `version` comes first in any layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from contracts.times import NEVER

RECORD_VERSION: Final = 2


def _of_version_1(stored: bytes) -> bytes:
    """The same layout, stored as it is, zeros and all."""
    return bytes([RECORD_VERSION]) + stored[1:]


OLDER_VERSIONS: Final[Mapping[int, Callable[[bytes], bytes]]] = {1: _of_version_1}
"""Version of an earlier release to what turns its stored bytes into those of a row of this one.

A layout changes over two releases: the first reads the new one besides its own, the second writes
it. So a release may be taken back, and scorers of both may run at once while it is rolled out.
"""

RING_DAYS: Final = 28
ID_WINDOW: Final = 16
TYPE_SLOTS: Final = 16
HALF_LIVES: Final = (3, 14, 60, 240)
"""Days in which a decayed count halves."""
LEVELS: Final = 16
"""Rungs of the model's risk ladder, and so entries of a silence curve."""

NO_CROSSING: Final = 0xFFFF
"""Curve entry of a level that silence does not reach within the grid."""

UNKNOWN, LOGGED_OUT, LOGGED_IN = 0, 1, 2

# Bits of FACTS["flags"].
SEEN_BY_SNAPSHOT: Final = 1  # last_seen was moved by a snapshot: a day's export, not a visit
CANCELLED: Final = 2  # subscription_cancelled, and no activity since
ERASED: Final = 4  # a gravestone: blank facts, kept so that a repeat cannot bring them back

FACTS: Final = np.dtype(
    [
        ("version", "u1"),
        ("login", "u1"),  # UNKNOWN, LOGGED_OUT or LOGGED_IN: the last statement in log order
        ("flags", "u1"),
        ("id_next", "u1"),  # slot of `ids_*` the next event id goes to
        # Where in the log we are. Log numbers rise when a topic is recreated.
        ("log_number", "u4"),
        # Totals. Pages and seconds: total = base (stated by snapshots) + counted.
        ("pages", "u4"),
        ("pages_base", "u4"),
        ("seconds", "u4"),
        ("seconds_base", "u4"),
        ("events", "u4"),  # activity events
        ("active_days", "u4"),  # distinct UTC days with activity, as far as the ring could tell
        ("sessions", "u4"),
        # Gaps between sessions: their count, sum, last, and log2 sums (1/256 octaves).
        ("gaps", "u4"),
        ("gap_seconds", "u4"),
        ("last_gap_seconds", "u4"),
        ("gap_log2", "u4"),
        ("day_bits", "u4"),  # bit k: active on the day k days before last-seen's day
        # Categories: 32-bit hashes of the normalised string, 0 for never stated.
        ("location", "u4"),
        ("referral_source", "u4"),
        ("device_type", "u4"),
        ("plan", "u4"),
        # Fixed-point decayed counts (contracts.decay), as of last-seen's day, per half-life.
        ("decayed_days", "u4", len(HALF_LIVES)),
        ("decayed_events", "u4", len(HALF_LIVES)),
        ("ids_low", "u4", ID_WINDOW),  # the last event ids: low 32 bits of a 48-bit hash
        # Position and times.
        ("offset", "i8"),
        ("log_time", "i8"),  # running maximum of the Kafka timestamps
        ("last_seen", "i8"),
        ("first_seen", "i8"),
        ("signup_at", "i8"),  # the earliest claim
        ("snapshot_at", "i8"),  # the latest snapshot
        ("value_cents", "i8"),  # net of returns
        ("purchase_cents", "i8"),  # gross
        ("gap_log2_squares", "i8"),
        ("ids_high", "u2", ID_WINDOW),  # and the high 16 bits
        # The ring: day d since 1970 lives in slot d % RING_DAYS; it ends at last-seen's day.
        ("day_pages", "u2", RING_DAYS),
        ("day_seconds", "u2", RING_DAYS),
        ("types", "u2", TYPE_SLOTS),  # contracts.events.TYPE_SLOT, then hash slots
        ("day_sessions", "u1", RING_DAYS),
    ]
)

# Bits of OUTLOOK["state"].
CURVE_STALE: Final = 1  # facts changed since the curve was computed
HAS_CURVE: Final = 2
HAS_SCORE: Final = 4
LAPSED: Final = 8  # silent for so long that the timer found them lapsed (contracts.lapse)

OUTLOOK: Final = np.dtype(
    [
        ("scored_at", "i8"),
        ("due", "i8"),  # when the silence timer fires next; NEVER if it does not
        ("probability", "u4"),  # millionths
        ("model", "u4"),  # hash of the model version behind score and curve
        ("curve", "u2", LEVELS),  # whole hours after last-seen at which risk crosses each level
        ("home", "u2"),
        ("state", "u1"),
        ("trigger", "u1"),  # index into contracts.scores.TRIGGERS
    ]
)

RECORD: Final = np.dtype([("facts", FACTS), ("outlook", OUTLOOK)])

# Fields that say where in the log we are, not what the user did.
BOOKKEEPING: Final = (
    "log_number", "offset", "log_time", "snapshot_at", "id_next", "ids_low", "ids_high",
)  # fmt: skip


def blank_facts(n: int) -> np.ndarray:
    """(n,) FACTS of users nothing is known of."""
    facts = np.zeros(n, FACTS)
    facts["version"] = RECORD_VERSION
    for name in ("log_time", "last_seen", "first_seen", "signup_at", "snapshot_at"):
        facts[name] = NEVER
    facts["offset"] = -1
    return facts


def blank_outlook(n: int) -> np.ndarray:
    """(n,) OUTLOOK of users never scored."""
    outlook = np.zeros(n, OUTLOOK)
    outlook["scored_at"] = NEVER
    outlook["due"] = NEVER
    outlook["curve"] = NO_CROSSING
    return outlook


def blank_records(n: int) -> np.ndarray:
    """(n,) RECORD of users nothing is known of."""
    records = np.empty(n, RECORD)
    records["facts"] = blank_facts(n)
    records["outlook"] = blank_outlook(n)
    return records
