"""Log-odds taken apart: the parts add up, and what is not used has none."""

from __future__ import annotations

from copy import deepcopy
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from sklearn.ensemble import HistGradientBoostingClassifier

from model.calibration import Calibration, apply
from model.candidates import CANDIDATES, fitted
from model.contributions import Additive, additive
from model.tree_shap import TreeShap

DIRECTIONS = (1, -1, 0, 0, 1)
NEVER_STATED, CONSTANT = 3, 4
SHIPPED = [candidate for candidate in CANDIDATES if candidate.name != "rf"]


def training(seed: int, rows: int = 1_500) -> tuple[np.ndarray, np.ndarray]:
    """Rows with gaps, a column nobody stated and one that never varies."""
    rng = np.random.default_rng(seed)
    inputs = rng.gamma(1.5, 4.0, (rows, 5))
    inputs[:, CONSTANT] = 7.0
    odds = np.log1p(inputs[:, 0]) - np.log1p(inputs[:, 1]) + 0.1 * inputs[:, 2] - 0.5
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.uint8)
    inputs[rng.random(rows) < 0.2, 2] = np.nan
    inputs[:, NEVER_STATED] = np.nan
    return inputs, label


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda candidate: candidate.name)
def estimator(request: pytest.FixtureRequest) -> Any:
    """Each kind of estimator that may be shipped, fitted."""
    return fitted(request.param, DIRECTIONS, 0, *training(1))


def taken_apart(estimator: Any) -> Additive:
    parts = additive(estimator)
    assert parts is not None
    return parts


values = st.floats(-1e9, 1e9) | st.floats(0, 30) | st.just(np.nan)
rows = st.lists(st.lists(values, min_size=5, max_size=5), min_size=1, max_size=8).map(np.array)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_contributions_add_up_to_the_log_odds(estimator: Any, inputs: np.ndarray) -> None:
    """Base and contributions are the log-odds of the probability, whatever is in the row."""
    parts = taken_apart(estimator)

    log_odds = parts.base + parts.contributions(inputs).sum(axis=1)

    np.testing.assert_allclose(estimator.decision_function(inputs), log_odds, rtol=1e-12, atol=1e-6)
    probability = estimator.predict_proba(inputs)[:, 1]
    told = (probability > 1e-8) & (probability < 1 - 1e-8)  # a float cannot say more of the rest
    np.testing.assert_allclose(logit(probability[told]), log_odds[told], atol=1e-6)


def test_a_calibrated_estimator_adds_up_too(estimator: Any) -> None:
    """Calibration scales base and contributions alike."""
    calibrated = apply(deepcopy(estimator), Calibration("sigmoid", 0.7, -0.2))
    inputs = training(6, 40)[0]
    before, after = taken_apart(estimator), taken_apart(calibrated)

    log_odds = after.base + after.contributions(inputs).sum(axis=1)

    np.testing.assert_allclose(calibrated.decision_function(inputs), log_odds, atol=1e-6)
    np.testing.assert_allclose(0.7 * before.contributions(inputs), after.contributions(inputs))


@given(rows)
@settings(max_examples=60, deadline=None)
def test_what_is_not_used_contributes_nothing(estimator: Any, inputs: np.ndarray) -> None:
    """A column without a value, or without a second one, in training adds nothing later."""
    told = taken_apart(estimator).contributions(inputs)

    assert not told[:, [NEVER_STATED, CONSTANT]].any()


@given(rows, st.permutations(range(8)))
@settings(max_examples=30, deadline=None)
def test_contributions_do_not_depend_on_the_batch(
    estimator: Any, inputs: np.ndarray, order: list[int]
) -> None:
    """A row's contributions are the same to the bit alone, among others and in any order."""
    parts = taken_apart(estimator)
    order = [index for index in order if index < len(inputs)]
    together = parts.contributions(inputs[order])

    alone = np.concatenate([parts.contributions(inputs[[index]]) for index in order])

    assert alone.tobytes() == together.tobytes()


