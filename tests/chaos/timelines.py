"""What the timeline must hold of each user's events, from the log of events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from contracts.activity import FoldRules
from contracts.errors import BadRecord
from contracts.events import TOMBSTONE
from contracts.record import ID_WINDOW
from runtime.timeline import Entry, counted, entry_of, of_this_life, unpack
from tests.chaos.check import Check
from tests.chaos.wire import Log

GROWS_BY = 1.25
"""A list is cut back to what it is to keep when it has grown by a quarter."""


def checks(  # noqa: PLR0917
    log: Log,
    counts: np.ndarray,
    records: Mapping[str, np.void],
    timelines: Mapping[str, Sequence[bytes]],
    rules: FoldRules,
    keep: int,
) -> list[Check]:
    """All that is said here; counts: (n,) whether the fold of the log counts each row."""
    everything = entries_of(log)
    found = {user_id: _unpacked(values) for user_id, values in timelines.items()}
    return [
        kept_check(everything, found, keep),
        shown_check(everything, entries_of(log, counts), found, records, rules),
    ]


def kept_check(
    everything: Mapping[str, Sequence[Entry]], found: Mapping[str, Sequence[Entry]], keep: int
) -> Check:
    """Each list is the end of what its user did since they were erased, whole and in order."""
    check = Check("each user's last events are kept, in log order, none twice and none left out")
    for user_id in everything.keys() | found.keys():
        expected, there = everything.get(user_id, ()), found.get(user_id, ())
        enough = min(len(expected), keep) <= len(there) < max(keep * GROWS_BY, 1)
        check.expect(
            enough and there == expected[len(expected) - len(there) :],
            f"{user_id}: of {len(expected)} events {len(there)} are kept, not the last ones",
        )
    return check


def shown_check(
    everything: Mapping[str, Sequence[Entry]],
    expected: Mapping[str, Sequence[Entry]],
    found: Mapping[str, Sequence[Entry]],
    records: Mapping[str, np.void],
    rules: FoldRules,
) -> Check:
    """What readers make of the lists are the events that the records count.

    Where a list begins, what was before is not known, so a repeat may show among its first.
    """
    check = Check("the events shown of a user are those that their record counts, each once")
    for user_id, there in found.items():
        if user_id not in records:
            continue
        first_seen = int(records[user_id]["facts"]["first_seen"])
        shown = list(of_this_life(counted(there), first_seen, rules))
        wanted = expected.get(user_id, [])
        if len(there) < len(everything.get(user_id, ())):
            shown = shown[ID_WINDOW:]
            wanted = wanted[len(wanted) - len(shown) :]
        check.expect(shown == wanted, f"{user_id}: {len(shown)} are shown, not the last ones")
    return check


def entries_of(log: Log, which: np.ndarray | None = None) -> defaultdict[str, list[Entry]]:
    """By user, the events since they were erased, in log order; which: (n,) those to take."""
    entries: defaultdict[str, list[Entry]] = defaultdict(list)
    erased = log.rows["kind"] == TOMBSTONE
    taken = np.ones(len(log.rows), bool) if which is None else which
    for i, values in enumerate(log.rows.tolist()):
        user_id = log.user_ids[int(log.user[i])]
        if erased[i]:
            entries.pop(user_id, None)
        elif taken[i]:
            entries[user_id].append(entry_of(log.types[i] or "", values))
    return entries


def _unpacked(values: Sequence[bytes]) -> list[Entry]:
    """What can be read of a list."""
    found: list[Entry] = []
    for value in values:
        with suppress(BadRecord):
            found.append(unpack(value))
    return found
