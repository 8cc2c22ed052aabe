"""From a probability to the answer people ask for."""

from __future__ import annotations

from typing import Literal

from contracts.scores import DECIMALS


def verdict(probability: float, cutoff: float) -> tuple[Literal["0", "1"], float]:
    """The predicted class ("1": churns) and the model's probability of it."""
    if probability >= cutoff:
        return "1", probability
    return "0", round(1 - probability, DECIMALS)
