"""The duplicate window: an event whose id is among the user's last 16 counts nothing."""

from __future__ import annotations

import numpy as np

from contracts.record import ID_WINDOW

# Id 0 marks an empty slot, so an event that hashes to it is never a duplicate.


def kept(facts: np.ndarray, ids: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n,) whether each event is new to its user.

    facts: (m,) FACTS; ids: (n,) u8 event id hashes in log order per user; at: (n,) index into
    facts. Dropped events do not enter the window, so a decision depends on those before it.
    """
    window = _window(facts)
    suspects = _suspects(window, ids, at)
    keep = np.ones(len(ids), np.bool_)
    if not len(suspects):
        return keep
    inside = np.flatnonzero(np.isin(at, suspects))
    windows = {row: window[row].tolist() for row in suspects.tolist()}
    slots = dict(zip(suspects.tolist(), facts["id_next"][suspects].tolist(), strict=True))
    for event, row, number in zip(
        inside.tolist(), at[inside].tolist(), ids[inside].tolist(), strict=True
    ):
        if number and number in windows[row]:
            keep[event] = False
        else:
            windows[row][slots[row]] = number
            slots[row] = (slots[row] + 1) % ID_WINDOW
    return keep


def remember(facts: np.ndarray, ids: np.ndarray, at: np.ndarray) -> None:
    """Write kept ids into the windows of `facts`, in place; arguments as for `kept`."""
    if not len(ids):
        return
    counts = np.bincount(at, minlength=len(facts))
    ends = np.cumsum(counts)
    from_end = ends[at] - np.arange(len(at))
    newest = np.flatnonzero(from_end <= ID_WINDOW)
    rows = at[newest]
    next_slot = facts["id_next"] + counts
    slots = (next_slot[rows] - from_end[newest]) % ID_WINDOW
    facts["ids_low"][rows, slots] = ids[newest] & np.uint64(0xFFFF_FFFF)
    facts["ids_high"][rows, slots] = ids[newest] >> np.uint64(32)
    facts["id_next"] = next_slot % ID_WINDOW


def _window(facts: np.ndarray) -> np.ndarray:
    """(m, ID_WINDOW) u8 ids."""
    high = facts["ids_high"].astype(np.uint64)
    window: np.ndarray = (high << np.uint64(32)) | facts["ids_low"]
    return window


def _suspects(window: np.ndarray, ids: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Sorted rows that may hold a duplicate; the usual batch has none, and is done here."""
    stored = at[(window[at] == ids[:, None]).any(axis=1)]
    # Same user and id give the same key; other pairs rarely do, which costs time and nothing else.
    key = (ids << np.uint64(16)) ^ at.astype(np.uint64)
    in_order = np.sort(key)
    twice = in_order[1:][in_order[1:] == in_order[:-1]]
    if len(twice):
        stored = np.append(stored, at[np.isin(key, twice)])
    return np.unique(stored) if len(stored) else stored
