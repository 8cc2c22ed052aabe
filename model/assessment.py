"""From a training's predictions and rows to what its page shows (`model.quality`)."""

from __future__ import annotations

from typing import Final

import numpy as np

from model.calibration import Predictions
from model.classifier import Classifier
from model.comparison import churn_of
from model.dataset import INSTANT, STRATA, Rows
from model.drift import Spread, bins_of, spread
from model.effect import wilson
from model.evaluation import CALIBRATION_BINS, calibration_error, calibration_floor
from model.evidence import Evidence
from model.features import FEATURES
from model.quality import (
    Bin,
    ConceptEffect,
    FeatureEffect,
    LiftPoint,
    Quality,
    Reliability,
)
from model.reasons import MEMBERS

ALL: Final = "all"
CONTACTED: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_DECIMALS: Final = 6


def assess(
    found: Predictions,
    stratum: np.ndarray,
    learned: Rows,
    full: Classifier,
    evidence: Evidence,
    *,
    seed: int,
) -> Quality:
    """found, stratum: (n,) walk-forward predictions and the kind of each. learned: what `full` was
    fitted to. evidence: whose sample is taken apart."""
    present = learned.moments.stratum == INSTANT
    if not present.any():  # labels somebody gave have no instants
        present = np.ones(len(learned.moments), bool)
    population = learned[present]
    spreads = [spread(column) for column in population.features.T]
    parts = {ALL: np.ones(len(stratum), bool)} | {
        name: stratum == i for i, name in enumerate(STRATA)
    }
    return Quality(
        reliability={
            name: _reliability(found.label[part], found.probability[part], seed)
            for name, part in parts.items()
            if part.any()
        },
        lift=_lift(found.label, found.probability),
        concepts=tuple(
            ConceptEffect(concept, moves, evidence.ablation.get(concept, 0.0))
            for concept, moves in sorted(evidence.effects.items(), key=lambda each: -each[1])
        ),
        features=_effects(spreads, evidence),
        scores=spread(churn_of(full, population.features)),
        moments=len(population.moments),
        users=len(np.unique(population.moments.user)),
    )


def _reliability(label: np.ndarray, probability: np.ndarray, seed: int) -> Reliability:
    order = np.argsort(probability, kind="stable")
    bins = []
    for part in np.array_split(order, CALIBRATION_BINS):
        if len(part):
            churned = int(label[part].sum())
            low, high = (float(end) for end in wilson(churned, len(part)))
            bins.append(
                Bin(
                    rows=len(part),
                    predicted=_shown(probability[part].mean()),
                    churned=_shown(churned / len(part)),
                    low=_shown(low),
                    high=_shown(high),
                )
            )
    return Reliability(
        rows=len(label),
        ece=_shown(calibration_error(label, probability)),
        floor=_shown(calibration_floor(probability, seed)),
        bins=tuple(bins),
    )


def _lift(label: np.ndarray, probability: np.ndarray) -> tuple[LiftPoint, ...]:
    caught = np.cumsum(label[np.argsort(-probability, kind="stable")])
    churned, rows = int(caught[-1]), len(label)
    if not churned:
        return ()
    points = []
    for share in CONTACTED:
        count = max(round(share * rows), 1)
        reached = int(caught[count - 1])
        points.append(
            LiftPoint(
                contacted=share,
                reached=_shown(reached / churned),
                lift=_shown(reached / count / (churned / rows)),
            )
        )
    return tuple(points)


def _effects(spreads: list[Spread], evidence: Evidence) -> tuple[FeatureEffect, ...]:
    concept_of = {name: str(concept) for concept, names in MEMBERS.items() for name in names}
    effects = []
    for i, (feature, found) in enumerate(zip(FEATURES, spreads, strict=True)):
        moves: float | None = None
        by_bin: tuple[float | None, ...] = ()
        when_missing: float | None = None
        if evidence.moved is not None:
            values, moved = evidence.values[:, i], evidence.moved[:, i]
            known = ~np.isnan(values)
            place = bins_of(values[known], found.cuts)
            moves = _shown(np.abs(moved).mean())
            by_bin = tuple(
                _mean(moved[known][place == number]) for number in range(len(found.rows))
            )
            when_missing = _mean(moved[~known])
        effects.append(
            FeatureEffect(
                feature.name, concept_of[feature.name], moves, found, by_bin, when_missing
            )
        )
    return tuple(sorted(effects, key=lambda each: -(each.moves or 0.0)))


def _mean(values: np.ndarray) -> float | None:
    return _shown(values.mean()) if len(values) else None


def _shown(value: float) -> float:
    return round(float(value), _DECIMALS)
