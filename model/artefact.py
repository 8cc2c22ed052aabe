"""The trained model on disk: a pickle and the manifest that says what is in it.

A pickle runs code when it is read, so reading one is the last step: digest, versions and features
are compared first, and then only the classes an estimator of ours needs may be looked up.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np
from threadpoolctl import ThreadpoolController

from contracts.activity import FoldRules
from contracts.errors import ArtefactMismatch, Misconfigured
from contracts.record import LEVELS
from contracts.scores import DECIMALS
from contracts.times import HOUR_MS, NEVER
from model.classifier import Classifier, Unopened
from model.compiled import AVAILABLE, Compiled
from model.features import FEATURES, PREDICT_INPUTS, features
from model.figures import (
    AlertThreshold,
    Check,
    Cost,
    Figures,
    Memory,
    PeriodCheck,
    Trial,
)
from model.learned import learned
from model.quality import Quality
from model.tenure import with_known_tenure

FORMAT: Final = 1
SKLEARN: Final = metadata.version("scikit-learn")
"""Asked of its metadata: importing it takes seconds, and a compiled model does without."""
MODEL_FILE: Final = "model.pkl"
MANIFEST_FILE: Final = "manifest.json"
FULL_GRAPH: Final = "full.onnx"
INPUTS_GRAPH: Final = "inputs.onnx"
"""The estimators compiled (`model.compiling`), where they have such a form."""
QUALITY_FILE: Final = "quality.json"
REPORT_FILE: Final = "report.html"
"""What people are shown of it; the model works without."""
CLASS_CUTOFF: Final = 0.5
_ROUNDING: Final = 10**DECIMALS

_TRAIN: Final = "train one for this build with `ebbtide train --events FILE... --out DIR`"


class Period(msgspec.Struct, frozen=True):
    """A stretch of the log, ISO 8601 in UTC, both ends included."""

    start: str
    end: str


class KeptInputs(msgspec.Struct, frozen=True):
    """Of a four-input estimator learned elsewhere: what it learned from, and to foresee what."""

    origin: str
    horizon_days: int


class Comparison(msgspec.Struct, frozen=True):
    """One candidate on its walk-forward predictions, before any calibration."""

    title: str
    overall: Figures
    strata: dict[str, Figures]
    behind_best: float
    """Mean log loss minus the best candidate's."""
    behind_best_error: float
    """Its standard error, rows clustered by user."""
    is_shipped: bool = True
    """Whether it could be chosen; the others are there to compare with."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is, readable without opening the pickle. Nothing in it depends on a clock."""

    format: int = FORMAT
    version: str = ""
    """Candidate and the beginning of the pickle's digest; filled in by `save`."""
    sha256: str = ""
    """Of model.pkl; filled in by `save`."""
    compiled: dict[str, str] = {}
    """sha256 of each compiled estimator by file name; filled in by `save`."""
    beside: dict[str, str] = {}
    """sha256 of what is told of the model in files of their own; filled in by `save`."""
    sklearn: str = SKLEARN
    numpy: str = np.__version__
    origin: str
    """What it learned from: `simulator`, or the logs' names and dates."""
    candidate: str
    chosen_because: str
    features: tuple[str, ...]
    predict_inputs: tuple[str, ...]
    horizon_days: int
    active_days: int
    class_cutoff: float = CLASS_CUTOFF
    levels: tuple[float, ...]
    """The risk ladder: validation quantiles, ascending."""
    grid_hours: tuple[int, ...]
    """Hours of silence at which a silence curve is evaluated; no score beyond the last."""
    fold_rules: str
    """Digest of the rules the log was folded under (`FoldRules.digest`)."""
    seed: int
    log: Period
    training: Period
    """Rows the shipped estimators were fitted to: all whose label is known."""
    fitted_until: str
    """The first validation period starts at `validated_from`, fitted to rows up to here."""
    validated_from: str
    churn: str = "no activity within the horizon"
    """What counts as churn."""
    rows: dict[str, int]
    """Rows per stratum, and under `total`."""
    rows_sha256: str
    """Of the training rows: same log, same settings, same digest."""
    candidates: dict[str, Comparison]
    predict: Figures
    """The four-input estimator on session ends of the validation periods."""
    calibration: str = "none"
    """What was adopted; the figures below are those with it."""
    calibration_trials: dict[str, Trial] = {}
    silence: dict[str, Check] = {}
    """Calibration right after an event, at the end of a session, after so many days of silence,
    and for newcomers; on the validation periods."""
    unseen_users: Figures | None = None
    """The chosen candidate on users who gave it no training row."""
    periods: tuple[PeriodCheck, ...] = ()
    law_of_silence: Cost | None = None
    """What it costs that longer silence may never lower the risk."""
    typical: dict[str, float] = {}
    """Median of each feature among active users at any instant: what users are set against."""
    base_rates: dict[str, float] = {}
    """Churn among active users by month (YYYY-MM)."""
    memory: Memory | None = None
    """How far back it learned from, where the log left a choice."""
    tenure_since: int | None = None
    """Epoch ms: of users first seen earlier, tenure is known only if a sign-up was stated."""
    alert_threshold: AlertThreshold | None = None
    """Where alerts open that no rule says otherwise of; None: FALLBACK_THRESHOLD."""
    kept_inputs: KeptInputs | None = None
    """Where the four-input estimator comes from, if not from this log."""
    notes: tuple[str, ...] = ()
    """What a person should know before acting on this model."""


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model: two estimators, and the manifest that describes them."""

    manifest: Manifest
    full: Classifier
    """Reads all FEATURES of a record."""
    inputs: Classifier
    """Reads the four PREDICT_INPUTS."""
    full_graph: Compiled | None = None
    """`full`, compiled: what scores, when there is one."""
    inputs_graph: Compiled | None = None

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def origin(self) -> str:
        return self.manifest.origin

    @property
    def typical(self) -> Mapping[str, float]:
        """Population median by feature."""
        return self.manifest.typical

    @property
    def horizon_days(self) -> int:
        return self.manifest.horizon_days

    @property
    def inputs_origin(self) -> str:
        """What the four-input estimator learned from."""
        kept = self.manifest.kept_inputs
        return self.manifest.origin if kept is None else kept.origin

    @property
    def inputs_horizon_days(self) -> int:
        """The horizon of the four-input estimator."""
        kept = self.manifest.kept_inputs
        return self.manifest.horizon_days if kept is None else kept.horizon_days

    @property
    def tenure_since(self) -> int | None:
        """See `model.tenure`."""
        return self.manifest.tenure_since

    @property
    def class_cutoff(self) -> float:
        """Probability from which a prediction is "1"."""
        return self.manifest.class_cutoff

    @property
    def alert_threshold(self) -> float | None:
        """Risk, a rung of the ladder, at which alerts open; None: the model states none."""
        found = self.manifest.alert_threshold
        return None if found is None else found.level

    @cached_property
    def levels(self) -> np.ndarray:
        """(LEVELS,) float64, ascending, rounded like scores."""
        return _read_only(np.array(self.manifest.levels, np.float64))

    @cached_property
    def grid_hours(self) -> np.ndarray:
        """(G,) int64, ascending whole hours of silence since last-seen; the first is 1."""
        return _read_only(np.array(self.manifest.grid_hours, np.int64))

    @cached_property
    def hash(self) -> int:
        """A u4 that stands for the version in the stored record."""
        return crc32(self.version.encode())

    def score(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        """(n,) churn probability, 6 decimals, of (n,) FACTS as of `as_of` (n,) ms.

        Nothing was learned beyond the end of the silence grid: who is silent for longer keeps the
        score they had there.
        """
        return self.score_view(self.view(facts, as_of))

    def view(self, facts: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        """(n, len(FEATURES)) what `score` reads of them."""
        seen = facts["last_seen"] != NEVER
        end = np.where(seen, facts["last_seen"], 0) + int(self.grid_hours[-1]) * HOUR_MS
        moment = np.where(seen, np.minimum(as_of, end), as_of)
        return with_known_tenure(features(facts, moment), facts, self.tenure_since, FEATURES)

    def score_view(self, values: np.ndarray) -> np.ndarray:
        """(n,) churn probability, 6 decimals, of (n, len(FEATURES)) values."""
        return self._probability(self.full_graph or self.full, values)

    def score_inputs(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) churn probability, 6 decimals, of (n, 4) PREDICT_INPUTS, NaN for missing."""
        return self._probability(self.inputs_graph or self.inputs, inputs)

    def score_one(self, inputs: np.ndarray) -> float:
        """What `score_inputs` says of (1, 4) PREDICT_INPUTS, to the bit."""
        if self.inputs_graph is None:
            return float(self.score_inputs(inputs)[0])
        # As numpy rounds.
        return round(self.inputs_graph.probability_of_one(inputs) * _ROUNDING) / _ROUNDING

    def _probability(self, estimator: Compiled | Classifier, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.empty(0)
        if isinstance(estimator, Compiled):
            return estimator.probability(rows).round(DECIMALS)
        # One thread: a batch is small, and waking a pool in every worker costs more than it
        # saves.
        with self._threads.limit(limits=1):
            churn = estimator.predict_proba(rows)[:, 1]
        return np.round(np.asarray(churn, np.float64), DECIMALS)

    @cached_property
    def _threads(self) -> ThreadpoolController:
        # Finding the pools takes milliseconds, so it is done once.
        return ThreadpoolController()


def save(
    folder: Path,
    manifest: Manifest,
    *,
    full: Classifier,
    inputs: Classifier,
    graphs: Mapping[str, bytes] = MappingProxyType({}),
    beside: Callable[[Manifest], Mapping[str, bytes]] = lambda _: {},
) -> Model:
    """Write all files and return the model; whoever reads meanwhile sees old or new, or refuses.

    graphs: compiled estimators by file name (FULL_GRAPH, INPUTS_GRAPH), as many as there are.
    beside: what is told of the model by file name, given a manifest that knows its version.
    `manifest.version` and the digests are filled in from the contents. Raises Misconfigured when
    the folder cannot be written.
    """
    content = pickle.dumps({"full": full, "inputs": inputs}, protocol=5)
    digest = hashlib.sha256(content).hexdigest()
    complete = msgspec.structs.replace(
        manifest,
        sha256=digest,
        version=f"{manifest.candidate}-{digest[:12]}",
        compiled={name: hashlib.sha256(graph).hexdigest() for name, graph in graphs.items()},
    )
    told = beside(complete)
    complete = msgspec.structs.replace(
        complete,
        beside={name: hashlib.sha256(each).hexdigest() for name, each in told.items()},
    )
    stated = msgspec.json.format(msgspec.json.encode(complete)) + b"\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / MODEL_FILE, content)
        for name, each in [*graphs.items(), *told.items()]:
            _replace(folder / name, each)
        # The manifest last: with a new pickle and an old manifest the digests disagree, and
        # loading refuses.
        _replace(folder / MANIFEST_FILE, stated)
    except OSError as error:
        raise Misconfigured(f"cannot write a model to {folder}: {error.strerror}") from error
    runnable = {name: Compiled(graph) for name, graph in graphs.items()}
    return Model(complete, full, inputs, runnable.get(FULL_GRAPH), runnable.get(INPUTS_GRAPH))


def load(folder: Path, *, trusted_sha256: str | None = None) -> Model:
    """Read the model in `folder`; with compiled forms, its pickle stays closed until it is needed.

    trusted_sha256: digest of model.pkl the deployment trusts, from outside the folder.
    Raises ArtefactMismatch saying what differs and what to do.
    """
    manifest = read_manifest(folder)
    content = _read(folder / MODEL_FILE)
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.sha256:
        raise ArtefactMismatch(
            f"{folder / MODEL_FILE}: its sha256 is {digest}, its manifest says {manifest.sha256}: "
            f"the two files do not belong together; copy both again, or {_TRAIN}"
        )
    if trusted_sha256 is not None and digest != trusted_sha256.lower():
        raise ArtefactMismatch(
            f"{folder / MODEL_FILE}: its sha256 is {digest}, this deployment trusts "
            f"{trusted_sha256}: restore the trusted model, or trust this one on purpose"
        )
    _check_fits(folder, manifest)
    full_graph = _graph(folder, manifest, FULL_GRAPH)
    inputs_graph = _graph(folder, manifest, INPUTS_GRAPH)

    @cache
    def estimators() -> dict[str, Classifier]:
        return _unpickle(folder, content)

    @cache
    def parts() -> dict[str, Classifier]:
        return _opened(folder, partial(learned, content, ALLOWED))

    if full_graph is None or inputs_graph is None:
        estimators()  # they serve: what is wrong with them must show now
    full = Unopened(lambda: estimators()["full"], lambda: parts()["full"])
    inputs = Unopened(lambda: estimators()["inputs"], lambda: parts()["inputs"])
    return Model(manifest, full, inputs, full_graph, inputs_graph)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest alone; raises ArtefactMismatch when it is missing or of another format."""
    path = folder / MANIFEST_FILE
    content = _read(path)
    try:
        stated = msgspec.json.decode(content, type=dict[str, Any]).get("format")
        if stated != FORMAT:
            raise ArtefactMismatch(f"{path}: format {stated}, this build reads {FORMAT}: {_TRAIN}")
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ArtefactMismatch(f"{path}: not a manifest ({error}): {_TRAIN}") from None


@dataclass(frozen=True)
class Beside:
    """What people are shown of a model, as far as it is there."""

    quality: Quality | None = None
    report: bytes | None = None
    """A whole page of HTML."""


def load_beside(folder: Path, manifest: Manifest) -> Beside:
    """What lies beside the model that the manifest describes.

    A file that is not there is not shown; raises ArtefactMismatch for another model's.
    """
    quality = _told(folder, manifest, QUALITY_FILE)
    try:
        decoded = None if quality is None else msgspec.json.decode(quality, type=Quality)
    except msgspec.MsgspecError as error:
        raise ArtefactMismatch(f"{folder / QUALITY_FILE}: {error}: {_TRAIN}") from None
    return Beside(decoded, _told(folder, manifest, REPORT_FILE))


def _told(folder: Path, manifest: Manifest, name: str) -> bytes | None:
    stated = manifest.beside.get(name)
    if stated is None or not (folder / name).exists():
        return None
    content = _read(folder / name)
    digest = hashlib.sha256(content).hexdigest()
    if digest != stated:
        raise ArtefactMismatch(
            f"{folder / name}: its sha256 is {digest}, the manifest says {stated}: it tells of "
            f"another model; copy all files of one again, remove it, or {_TRAIN}"
        )
    return content


def _graph(folder: Path, manifest: Manifest, name: str) -> Compiled | None:
    """The compiled estimator the manifest names; None: the pickle serves."""
    stated = manifest.compiled.get(name)
    if stated is None:
        return None
    content = _read(folder / name)
    digest = hashlib.sha256(content).hexdigest()
    if digest != stated:
        raise ArtefactMismatch(
            f"{folder / name}: its sha256 is {digest}, the manifest says {stated}: it is not the "
            f"compiled form of this model; copy all its files again, or {_TRAIN}"
        )
    return Compiled(content) if AVAILABLE else None


def require_rules(model: Model, rules: FoldRules) -> None:
    """Raise ArtefactMismatch unless the model learned from facts folded under these rules."""
    if model.manifest.fold_rules != rules.digest:
        raise ArtefactMismatch(
            f"model {model.version} learned under fold rules {model.manifest.fold_rules}, this "
            f"deployment folds under {rules.digest} (passive types or retention differ): set "
            "EBBTIDE_PASSIVE_TYPES and EBBTIDE_RETENTION_DAYS as in training, or train again"
        )


def _check_fits(folder: Path, manifest: Manifest) -> None:
    """Compare what the model needs with this build; nothing of the pickle was executed yet."""
    here = {
        "scikit-learn": (_minor(manifest.sklearn), _minor(SKLEARN)),
        "features": (manifest.features, tuple(feature.name for feature in FEATURES)),
        "/predict inputs": (
            manifest.predict_inputs,
            tuple(feature.name for feature in PREDICT_INPUTS),
        ),
        "number of levels": (len(manifest.levels), LEVELS),
    }
    for what, (theirs, ours) in here.items():
        if theirs != ours:
            raise ArtefactMismatch(
                f"{folder}: {what} of the model: {_differing(theirs, ours)}, "
                f"of this build: {_differing(ours, theirs)}: {_TRAIN}"
            )
    if sorted(set(manifest.levels)) != list(manifest.levels):
        raise ArtefactMismatch(f"{folder}: the levels do not ascend: {_TRAIN}")
    chosen = manifest.alert_threshold
    if chosen is not None and chosen.level not in manifest.levels:
        raise ArtefactMismatch(f"{folder}: the alert threshold is no level: {_TRAIN}")
    grid = manifest.grid_hours
    if not grid or grid[0] != 1 or sorted(set(grid)) != list(grid):
        raise ArtefactMismatch(f"{folder}: grid_hours must ascend from 1: {_TRAIN}")


def _differing(these: object, those: object) -> str:
    """Of two lists only what the other lacks, so that a message stays readable."""
    if isinstance(these, tuple) and isinstance(those, tuple):
        extra = [name for name in these if name not in those]
        return ", ".join(extra) if extra else f"{len(these)} in another order or number"
    return str(these)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


ALLOWED: Final = frozenset(
    {
        ("model.estimators", "BlankUnstated"),
        ("model.estimators", "BoundedLogisticRegression"),
        ("model.estimators", "FillMissing"),
        ("sklearn.pipeline", "Pipeline"),
        ("sklearn.ensemble._forest", "RandomForestClassifier"),
        ("sklearn.tree._classes", "DecisionTreeClassifier"),
        ("sklearn.tree._tree", "Tree"),
        ("sklearn.ensemble._hist_gradient_boosting.binning", "_BinMapper"),
        (
            "sklearn.ensemble._hist_gradient_boosting.gradient_boosting",
            "HistGradientBoostingClassifier",
        ),
        ("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"),
        ("sklearn.preprocessing._label", "LabelEncoder"),
        ("sklearn._loss.loss", "HalfBinomialLoss"),
        ("sklearn._loss.link", "Interval"),
        ("sklearn._loss.link", "LogitLink"),
        ("sklearn._loss._loss", "CyHalfBinomialLoss"),
        # Boosting keeps the generator it would draw columns with.
        ("numpy.random._pickle", "__generator_ctor"),
        ("numpy.random._pickle", "__bit_generator_ctor"),
        ("numpy.random._pcg64", "PCG64"),
        ("numpy.random.bit_generator", "SeedSequence"),
        ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
    }
)
"""Every name a pickle of ours may look up. Whole modules would be too much: a module holds what
it imported, so `sklearn...` alone would reach `os`."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a model")
        return super().find_class(module, name)


