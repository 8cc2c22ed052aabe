"""A user's features as one keeps them in a hash or a key-value store: 22 numbers by name.

Counts, times last seen, and counts that fade with half-lives of 3 to 240 days.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

DAY_S = 86_400.0
SESSION_GAP_S = 1_800.0
HALF_LIVES = {"recent_3d": 3.0, "recent_14d": 14.0, "recent_60d": 60.0, "recent_240d": 240.0}
FIELDS = (
    *("events", "first_seen", "last_seen", *HALF_LIVES),
    *("sessions", "active_days", "last_day", "pages", "seconds", "recent_pages", "recent_seconds"),
    *("logged_in", "purchases", "searches", "logins", "value", "gap_sum", "gap_squares", "gap"),
)
BLANK = dict.fromkeys(FIELDS, 0.0)


def updated(state: Mapping[str, float], event: Mapping[str, Any], at: float) -> dict[str, float]:
    """The state after an event at `at`, seconds since 1970."""
    new = dict(state)
    passed = max(at - state["last_seen"], 0.0) if state["events"] else 0.0
    for name, days in HALF_LIVES.items():
        new[name] = state[name] * math.exp2(-passed / (days * DAY_S)) + 1.0
    fade = math.exp2(-passed / (14.0 * DAY_S))
    pages = float(event.get("pages_visited") or 0)
    seconds = float(event.get("time_spent") or 0.0)
    new["recent_pages"] = state["recent_pages"] * fade + pages
    new["recent_seconds"] = state["recent_seconds"] * fade + seconds
    new["pages"] += pages
    new["seconds"] += seconds
    if not state["events"]:
        new["first_seen"] = at
        new["sessions"] = 1.0
    elif passed > SESSION_GAP_S:
        new["sessions"] += 1.0
        new["gap_sum"] += passed
        new["gap_squares"] += passed * passed
        new["gap"] = passed
    day = at // DAY_S
    if day != state["last_day"]:
        new["active_days"] += 1.0
        new["last_day"] = day
    new["events"] += 1.0
    new["last_seen"] = max(at, state["last_seen"])
    new["logged_in"] = float(event.get("is_logged_in") or False)
    new["value"] += float(event.get("value") or 0.0)
    match event.get("type"):
        case "purchase":
            new["purchases"] += 1.0
        case "search":
            new["searches"] += 1.0
        case "login":
            new["logins"] += 1.0
    return new


def rows(states: list[Mapping[str, float]], columns: int) -> np.ndarray:
    """(n, columns) float64, missing in the columns that these features do not fill."""
    made = np.full((len(states), columns), np.nan)
    made[:, : len(FIELDS)] = [[state[name] for name in FIELDS] for state in states]
    return made


def from_hash(values: list[bytes | None]) -> dict[str, float]:
    """A state out of HMGET's answer."""
    if values[0] is None:
        return BLANK
    return {name: float(value or 0) for name, value in zip(FIELDS, values, strict=True)}
