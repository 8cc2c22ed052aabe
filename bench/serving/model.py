"""A model that costs what a served model costs: boosting of 200 iterations, for both estimators.

What it learned is beside the point here; the labels are a formula. Shape and size are what the
comparison is about, and every server compared serves this same pickle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from contracts.activity import FoldRules
from model.artefact import FULL_GRAPH, INPUTS_GRAPH, Manifest, Model, Period, save, spread_levels
from model.compiling import compiled
from model.estimators import BlankUnstated
from model.features import FEATURES, PREDICT_INPUTS
from model.figures import Figures

ITERATIONS = 200
ROWS = 20_000
GRID_HOURS = (1, 2, 4, 8, 12, *range(24, 28 * 24 + 1, 12))


def write(folder: Path, *, iterations: int = ITERATIONS) -> Model:
    """Fit and save it; a few seconds."""
    random = np.random.default_rng(5)
    unused = Figures(0, 0.5, 0.5, 0.5, 0.25, 0.7, 0.0, 1.0)
    day = Period("2026-01-01T00:00:00Z", "2026-06-30T23:59:59Z")
    manifest = Manifest(
        origin="simulator",
        candidate="hgb",
        chosen_because="the benchmark's",
        features=tuple(feature.name for feature in FEATURES),
        predict_inputs=tuple(feature.name for feature in PREDICT_INPUTS),
        horizon_days=14,
        active_days=30,
        levels=spread_levels(np.linspace(0.05, 0.95, 16).tolist()),
        grid_hours=GRID_HOURS,
        fold_rules=FoldRules().digest,
        seed=5,
        log=day,
        training=day,
        fitted_until=day.end,
        validated_from=day.end,
        rows={"total": ROWS},
        rows_sha256="",
        candidates={},
        predict=unused,
    )
    full = _boosting([feature.direction for feature in FEATURES], iterations, random)
    inputs = _boosting([feature.direction for feature in PREDICT_INPUTS], iterations, random)
    graphs = {FULL_GRAPH: compiled(full), INPUTS_GRAPH: compiled(inputs)}
    found = {name: graph for name, graph in graphs.items() if graph is not None}
    return save(folder, manifest, full=full, inputs=inputs, graphs=found)


def _boosting(directions: list[int], iterations: int, random: np.random.Generator) -> Pipeline:
    rows = random.lognormal(2.0, 1.5, (ROWS, len(directions)))
    odds = (np.log(rows) - 2.0) @ np.where(np.array(directions) == 0, 0.3, directions)
    label = odds > random.logistic(0, 2.0, ROWS)
    trees = HistGradientBoostingClassifier(
        max_iter=iterations, early_stopping=False, monotonic_cst=directions, random_state=5
    )
    return Pipeline([("blank", BlankUnstated()), ("trees", trees)]).fit(rows, label)
