"""Users by risk band, now and over time, as they are stored: fields of hashes.

A *tally* counts the users of one shard of a partition; it moves in the same save as their trails.
A partition's *population* is the sum of its tallies, with what became of it hour by hour.

| field | in | holds |
|---|---|---|
| `now` | both | `TallyNow`, `PopulationNow` |
| `s<day>` | tally | users last seen on that UTC day, by cell: whom expiry takes out together |
| `c<day>` | both | `Cohort`s of the day |
| `h<hour>` | population | `Closing` of an hour since 1970 |
| `d<day>` | population | `Closing` of a UTC day |
| `models` | population | `ModelMark`s, oldest first |

Counts are lists of `contracts.bands.CELLS` integers. Those of one partition may be below 0 after a
change of the partition count: users who moved count up here and down there. Their sum is right.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from contracts.errors import Misconfigured

NOW: Final = "now"
MODELS: Final = "models"

HOURS_KEPT: Final = 21 * 24
DAYS_KEPT: Final = 730
COHORT_DAYS_KEPT: Final = 180
MODELS_KEPT: Final = 32


class TallyNow(msgspec.Struct, array_like=True):
    """The users of a shard, by cell."""

    counts: list[int]
    gone: int
    """Users last seen on this UTC day or before have expired and are in no count."""


class PopulationNow(msgspec.Struct, array_like=True):
    """The users of a partition, by cell, and the hour and day under way."""

    clock: int
    """How far time has come, epoch ms."""
    log: int
    offset: int
    """The next record of `churn-score` to count."""
    counts: list[int]
    scored_at: int
    """The latest moment of a score, epoch ms."""
    activity: int = 0
    scores: int = 0
    """Since the hour began: scores because somebody did something, and scores."""
    day_activity: int = 0
    day_scores: int = 0
    lapsed: list[int] = []
    """Of `counts`, those who had lapsed when the UTC day began; [] before any model was met."""


class Closing(msgspec.Struct, array_like=True):
    """How an hour or a day ended, and what it brought."""

    counts: list[int]
    activity: int
    scores: int
    lapsed: list[int] = []
    """Of `counts`."""


class Cohort(msgspec.Struct, array_like=True):
    """Users scored on a day, who stood in a cell when it ended, and how many of them came back.

    Whoever has not come back within the horizon has stayed away: nothing is to be done about them.
    """

    horizon: int
    """Days."""
    cell: int
    users: int
    returned: int
    unknown: int
    """Who came back, but perhaps not for the first time: too much was read at once to tell. Days
    with many of them say nothing, for who stayed away is never among them."""
    late: int = 0
    """Scores of the day that were told after it had ended, because more than the day was read at
    once. They are of users who did nothing more in what was read, so they are no standings: days
    with many of them are known in part."""


class ModelMark(msgspec.Struct, array_like=True):
    """From when on a model made the scores."""

    at: int
    """Epoch ms."""
    version: str
    origin: str
    horizon: int


def hour_field(hour: int) -> str:
    return f"h{hour}"


def day_field(day: int) -> str:
    return f"d{day}"


def cohort_field(day: int) -> str:
    return f"c{day}"


def seen_field(day: int) -> str:
    return f"s{day}"


T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()


def pack(value: object) -> bytes:
    """Any of the above, as it is stored."""
    return _encoder.encode(value)


def unpack(stored: bytes, kind: type[T]) -> T:
    """The inverse; raises Misconfigured for what another release wrote."""
    try:
        return msgspec.msgpack.decode(stored, type=kind)
    except msgspec.MsgspecError as error:
        raise Misconfigured(
            f"Redis holds population counts that cannot be read ({error}): run the release that "
            "wrote them or a newer one, or delete the keys `ebb:{*}:h*` and start the history anew"
        ) from error
