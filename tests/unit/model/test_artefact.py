"""A model is checked before its pickle is opened, and only opened as far as a model needs."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st

from contracts.activity import FoldRules
from contracts.errors import ArtefactMismatch, Misconfigured
from contracts.record import LEVELS, blank_facts
from contracts.times import DAY_MS
from model.artefact import (
    MANIFEST_FILE,
    MODEL_FILE,
    QUALITY_FILE,
    REPORT_FILE,
    Beside,
    Manifest,
    Model,
    Period,
    load,
    load_beside,
    require_rules,
    save,
    spread_levels,
)
from model.candidates import CANDIDATES, Candidate, fitted
from model.drift import Spread
from model.evaluation import figures
from model.features import FEATURES, PREDICT_INPUTS
from model.quality import Quality

PERIOD = Period("2025-01-01T00:00:00Z", "2025-06-30T00:00:00Z")
MANIFEST = Manifest(
    origin="a test",
    candidate="lr",
    chosen_because="it is a test",
    features=tuple(feature.name for feature in FEATURES),
    predict_inputs=tuple(feature.name for feature in PREDICT_INPUTS),
    horizon_days=14,
    active_days=30,
    levels=tuple(round(0.05 * step, 6) for step in range(1, LEVELS + 1)),
    grid_hours=(1, 2, 24, 1440),
    fold_rules=FoldRules().digest,
    seed=0,
    log=PERIOD,
    training=PERIOD,
    fitted_until="2025-05-01T00:00:00Z",
    validated_from="2025-05-15T00:00:00Z",
    rows={"total": 400},
    rows_sha256="0" * 64,
    candidates={},
    predict=figures(np.array([0, 1]), np.array([0.2, 0.8])),
)


def estimators(candidate: Candidate) -> dict[str, Any]:
    """Both estimators, fitted to noise with a little signal and holes."""
    rng = np.random.default_rng(4)
    label = (rng.random(400) < 0.4).astype(np.uint8)
    found = {}
    for name, columns in (("full", FEATURES), ("inputs", PREDICT_INPUTS)):
        inputs = rng.gamma(2.0, 5.0, (400, len(columns))) + label[:, None]
        inputs[rng.random(inputs.shape) < 0.1] = np.nan
        directions = [column.direction for column in columns]
        found[name] = fitted(candidate, directions, 0, inputs, label)
    return found


@pytest.fixture(scope="module")
def logistic() -> dict[str, Any]:
    return estimators(CANDIDATES[0])


@pytest.fixture
def folder(tmp_path: Path, logistic) -> Path:
    save(tmp_path, MANIFEST, **logistic)
    return tmp_path


def rewrite(folder: Path, **changes: object) -> None:
    """Change fields of the manifest on disk."""
    content = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes())
    (folder / MANIFEST_FILE).write_bytes(msgspec.json.encode(content | changes))


def plant(folder: Path, content: bytes) -> None:
    """Put another pickle there, with a manifest that vouches for it."""
    (folder / MODEL_FILE).write_bytes(content)
    rewrite(folder, sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_every_candidate_survives_the_disk(tmp_path, candidate):
    """
    Whatever was chosen, the model read back scores as the one written, bit for bit.
    """
    written = save(tmp_path, MANIFEST, **estimators(candidate))
    read = load(tmp_path, trusted_sha256=written.manifest.sha256)
    facts, as_of = blank_facts(5), np.arange(5) * DAY_MS
    inputs = np.array([[12, 180.5, 10, 1], [np.nan] * 4])

    assert written.manifest == read.manifest
    np.testing.assert_array_equal(written.score(facts, as_of), read.score(facts, as_of))
    np.testing.assert_array_equal(written.score_inputs(inputs), read.score_inputs(inputs))


def test_what_the_scorer_and_the_gateway_read(folder):
    """
    The model tells version, origin, horizon, cut-off, ladder and grid from its manifest.
    """
    model = load(folder)

    assert model.version.startswith("lr-")
    assert model.manifest.sha256.startswith(model.version.removeprefix("lr-"))
    assert ("a test", 14, 0.5) == (model.origin, model.horizon_days, model.class_cutoff)
    assert (LEVELS,) == model.levels.shape
    assert [1, 2, 24, 1440] == model.grid_hours.tolist()
    assert 0 < model.hash < 2**32


def test_probabilities_have_six_decimals(folder):
    """
    Scores are rounded before anybody compares them.
    """
    scores = load(folder).score_inputs(np.array([[12, 180.5, 10, 1.0], [1, 2, 3, np.nan]]))

    assert np.round(scores, 6).tolist() == scores.tolist()
    assert ((scores > 0) & (scores < 1)).all()


def test_nobody_to_score_is_no_error(folder):
    """
    An empty batch gives an empty answer.
    """
    model = load(folder)

    assert 0 == len(model.score(blank_facts(0), np.empty(0, np.int64)))
    assert 0 == len(model.score_inputs(np.empty((0, 4))))


def test_the_ladder_cannot_be_changed_by_accident(folder):
    """
    Levels and grid are shared by everybody, so they are read-only.
    """
    with pytest.raises(ValueError, match="read-only"):
        load(folder).levels[0] = 0.5


def test_an_empty_folder_says_how_to_get_a_model(tmp_path):
    """
    No model there: the message names the command that makes one.
    """
    with pytest.raises(ArtefactMismatch, match=r"manifest\.json: .* `ebbtide train"):
        load(tmp_path)


def test_a_pickle_that_was_touched_is_not_opened(folder):
    """
    One byte more, and the digests disagree.
    """
    path = folder / MODEL_FILE
    path.write_bytes(path.read_bytes() + b".")

    with pytest.raises(ArtefactMismatch, match="do not belong together"):
        load(folder)


def test_a_model_the_deployment_does_not_trust_is_not_opened(folder):
    """
    Pickle and manifest may agree; the digest given from outside decides.
    """
    with pytest.raises(ArtefactMismatch, match="this deployment trusts abc"):
        load(folder, trusted_sha256="abc")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sklearn": "1.2.3"}, r"scikit-learn of the model: 1\.2, of this build"),
        ({"features": ["silent_days", "horoscope"]}, "features of the model: horoscope"),
        ({"predict_inputs": ["pages_visited"]}, "/predict inputs"),
        ({"levels": [0.1, 0.2]}, "number of levels of the model: 2, of this build: 16"),
        ({"levels": [0.1] * LEVELS}, "levels do not ascend"),
        ({"grid_hours": [2, 3]}, "grid_hours"),
        ({"format": 99}, "format 99, this build reads 1"),
        ({"horizon_days": "soon"}, "not a manifest"),
    ],
)
def test_a_model_of_another_build_is_refused_before_it_is_opened(folder, changes, message):
    """
    Whatever does not fit is named, and the pickle is left alone.
    """
    plant(folder, b"this would not even load")
    rewrite(folder, **changes)

    with pytest.raises(ArtefactMismatch, match=message):
        load(folder)


def test_features_in_another_order_are_refused(folder):
    """
    The same names in another order would put numbers into the wrong columns.
    """
    rewrite(folder, features=[feature.name for feature in reversed(FEATURES)])

    with pytest.raises(ArtefactMismatch, match="in another order"):
        load(folder)


class Intruder:
    """Runs a command when a plain unpickler reads it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_a_pickle_cannot_run_commands(folder, tmp_path):
    """
    A pickle that calls the system is refused without doing so, though its manifest vouches for it.
    """
    plant(folder, pickle.dumps(Intruder(tmp_path / "harm")))

    with pytest.raises(ArtefactMismatch, match="mkdir is not part of a model"):
        load(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("sklearn.pipeline", "Pipeline.__init__"),
        ("sklearn.utils._testing", "os.system"),
        ("numpy", "load"),
        ("model.artefact", "os"),
    ],
)
def test_only_listed_names_are_looked_up(folder, module, name):
    """
    Not even a detour through an allowed package, or a dotted name, reaches anything else.
    """
    by_name = b"\x80\x04" + b"".join(
        b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)
    )
    plant(folder, by_name + b"\x93.")

    with pytest.raises(ArtefactMismatch, match="is not part of a model"):
        load(folder)


