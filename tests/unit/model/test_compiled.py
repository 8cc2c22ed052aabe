"""The compiled form of an estimator answers as the estimator does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline

from contracts.errors import ArtefactMismatch
from model.candidates import CANDIDATES, fitted
from model.compiled import Compiled
from model.compiling import compiled
from model.estimators import BlankUnstated, BoundedLogisticRegression

ROWS, COLUMNS = 3_000, 6


def population(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows of every size, a tenth of their values missing, one column never stated."""
    random = np.random.default_rng(seed)
    rows = np.sign(random.normal(size=(ROWS, COLUMNS))) * random.lognormal(0, 3, (ROWS, COLUMNS))
    label = (rows[:, 0] + rows[:, 1] > random.normal(0, 3, ROWS)).astype(int)
    rows[random.random(rows.shape) < 0.1] = np.nan
    rows[:, 5] = np.nan
    return rows, label


@pytest.mark.parametrize("candidate", [c for c in CANDIDATES if c.is_shipped], ids=lambda c: c.name)
def test_every_shipped_candidate_has_a_compiled_form_with_the_same_log_odds(candidate):
    """To 1e-9, on rows it was fitted to and on others, in a batch and alone."""
    rows, label = population()
    estimator = fitted(candidate, [1, 1, 0, -1, 0, 0], 3, rows, label)
    graph = Compiled(compiled(estimator))
    others, _ = population(seed=2)
    others[:, 5] = np.arange(ROWS)
    for batch in (rows, others):
        expected = logit(estimator.predict_proba(batch)[:, 1])
        assert np.abs(expected - graph.log_odds(batch)).max() < 1e-9
        assert np.abs(expected[7] - graph.log_odds(batch[7:8])).max() < 1e-9


def test_values_on_a_split_go_where_the_tree_sends_them():
    """Thresholds are compared in float64: a value that is the threshold goes left, the next not."""
    rows = np.repeat(np.arange(40.0), 20)[:, None] + 1e-9
    label = (rows[:, 0] > 17.5).astype(int)
    trees = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5).fit(rows, label)
    thresholds = np.concatenate(
        [p.nodes["num_threshold"][p.nodes["is_leaf"] == 0] for (p,) in trees._predictors]
    )
    edges = np.concatenate([thresholds, np.nextafter(thresholds, np.inf)])[:, None]
    expected = trees.predict_proba(edges)[:, 1]
    assert np.abs(expected - Compiled(compiled(trees)).probability(edges)).max() < 1e-12


def test_trees_that_never_split_give_every_row_the_base_rate():
    """Nothing to learn is a model too."""
    rows, label = np.zeros((100, 2)), np.arange(100) % 4 == 0
    trees = HistGradientBoostingClassifier(max_iter=3).fit(rows, label)
    rows[3] = np.nan
    answer = Compiled(compiled(trees)).probability(rows)
    assert (100,) == answer.shape
    assert np.abs(0.25 - answer).max() < 1e-9


def test_a_linear_model_without_missing_values_has_no_flags():
    """A complete population compiles to the coefficients alone."""
    random = np.random.default_rng(5)
    rows = random.normal(size=(500, 3))
    linear = BoundedLogisticRegression().fit(rows, rows[:, 0] > 0)
    expected = linear.decision_function(rows)
    assert np.abs(expected - Compiled(compiled(linear)).log_odds(rows)).max() < 1e-12


def test_an_estimator_that_is_not_shipped_has_no_compiled_form():
    """The forest is compared, not served."""
    rows, label = np.random.default_rng(0).normal(size=(50, 2)), np.arange(50) % 2
    forest = RandomForestClassifier(3).fit(rows, label)
    assert compiled(forest) is None
    assert compiled(Pipeline([("blank", BlankUnstated().fit(rows)), ("forest", forest)])) is None


def test_bytes_that_are_no_graph_are_refused():
    """With the library's own words, as a mismatch of the artefact."""
    with pytest.raises(ArtefactMismatch, match="not a graph"):
        Compiled(b"not a graph")


def test_running_a_graph_leaves_nothing_in_the_home_of_whoever_runs_it(tmp_path):
    """onnxruntime reports nothing to its makers and keeps no database for it."""
    rows = np.random.default_rng(5).normal(size=(500, 3))
    linear = BoundedLogisticRegression().fit(rows, rows[:, 0] > 0)
    (tmp_path / "graph.onnx").write_bytes(compiled(linear))
    home = tmp_path / "home"
    home.mkdir()
    run = (
        "import sys, numpy; from model.compiled import Compiled;"
        "Compiled(open(sys.argv[1], 'rb').read()).log_odds(numpy.zeros((1, 3)))"
    )
    subprocess.run(
        [sys.executable, "-c", run, str(tmp_path / "graph.onnx")],
        check=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=Path(__file__).parents[3],
    )

    assert [] == list(home.rglob("*"))
