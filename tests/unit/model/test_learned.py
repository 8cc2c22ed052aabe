"""What a model learned is read without what it was learned with."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest

from model.artefact import ALLOWED, FULL_GRAPH, INPUTS_GRAPH, load, save
from model.candidates import CANDIDATES, fitted
from model.compiling import compiled
from model.contributions import additive
from model.features import FEATURES, PREDICT_INPUTS
from model.learned import learned
from tests.unit.ingest_api.stand import a_model

SHIPPED = [candidate for candidate in CANDIDATES if candidate.name in ("lr", "hgb")]


def fit(candidate, view, seed=3):
    """A candidate on made-up rows of that many columns, some values missing."""
    random = np.random.default_rng(seed)
    rows = random.gamma(1.0, 20.0, (600, len(view)))
    rows[random.random(rows.shape) < 0.1] = np.nan
    label = (np.nan_to_num(rows[:, 0]) + random.normal(0, 8, 600) > 15).astype(np.uint8)
    return fitted(candidate, [feature.direction for feature in view], 0, rows, label), rows


@pytest.mark.parametrize("candidate", SHIPPED, ids=lambda candidate: candidate.name)
def test_contributions_are_the_same_to_the_bit(candidate):
    """
    Reasons do not depend on whether scikit-learn was there to give them.
    """
    estimator, rows = fit(candidate, PREDICT_INPUTS)
    whole = additive(estimator)
    parts = additive(learned(pickle.dumps(estimator, protocol=5), ALLOWED))

    assert whole.base == parts.base
    np.testing.assert_array_equal(whole.contributions(rows), parts.contributions(rows))


def test_names_that_are_no_part_of_a_model_are_refused():
    """
    The list of what a pickle may look up holds for this way of reading it, too.
    """
    with pytest.raises(pickle.UnpicklingError, match="OrderedDict"):
        learned(pickle.dumps(OrderedDict(a=1)), ALLOWED)


@pytest.mark.parametrize("candidate", SHIPPED, ids=lambda candidate: candidate.name)
def test_a_compiled_model_explains_without_importing_scikit_learn(candidate, tmp_path):
    """
    A gateway that never calls it is spared seconds of processor time as it starts.
    """
    full, _ = fit(candidate, FEATURES)
    inputs, _ = fit(candidate, PREDICT_INPUTS)
    graphs = {FULL_GRAPH: compiled(full), INPUTS_GRAPH: compiled(inputs)}
    save(tmp_path, a_model().manifest, full=full, inputs=inputs, graphs=graphs)
    program = (
        "import sys, pathlib, numpy as np\n"
        "from model.artefact import load\n"
        "from model.reasons import Explainer\n"
        "explainer = Explainer(load(pathlib.Path(sys.argv[1])))\n"
        "explainer.prepare()\n"
        "assert explainer.of_inputs(np.array([[12, 180.5, 10, 1.0]])) is not None\n"
        "print(sorted(m for m in ('sklearn', 'scipy') if m in sys.modules))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "[]" == told.strip()


@pytest.mark.parametrize("candidate", SHIPPED, ids=lambda candidate: candidate.name)
def test_one_row_scores_as_it_does_among_many(candidate, tmp_path):
    """
    The way for a single row gives the same number to the bit, compiled or not.
    """
    full, _ = fit(candidate, FEATURES)
    inputs, rows = fit(candidate, PREDICT_INPUTS)
    graphs = {FULL_GRAPH: compiled(full), INPUTS_GRAPH: compiled(inputs)}
    for found in (graphs, {}):
        save(tmp_path, a_model().manifest, full=full, inputs=inputs, graphs=found)
        model = load(tmp_path)
        some = rows if found else rows[:20]

        assert model.score_inputs(some).tolist() == [model.score_one(row[None]) for row in some]