def test_something_else_than_two_estimators_is_refused(folder):
    """
    A harmless pickle with other contents is no model.
    """
    plant(folder, pickle.dumps({"full": 1}))

    with pytest.raises(ArtefactMismatch, match="not two estimators"):
        load(folder)


def test_an_estimator_of_another_release_does_not_slip_by(tmp_path, monkeypatch):
    """
    scikit-learn only warns of an estimator pickled by another patch release; loading refuses it.
    """
    boosting = estimators(CANDIDATES[1])
    with monkeypatch.context() as patched:
        patched.setattr("sklearn.base.__version__", "1.9.99")
        save(tmp_path, MANIFEST, **boosting)

    with pytest.raises(ArtefactMismatch, match=r"1\.9\.99"):
        load(tmp_path)
    assert sklearn.__version__ != "1.9.99"


def test_saving_over_a_model_leaves_no_litter(folder, logistic):
    """
    A second save replaces both files and leaves nothing else.
    """
    save(folder, msgspec.structs.replace(MANIFEST, origin="another"), **logistic)

    assert [MANIFEST_FILE, MODEL_FILE] == sorted(path.name for path in folder.iterdir())
    assert "another" == load(folder).origin


def test_a_folder_that_cannot_be_written_is_named(tmp_path, logistic):
    """
    A file where the folder should be is a matter for a person, told in one line.
    """
    (tmp_path / "model").write_text("in the way")

    with pytest.raises(Misconfigured, match=r"cannot write a model to .*model"):
        save(tmp_path / "model", MANIFEST, **logistic)


