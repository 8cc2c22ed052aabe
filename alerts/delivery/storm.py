"""The storm guard: when a large share of the users crosses at once, that is one incident.

Pure. A storm begins when the share of users who opened an episode within the window reaches the
policy's, and clears when it has fallen below half of it: a share that dances about the threshold is
one storm, not many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Final, Literal

import msgspec

from alerts.delivery.channels_config import Storm
from alerts.delivery.rows import Crossing
from contracts.storms import Order, StormState
from contracts.times import MINUTE_MS

CLEARS_BELOW: Final = 0.5
"""Of the share that began it."""
DROP: Final = 0.5
"""Less than this of the usual volume is a drop."""
CONCENTRATED: Final = 0.8
"""One value with at least this share of the crossings names a source..."""
UNUSUAL: Final = 1.5
"""...if that is so many times its share among earlier crossings."""
LEAST_EARLIER: Final = 10
"""Fewer earlier crossings say nothing of what is usual."""

Action = Literal["begin", "clear", "release", "discard"]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the window that ends now."""

    crossed: int
    """Users who opened an episode within the window."""
    active: int
    """Users with a risk."""

    @property
    def share(self) -> float:
        # Who crossed was active, whatever the ranks say meanwhile.
        return self.crossed / max(self.active, self.crossed, 1)


def holds(state: StormState | None) -> bool:
    """Whether openings are held."""
    return state is not None and not state.overruled


def step(state: StormState | None, seen: Seen, rules: Storm, order: Order | None) -> Action | None:
    """What happens now: a storm begins, clears, or a person decides about what is held."""
    if state is None:
        if order is not None:
            return order
        many = seen.crossed >= rules.least_users and seen.share >= rules.share
        return "begin" if many else None
    if order is not None:
        return order
    below = seen.share < rules.share * CLEARS_BELOW or seen.crossed < rules.least_users
    return "clear" if below else None


def window_ms(rules: Storm) -> int:
    return rules.window_minutes * MINUTE_MS


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one partition within the last window, and usually within one as long."""

    latest: float
    usual: float | None
    """None: not watched for long enough."""


def likely_cause(
    crossed: Collection[Crossing],
    earlier: Collection[Crossing],
    volumes: Mapping[int, Volume],
) -> str:
    """In words, the most likely cause of a storm; the first that fits.

    crossed, earlier: the openings of the window, and those before. volumes: by partition of
    `activity-event`.
    """
    if said := _volume_drop(volumes):
        return said
    if said := _new_model(crossed, earlier):
        return said
    if said := _one_source(crossed, earlier):
        return said
    return (
        "No likely cause was found: the events flow as usual, the model is the same, and the users "
        "have nothing unusual in common. It may be real."
    )


def _volume_drop(volumes: Mapping[int, Volume]) -> str:
    known = {number: v for number, v in volumes.items() if v.usual is not None and v.usual > 0}
    usual = sum(v.usual or 0.0 for v in known.values())
    latest = sum(v.latest for v in known.values())
    if not usual:
        return ""
    silent = sorted(number for number, v in known.items() if v.latest == 0)
    if silent and len(silent) < len(known) and latest >= DROP * usual:
        places = ", ".join(map(str, silent))
        return (
            f"One source fell silent: partition {places} of activity-event received nothing, "
            "the others as much as usual. Look at what writes there."
        )
    if latest < DROP * usual:
        return (
            f"Fewer events arrive: {latest:.0f} in the last window, usually {usual:.0f} "
            f"({latest / usual:.0%}). Users who are merely not heard of look as if they had left. "
            "Look at the feed."
        )
    return ""


def _new_model(crossed: Collection[Crossing], earlier: Collection[Crossing]) -> str:
    versions = Counter(one.model_version for one in crossed)
    if not versions:
        return ""
    version, count = versions.most_common(1)[0]
    before = {one.model_version for one in earlier}
    if before and version not in before and count >= CONCENTRATED * len(crossed):
        return (
            f"A new model: {count} of {len(crossed)} openings come from model {version}, which no "
            "alert before came from. Compare it with the one before, or go back to that."
        )
    return ""


def _one_source(crossed: Collection[Crossing], earlier: Collection[Crossing]) -> str:
    if len(earlier) < LEAST_EARLIER:
        return ""
    names = {
        "device_type": "device type",
        "referral_source": "referral source",
        "location": "location",
        "plan": "plan",
    }
    for field, words in names.items():
        values = [getattr(one, field) for one in crossed]
        known = Counter(value for value in values if value)
        if not known:
            continue
        value, count = known.most_common(1)[0]
        share = count / len(crossed)
        usual = sum(getattr(one, field) == value for one in earlier) / len(earlier)
        if share >= CONCENTRATED and share >= UNUSUAL * usual:
            return (
                f"One source fell silent: {share:.0%} of these users have the {words} {value}, of "
                f"earlier alerts {usual:.0%}. Look at whether its events still arrive."
            )
    return ""


def volumes(
    samples: Sequence[tuple[int, Mapping[int, int]]], now_ms: int, window: int
) -> dict[int, Volume]:
    """Volumes by partition from samples of the topic's end offsets.

    samples: (epoch ms, end offset by partition), oldest first. The usual volume is the median of
    the earlier windows that the samples cover wholly; an offset that went back begins anew. Samples
    of later than `now_ms` are of another time: the log, or the clock, has begun anew since.
    """
    samples = [sample for sample in samples if sample[0] <= now_ms]
    if not samples:
        return {}
    backs = range(_windows(samples, now_ms, window))
    ends = [_at(samples, now_ms - back * window) for back in backs]
    found: dict[int, Volume] = {}
    for partition in ends[0]:
        counts = [_grown(after, before, partition) for after, before in pairwise(ends)]
        if not counts or counts[0] is None:
            continue
        earlier = [count for count in counts[1:] if count is not None]
        usual = float(median(earlier)) if earlier else None
        found[partition] = Volume(latest=float(counts[0]), usual=usual)
    return found


WINDOWS: Final = 24
"""How many windows back the usual volume is taken from."""


def _windows(samples: Sequence[tuple[int, Mapping[int, int]]], now_ms: int, window: int) -> int:
    covered = (now_ms - samples[0][0]) // window
    return int(min(covered, WINDOWS)) + 1


def _at(samples: Sequence[tuple[int, Mapping[int, int]]], moment: int) -> Mapping[int, int]:
    """The last sample taken by then, or the first."""
    latest = samples[0][1]
    for at, offsets in samples:
        if at > moment:
            break
        latest = offsets
    return latest


def _grown(after: Mapping[int, int], before: Mapping[int, int], partition: int) -> int | None:
    """Records between two samples, None where one does not know or the log began anew."""
    if partition not in after or partition not in before:
        return None
    grown = after[partition] - before[partition]
    return grown if grown >= 0 else None
