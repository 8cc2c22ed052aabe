"""The JSON of a batch of scores, column by column.

A score goes out for nearly every event, and building one from structs costs more than reading the
event does. What is here gives the bytes `contracts.scores.encode_score` would, which the tests
hold it to: values become text through the same encoder, moments from shared texts of their hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from contracts.record import NO_CROSSING
from contracts.scores import DECIMALS
from contracts.times import HOUR_MS, NEVER, SECOND_MS, SESSION_GAP_MS, from_ms

HOURS_KEPT = 65_536

_encoder = msgspec.json.Encoder()
_WITHIN_HOUR = [f":{second // 60:02d}:{second % 60:02d}" for second in range(HOUR_MS // SECOND_MS)]


def json_text(value: Any) -> str:
    """The value as JSON."""
    return _encoder.encode(value).decode()


def numbers(column: np.ndarray | list[float]) -> list[str]:
    """Numbers or booleans, each as JSON; NaN is null."""
    values = column.tolist() if isinstance(column, np.ndarray) else column
    return json_text(values)[1:-1].split(",")


def repeated(values: Iterable[Any]) -> list[str]:
    """Each value as JSON, for hashable values of which many are equal."""
    values = list(values)
    texts = {value: json_text(value) for value in set(values)}
    return [texts[value] for value in values]


def moment(ms: int) -> str:
    """Epoch ms as ISO 8601 in UTC without its zone, in microseconds unless they are 0."""
    hour, within = divmod(ms, HOUR_MS)
    return hour_text(hour) + _within_hour(within)


def moments(column: np.ndarray) -> list[str]:
    """(n,) epoch ms, each as JSON; NEVER is null."""
    return ["null" if ms == NEVER else f'"{moment(ms)}Z"' for ms in column.tolist()]


def crossings(levels: np.ndarray, curve: np.ndarray, last_seen: np.ndarray) -> list[str]:
    """(n, L) curves as what is between the brackets of `crossings`.

    See `model.silence.crossing_times`. Users never seen have no curve, whatever theirs says.
    """
    form = _ladder(tuple(levels.tolist()))
    return [
        "" if seen == NEVER else form % _rungs(hours, seen)
        for hours, seen in zip(curve.tolist(), last_seen.tolist(), strict=True)
    ]


def _rungs(curve: list[int], last_seen: int) -> tuple[str, ...]:
    first, within = divmod(last_seen, HOUR_MS)
    # Whole hours later it is as many minutes past the hour.
    rest = _within_hour(within) + 'Z"'
    session_end = f'"{moment(last_seen + SESSION_GAP_MS)}Z"'
    return tuple(
        [
            session_end
            if not hours
            else "null"
            if hours == NO_CROSSING
            else f'"{hour_text(first + hours)}{rest}'
            for hours in curve
        ]
    )


@lru_cache(maxsize=4)
def _ladder(levels: tuple[float, ...]) -> str:
    """The crossings of a model's levels with a place for each moment."""
    return ",".join(f'{{"level":{json_text(round(level, DECIMALS))},"at":%s}}' for level in levels)


@lru_cache(maxsize=HOURS_KEPT)
def hour_text(hour: int) -> str:
    """Hours since 1970 as date and hour."""
    return from_ms(hour * HOUR_MS).isoformat()[: len("2026-01-01T00")]


def _within_hour(ms: int) -> str:
    second, rest = divmod(ms, SECOND_MS)
    return f"{_WITHIN_HOUR[second]}.{rest:03d}000" if rest else _WITHIN_HOUR[second]
