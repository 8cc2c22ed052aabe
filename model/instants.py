"""Instants of many users, searchable: what comes next after a moment, what came last before."""

from __future__ import annotations

from typing import Final

import numpy as np

FOREVER: Final = 2**62
"""Later than any moment of a log."""


class Instants:
    """(n,) users and (n,) epoch ms, in any order."""

    def __init__(self, user: np.ndarray, time: np.ndarray) -> None:
        user = user.astype(np.int64)
        order = np.lexsort((time, user))
        self._user, self._time = user[order], time[order]
        low = int(self._time.min()) if len(time) else 0
        # One sorted key for (user, time): a search over all users at once.
        self._low, self._span = low, (int(self._time.max()) - low if len(time) else 0) + 3
        self._key = self._user * self._span + self._time - low + 1

    def next(self, user: np.ndarray, after: np.ndarray) -> np.ndarray:
        """(n,) epoch ms of the user's first instant later than `after`, FOREVER if none."""
        return self._at(self._search(user, after), user, FOREVER)

    def last(self, user: np.ndarray, until: np.ndarray) -> np.ndarray:
        """(n,) epoch ms of the user's last instant at or before `until`, -FOREVER if none."""
        return self._at(self._search(user, until) - 1, user, -FOREVER)

    def _search(self, user: np.ndarray, moment: np.ndarray) -> np.ndarray:
        wanted = user * self._span + np.clip(moment - self._low + 1, 0, self._span - 1)
        return np.asarray(np.searchsorted(self._key, wanted, side="right"))

    def _at(self, place: np.ndarray, user: np.ndarray, otherwise: int) -> np.ndarray:
        if not len(self._key):
            return np.full(len(user), otherwise)
        inside = np.clip(place, 0, len(self._key) - 1)
        own = (place >= 0) & (place < len(self._key)) & (self._user[inside] == user)
        return np.where(own, self._time[inside], otherwise)
