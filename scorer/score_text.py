"""The JSON of a batch of scores, column by column.

A score goes out for nearly every event, and building one from structs costs more than reading the
event does. What is here gives the bytes `contracts.scores.encode_score` would, which the tests
hold it to: values become text through the same encoder, moments from shared texts of their hours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import msgspec
import numpy as np

from contracts.record import NO_CROSSING
from contracts.scores import DECIMALS
from contracts.times import HOUR_MS, NEVER, SECOND_MS, SESSION_GAP_MS, from_ms

HOURS_KEPT = 65_536
MANY_ROWS = 32
ROWS_AT_ONCE = 512
"""Few enough for a processor's cache."""

_SOME_MOMENT = "2026-01-01T00:00:00.000000Z"
_HOUR_WIDTH = len("2026-01-01T00")
_HOURS_A_TABLE = 8_192

_encoder = msgspec.json.Encoder()
_WITHIN_HOUR = [f":{second // 60:02d}:{second % 60:02d}" for second in range(HOUR_MS // SECOND_MS)]


def json_text(value: Any) -> str:
    """The value as JSON."""
    return _encoder.encode(value).decode()


def numbers(column: np.ndarray | list[float]) -> list[str]:
    """Numbers or booleans, each as JSON; NaN is null."""
    values = column.tolist() if isinstance(column, np.ndarray) else column
    return json_text(values)[1:-1].split(",")


def repeated(values: Sequence[Any], said: Callable[[Any], Any] = lambda value: value) -> list[str]:
    """What is said of each value as JSON, for hashable values of which many are equal."""
    texts = {value: json_text(said(value)) for value in set(values)}
    return [texts[value] for value in values]


def moment(ms: int) -> str:
    """Epoch ms as ISO 8601 in UTC without its zone, in microseconds unless they are 0."""
    hour, within = divmod(ms, HOUR_MS)
    return hour_text(hour) + _within_hour(within)


def bare_moments(column: np.ndarray) -> list[str]:
    """(n,) epoch ms, each as `moment` has it."""
    return [moment(ms) for ms in column.tolist()]


def moments(column: np.ndarray) -> list[str]:
    """(n,) epoch ms, each as JSON; NEVER is null."""
    return ["null" if ms == NEVER else f'"{moment(ms)}Z"' for ms in column.tolist()]


def crossings(levels: np.ndarray, curve: np.ndarray, last_seen: np.ndarray) -> list[str]:
    """(n, L) curves as what is between the brackets of `crossings`.

    See `model.silence.crossing_times`. Users never seen have no curve, whatever theirs says.
    """
    ladder = _ladder(tuple(levels.tolist()))
    # Curves climb, and few moments fall on a whole second, which is written shorter. What many
    # have in common is not worth finding for a few.
    alike = (last_seen % SECOND_MS != 0) & (last_seen != NEVER)
    alike &= (curve[:, :-1] <= curve[:, 1:]).all(axis=1) & (len(curve) >= MANY_ROWS)
    found = [""] * len(curve)
    for i in np.flatnonzero(~alike & (last_seen != NEVER)).tolist():
        found[i] = ladder.one(curve[i].tolist(), int(last_seen[i]))
    for start in range(0, len(curve), ROWS_AT_ONCE):
        which = start + np.flatnonzero(alike[start : start + ROWS_AT_ONCE])
        if len(which):
            texts = ladder.many(curve[which], last_seen[which])
            for i, text in zip(which.tolist(), texts, strict=True):
                found[i] = text
    return found


class _Ladder:
    """The rungs of a model's levels as JSON, with a place for each moment."""

    def __init__(self, levels: tuple[float, ...]) -> None:
        self._begun = [f'{{"level":{json_text(round(level, DECIMALS))},"at":' for level in levels]
        self._form = ",".join(f"{begun}%s}}" for begun in self._begun)
        rungs = [f'{begun}"{_SOME_MOMENT}"}},' for begun in self._begun]
        self._row = np.frombuffer("".join(rungs).encode(), np.uint8)
        self._begins = [0, *accumulate(map(len, rungs))]
        self._moments = [
            begins + len(begun) + 1
            for begins, begun in zip(self._begins, self._begun, strict=False)
        ]
        self._never = [
            "".join(f"{b}null}}," for b in self._begun[n:]) for n in range(len(rungs) + 1)
        ]

    def one(self, curve: list[int], last_seen: int) -> str:
        """Any (L,) curve of whole hours after last-seen."""
        first, within = divmod(last_seen, HOUR_MS)
        # Whole hours later it is as many minutes past the hour.
        rest = _within_hour(within) + 'Z"'
        session_end = f'"{moment(last_seen + SESSION_GAP_MS)}Z"'
        return self._form % tuple(
            [
                session_end
                if not hours
                else "null"
                if hours == NO_CROSSING
                else f'"{hour_text(first + hours)}{rest}'
                for hours in curve
            ]
        )

    def many(self, curve: np.ndarray, last_seen: np.ndarray) -> list[str]:
        """(n, L) curves that do not fall, of users whose last-seen is within a second.

        First as if each rung were reached whole hours after last-seen, all texts at once, byte by
        byte; then what is at the end of the session, and what is never, takes the place of that.
        """
        hour, within = np.divmod(last_seen, HOUR_MS)
        hours = hour[:, None] + np.where(curve == NO_CROSSING, 0, curve)
        rest = np.array([_within_hour(ms) + "Z" for ms in within.tolist()], "S")
        minutes = rest.view(np.uint8).reshape(len(rest), -1)
        table, first = _hour_table(
            int(hours.min()) // _HOURS_A_TABLE, int(hours.max()) // _HOURS_A_TABLE
        )
        rows = np.tile(self._row, (len(curve), 1))
        for column, at in enumerate(self._moments):
            rows[:, at : at + _HOUR_WIDTH] = table[hours[:, column] - first]
            rows[:, at + _HOUR_WIDTH : at + len(_SOME_MOMENT)] = minutes
        text, width = rows.tobytes().decode(), len(self._row)
        found = []
        for i, (at_once, reached, seen) in enumerate(
            zip(
                (curve == 0).sum(axis=1).tolist(),
                (curve != NO_CROSSING).sum(axis=1).tolist(),
                last_seen.tolist(),
                strict=True,
            )
        ):
            begins, ends = self._begins[at_once], self._begins[reached]
            rungs = text[i * width + begins : i * width + ends] + self._never[reached]
            if at_once:
                session_end = f'"{moment(seen + SESSION_GAP_MS)}Z"}},'
                rungs = session_end.join([*self._begun[:at_once], ""]) + rungs
            found.append(rungs[:-1])
        return found


@lru_cache(maxsize=4)
def _ladder(levels: tuple[float, ...]) -> _Ladder:
    return _Ladder(levels)


@lru_cache(maxsize=4)
def _hour_table(first: int, last: int) -> tuple[np.ndarray, int]:
    """(hours, 13) bytes of `hour_text` from one table's worth of hours to another's, and the first
    hour."""
    begins, ends = first * _HOURS_A_TABLE, (last + 1) * _HOURS_A_TABLE
    texts = np.datetime_as_string(np.arange(begins, ends).astype("M8[h]")).astype(f"S{_HOUR_WIDTH}")
    return texts.view(np.uint8).reshape(len(texts), -1), begins


@lru_cache(maxsize=HOURS_KEPT)
def hour_text(hour: int) -> str:
    """Hours since 1970 as date and hour."""
    return from_ms(hour * HOUR_MS).isoformat()[:_HOUR_WIDTH]


def _within_hour(ms: int) -> str:
    second, rest = divmod(ms, SECOND_MS)
    return f"{_WITHIN_HOUR[second]}.{rest:03d}000" if rest else _WITHIN_HOUR[second]