def _unpickle(folder: Path, content: bytes) -> dict[str, Classifier]:
    from sklearn.exceptions import InconsistentVersionWarning  # noqa: PLC0415 - see SKLEARN

    with warnings.catch_warnings():
        # scikit-learn only warns when an estimator comes from another release; its predictions
        # may differ all the same.
        warnings.simplefilter("error", InconsistentVersionWarning)
        return _opened(folder, _Unpickler(io.BytesIO(content)).load)


def _opened(folder: Path, read: Callable[[], Any]) -> dict[str, Classifier]:
    """Both estimators, as `read` gives them; raises ArtefactMismatch."""
    try:
        estimators = read()
    except Exception as error:
        # Whatever a broken or foreign pickle provokes, the answer is the same: do not start.
        raise ArtefactMismatch(f"{folder / MODEL_FILE}: {error}: {_TRAIN}") from error
    if not isinstance(estimators, dict) or set(estimators) != {"full", "inputs"}:
        raise ArtefactMismatch(f"{folder / MODEL_FILE}: not two estimators: {_TRAIN}")
    return estimators


POLICY_LEVELS: Final = (0.5, 0.7)
"""Where bands of risk end (`contracts.bands`), and the threshold of models that state none: rungs
of every ladder, so that nothing need snap."""


def spread_levels(
    quantiles: Sequence[float], fixed: Sequence[float] = POLICY_LEVELS
) -> tuple[float, ...]:
    """A strictly ascending ladder within (0, 1), 6 decimals, of ascending probabilities.

    Each of `fixed` takes the place of the nearest one; ties are parted by the least that does.
    """
    kept = np.array(quantiles)
    for value in fixed:
        kept = np.delete(kept, np.abs(kept - value).argmin())
    least, n = 10**DECIMALS, len(quantiles)
    steps = [round(value * least) for value in sorted([*kept, *fixed])]
    for index in range(n):
        floor = steps[index - 1] + 1 if index else 1
        # Room above for the levels still to come.
        steps[index] = min(max(steps[index], floor), least - (n - index))
    for index in reversed(range(n - 1)):
        steps[index] = min(steps[index], steps[index + 1] - 1)
    return tuple(round(step / least, DECIMALS) for step in steps)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtefactMismatch(f"{path}: {error.strerror or error}; {_TRAIN}") from None


def _replace(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _read_only(values: np.ndarray) -> np.ndarray:
    values.flags.writeable = False
    return values
