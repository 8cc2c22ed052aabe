"""`top N a day`: the probability above which about so many episodes would open.

Counted is how often users in their silence come to be at or above each of 99 levels, with a
half-life of a week. The lowest level that is reached no oftener than N times a day is the cut.
Since silence is scored at the rungs of a ladder, many reach the same level at once: of those who
come to be one level below the cut, a share drawn by hash makes up for what is missing to N.

Approximate, on purpose: the past week is not today, and who is held back by a cooldown is not
counted. The state is bounded, and the same scores in the same order give the same cuts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import log
from typing import Final

import msgspec

from contracts.errors import Misconfigured
from contracts.times import DAY_MS

LEVELS: Final = tuple(percent / 100 for percent in range(1, 100))
HALF_LIFE_DAYS: Final = 7.0
LEAST_DAYS: Final = 1.0
"""Watched for less, nobody knows what a day brings, and the rule's own threshold serves."""
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Cut:
    """Who is among the top: all from `level` on, and a share of those between `lower` and it."""

    level: float
    lower: float
    share: float

    def takes(self, probability: float, draw: str) -> bool:
        """Whether a probability is high enough; `draw` stands for the occasion."""
        if probability >= self.level:
            return True
        return probability >= self.lower and _fraction(draw) < self.share


def at(threshold: float) -> Cut:
    """A plain threshold."""
    return Cut(threshold, threshold, 0.0)


class Crossings(msgspec.Struct, array_like=True):
    """How often each level was reached, of one rule in one partition."""

    began: int | None = None
    """Moment of the first score, epoch ms."""
    at: int = 0
    """Moment up to which the counts have faded."""
    counts: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(LEVELS))

    def watch(self, now_ms: int) -> None:
        """Let time pass, which never goes back."""
        if self.began is None:
            self.began = self.at = now_ms
        passed = now_ms - self.at
        if passed > 0:
            kept = 0.5 ** (passed / DAY_MS / HALF_LIFE_DAYS)
            self.counts = [count * kept for count in self.counts]
            self.at = now_ms

    def count(self, below: float, reached: float) -> None:
        """A user was below every level above `below`, and comes to be at `reached`."""
        for i, level in enumerate(LEVELS):
            if below < level <= reached:
                self.counts[i] += 1.0

    def cut(self, a_day: float, first: float, floor: float) -> Cut:
        """Where about `a_day` users pass; never below `floor`, and `first` on the first day."""
        if self.began is None or self.at - self.began < LEAST_DAYS * DAY_MS:
            return at(max(first, floor))
        watched = (self.at - self.began) / DAY_MS
        # A day counts less the longer it is past: so many whole days the counts stand for.
        days = (1 - 0.5 ** (watched / HALF_LIFE_DAYS)) * HALF_LIFE_DAYS / log(2)
        above = (floor, self.counts[0] / days)
        for level, count in zip(LEVELS, self.counts, strict=True):
            if level < floor:
                above = (floor, count / days)
                continue
            rate = count / days
            if rate <= a_day:
                lower, oftener = above
                if lower >= level or oftener <= a_day:
                    return at(level)
                return Cut(level, lower, (a_day - rate) / (oftener - rate))
            above = (level, rate)
        return Cut(1.0, above[0], a_day / above[1])


class Tops(msgspec.Struct, array_like=True):
    """The crossings of all rules in one partition, and the last score they know of."""

    log: int = 0
    offset: int = 0
    """Of `churn-score`: the next record that counts."""
    rules: dict[str, Crossings] = msgspec.field(default_factory=dict)

    def of(self, rule: str) -> Crossings:
        """The crossings of one rule."""
        return self.rules.setdefault(rule, Crossings())


Cuts = Mapping[str, Cut]
"""By name of the rules that ask for so many a day."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Tops)


def encode(tops: Tops) -> bytes:
    """Return a version byte and the state as msgpack, about 900 bytes a rule."""
    return bytes([VERSION]) + _encoder.encode(tops)


def decode(stored: bytes) -> Tops:
    """Read what `encode` wrote; raises Misconfigured for anything else."""
    if stored[:1] != bytes([VERSION]):
        raise Misconfigured("Redis holds the counts of a `top` rule in another release's form")
    try:
        return _decoder.decode(memoryview(stored)[1:])
    except msgspec.MsgspecError as error:
        raise Misconfigured(
            f"Redis holds counts of a `top` rule that cannot be read ({error}): delete the key "
            "to begin anew"
        ) from error


def _fraction(draw: str) -> float:
    return float(int.from_bytes(sha256(draw.encode()).digest()[:8]) / 2**64)