def test_a_directed_column_moves_its_own_contribution_only_one_way(estimator: Any) -> None:
    """More of a column that may only raise the risk never lowers what it contributes."""
    inputs = np.tile(training(2, 1)[0], (200, 1))
    inputs[:, 0] = np.linspace(0, 60, 200)

    told = taken_apart(estimator).contributions(inputs)[:, 0]

    assert (np.diff(told) >= -1e-12).all()
    assert told[0] < 0 < told[-1]


def test_the_forest_has_no_reasons() -> None:
    """What adds up in probability, not in log-odds, is not taken apart."""
    forest = next(candidate for candidate in CANDIDATES if candidate.name == "rf")

    assert additive(fitted(forest, DIRECTIONS, 0, *training(1, 200))) is None


def boosted(seed: int, leaves: int) -> HistGradientBoostingClassifier:
    inputs, label = training(seed, 400)
    trees = HistGradientBoostingClassifier(
        max_iter=4, max_leaf_nodes=leaves, min_samples_leaf=5, early_stopping=False
    )
    return trees.fit(np.nan_to_num(inputs[:, [0, 1, 2, 4]], nan=0.0), label)


@pytest.mark.parametrize("leaves", [2, 6, 40])
def test_tree_shap_is_the_shapley_value_of_the_path_dependent_game(leaves: int) -> None:
    """It equals the definition: the mean over all coalitions, each tree walked from its root."""
    trees = boosted(3, leaves)
    nodes = [tree.nodes for (tree,) in trees._predictors]
    rng = np.random.default_rng(4)
    inputs = rng.gamma(1.5, 4.0, (20, 4))
    inputs[rng.random(inputs.shape) < 0.2] = np.nan
    for node in nodes[0][nodes[0]["is_leaf"] == 0]:  # right on the edge of a split
        inputs[:10, node["feature_idx"]] = node["num_threshold"]

    told = TreeShap(nodes, 4).values(inputs)

    expected = np.array([[by_definition(nodes, row, j) for j in range(4)] for row in inputs])
    np.testing.assert_allclose(expected, told, atol=1e-12)


def test_long_paths_are_computed_like_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking answers up and computing them comes to the same."""
    nodes = [tree.nodes for (tree,) in boosted(3, 40)._predictors]
    inputs = training(5, 50)[0][:, [0, 1, 2, 4]]
    looked_up = TreeShap(nodes, 4).values(inputs)

    monkeypatch.setattr("model.tree_shap._TABLED", 0)

    np.testing.assert_allclose(looked_up, TreeShap(nodes, 4).values(inputs), atol=1e-14)


def by_definition(trees: list[np.ndarray], row: np.ndarray, feature: int) -> float:
    """Shapley's formula over every coalition of the other features."""
    others = [other for other in range(len(row)) if other != feature]
    total = 0.0
    for size in range(len(others) + 1):
        weight = factorial(size) * factorial(len(others) - size) / factorial(len(row))
        for chosen in combinations(others, size):
            with_it = sum(walk(nodes, 0, row, {*chosen, feature}) for nodes in trees)
            total += weight * (with_it - sum(walk(nodes, 0, row, set(chosen)) for nodes in trees))
    return total


def walk(nodes: np.ndarray, at: int, row: np.ndarray, known: set[int]) -> float:
    """Lundberg et al. 2018, algorithm 1: the tree's value given the known features."""
    node = nodes[at]
    if node["is_leaf"]:
        return float(node["value"])
    left, right = int(node["left"]), int(node["right"])
    value = row[node["feature_idx"]]
    if int(node["feature_idx"]) in known:
        goes_left = (
            node["missing_go_to_left"] if np.isnan(value) else value <= node["num_threshold"]
        )
        return walk(nodes, left if goes_left else right, row, known)
    share = float(nodes[left]["count"] / node["count"])
    return share * walk(nodes, left, row, known) + (1 - share) * walk(nodes, right, row, known)
