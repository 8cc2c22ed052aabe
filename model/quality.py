"""What is known of a model's predictions, kept beside it for the page that shows it."""

from __future__ import annotations

import msgspec

from model.drift import Spread


class Bin(msgspec.Struct, frozen=True):
    """A part of the predictions, of those next to one another in risk."""

    rows: int
    predicted: float
    """Their mean."""
    churned: float
    """Share of them."""
    low: float
    high: float
    """95 % interval of that share (Wilson 1927), rows taken as independent."""


class Reliability(msgspec.Struct, frozen=True):
    """Whether probabilities are right, in bins of equal mass."""

    rows: int
    ece: float
    """Mean distance between predicted and churned."""
    floor: float
    """What a perfect model would show on so many rows, by chance."""
    bins: tuple[Bin, ...]


class LiftPoint(msgspec.Struct, frozen=True):
    """What contacting the riskiest share of users would reach."""

    contacted: float
    reached: float
    """Of all who churned."""
    lift: float
    """Churn among them over churn among all."""


class ConceptEffect(msgspec.Struct, frozen=True):
    """What features of one kind do together."""

    concept: str
    moves: float
    """Mean absolute log-odds; 0.7 doubles or halves the odds."""
    saves: float
    """Log loss of a logistic regression without it, minus with it, on the last period."""


class FeatureEffect(msgspec.Struct, frozen=True):
    """What one feature does, and how its values are spread among active users of the training."""

    name: str
    concept: str
    moves: float | None
    """Mean absolute log-odds; null: the model's log-odds are no sum of features."""
    spread: Spread
    by_bin: tuple[float | None, ...]
    """Mean log-odds it adds in each bin, null where the sample has none; () without `moves`."""
    when_missing: float | None


class Quality(msgspec.Struct, frozen=True):
    """Of walk-forward predictions: each for a time later than anything its estimator had seen."""

    reliability: dict[str, Reliability]
    """`all`, and by kind of moment."""
    lift: tuple[LiftPoint, ...]
    concepts: tuple[ConceptEffect, ...]
    features: tuple[FeatureEffect, ...]
    scores: Spread
    """The shipped model's scores of those active users: what live ones are set against."""
    moments: int
    """How many moments the spreads are of."""
    users: int