def test_other_fold_rules_are_refused(logistic):
    """
    Facts folded under other rules are not what the model learned from.
    """
    model = Model(MANIFEST, **logistic)
    require_rules(model, FoldRules())

    with pytest.raises(ArtefactMismatch, match="EBBTIDE_PASSIVE_TYPES"):
        require_rules(model, FoldRules(passive_types=("page_view",)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40).map(sorted))
def test_levels_ascend_strictly_and_stay_close(quantiles):
    """
    Ties are parted within (0, 1), at six decimals, and no level moves further than the ties need.
    """
    levels = np.array(spread_levels(quantiles, fixed=()))

    assert (np.diff(levels) > 0).all()
    assert 0 < levels[0] <= levels[-1] < 1
    assert np.round(levels, 6).tolist() == levels.tolist()
    assert (np.abs(levels - quantiles) < 1e-6 * (len(quantiles) + 2)).all()


def test_levels_that_are_apart_are_only_rounded():
    """
    Distinct quantiles come back as they are, to six decimals.
    """
    assert (0.1, 0.333333, 0.9) == spread_levels([0.1, 1 / 3, 0.9], fixed=())


def test_the_ladder_has_a_rung_at_each_threshold_of_the_default_policy():
    """
    A fixed level takes the place of the nearest quantile.
    """
    assert (0.1, 0.5, 0.7, 0.9) == spread_levels([0.1, 0.4, 0.65, 0.9], fixed=(0.5, 0.7))


QUALITY = Quality({}, (), (), (), Spread((0.5,), (3, 4), 0), 7, 2)


@pytest.fixture
def told(tmp_path: Path, logistic) -> Path:
    """A model with what is told of it."""

    def beside(manifest: Manifest) -> dict[str, bytes]:
        return {
            QUALITY_FILE: msgspec.json.encode(QUALITY),
            REPORT_FILE: f"<title>{manifest.version}</title>".encode(),
        }

    save(tmp_path, MANIFEST, **logistic, beside=beside)
    return tmp_path


def test_what_is_told_of_a_model_lies_beside_it(told):
    """
    It knows the version it tells of.
    """
    model = load(told)
    found = load_beside(told, model.manifest)
    assert (QUALITY, f"<title>{model.version}</title>".encode()) == (found.quality, found.report)


def test_a_model_works_without_what_is_told_of_it(told, logistic):
    """
    Files that were not copied are not shown.
    """
    (told / REPORT_FILE).unlink()
    assert (QUALITY, None) == (
        load_beside(told, load(told).manifest).quality,
        load_beside(told, load(told).manifest).report,
    )
    save(told, MANIFEST, **logistic)
    assert Beside() == load_beside(told, load(told).manifest)


@pytest.mark.parametrize("name", [QUALITY_FILE, REPORT_FILE])
def test_what_is_told_of_another_model_is_refused(told, name):
    """
    Naming the file and the remedy.
    """
    (told / name).write_bytes(b"{}")
    with pytest.raises(ArtefactMismatch, match=rf"{name}: .*another model.*ebbtide train"):
        load_beside(told, load(told).manifest)
