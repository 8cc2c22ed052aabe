"""A fitted estimator written as an ONNX graph: the same log-odds, in float64.

scikit-learn spends milliseconds per call on checks that a served model has passed long ago; the
graph has only the arithmetic. Operators: ONNX opset 17, and `TreeEnsemble` of ai.onnx.ml 5, which
compares and adds in float64 (the older operators round leaves to float32).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from model.classifier import Classifier
from model.compiled import AVAILABLE, INPUT, Compiled
from model.estimators import BlankUnstated, BoundedLogisticRegression

OPSETS: Final = (("", 17), ("ai.onnx.ml", 5))
TOLERANCE: Final = 1e-9
"""Most a compiled probability may differ on rows of the log; scores are rounded to 1e-6."""
_IR_VERSION: Final = 9
_LESS_OR_EQUAL: Final = 0
_SUM: Final = 1


def compiled(estimator: Classifier) -> bytes | None:
    """The graph from (n, d) float64 rows, NaN for missing, to (n, 1) float64 log-odds of churn.

    None for an estimator that has no compiled form; its pickle serves.
    """
    graph = _Graph()
    rows = INPUT
    steps = (
        [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    )
    if isinstance(steps[0], BlankUnstated):
        rows = _stated(graph, rows, steps[0])
        steps = steps[1:]
    match steps:
        case [BoundedLogisticRegression() as linear]:
            odds = _linear(graph, rows, linear)
        case [HistGradientBoostingClassifier() as trees]:
            odds = _boosted(graph, rows, trees)
        case _:
            return None
    content: bytes = graph.model(odds, estimator.n_features_in_).SerializeToString()
    return content


def compiled_alike(estimator: Classifier, rows: np.ndarray) -> bytes | None:
    """The graph, if on (n, d) rows it says what the estimator says, within TOLERANCE.

    None otherwise, and where there is no compiled form: the pickle serves.
    """
    content = compiled(estimator) if AVAILABLE else None
    if content is None:
        return None
    told = estimator.predict_proba(rows)[:, 1]
    differs = np.abs(Compiled(content).probability(rows) - told).max(initial=0.0)
    return content if differs <= TOLERANCE else None


class _Graph:
    """Nodes in order; each is named after its place."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"n{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(operator, list(inputs), [name], domain=domain, **attributes)
        )
        return name

    def model(self, output: str, columns: int) -> ModelProto:
        kind = TensorProto.DOUBLE
        graph = helper.make_graph(
            self._nodes,
            "log-odds of churn",
            [helper.make_tensor_value_info(INPUT, kind, [None, columns])],
            [helper.make_tensor_value_info(output, kind, [None, 1])],
            initializer=self._constants,
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def _stated(graph: _Graph, rows: str, blank: BlankUnstated) -> str:
    if blank.stated_.all():
        return rows
    stated = graph.constant(blank.stated_, np.bool_)
    return graph.node("Where", stated, rows, graph.constant(0.0))


def _linear(graph: _Graph, rows: str, linear: BoundedLogisticRegression) -> str:
    d = linear.n_features_in_
    size = graph.node("Abs", rows)
    grown = graph.node("Log", graph.node("Add", size, graph.constant(1.0)))
    squeezed = graph.node("Mul", graph.node("Sign", rows), grown)
    missing = graph.node("IsNaN", rows)
    filled = graph.node("Where", missing, graph.constant(linear.medians_), squeezed)
    # Standardising is linear too: its scales and means move into weights and intercept.
    weights = np.where(linear.constant_, 0.0, linear.coef_[:d] / linear.scales_)
    flags = np.zeros(d)
    flags[linear.flagged_] = linear.coef_[d:]
    intercept = linear.intercept_ - float((weights * linear.means_).sum())
    known = graph.node("MatMul", filled, graph.constant(weights[:, None]))
    told = graph.node("Add", known, graph.constant(intercept))
    if not flags.any():
        return told
    flagged = graph.node("Cast", missing, to=TensorProto.DOUBLE)
    return graph.node("Add", told, graph.node("MatMul", flagged, graph.constant(flags[:, None])))


def _boosted(graph: _Graph, rows: str, trees: HistGradientBoostingClassifier) -> str:
    base = graph.constant(float(trees._baseline_prediction.item()))
    ensemble = _Trees()
    for (tree,) in trees._predictors:
        ensemble.add(tree.nodes)
    grown = graph.node("TreeEnsemble", rows, domain="ai.onnx.ml", **ensemble.attributes())
    return graph.node("Add", grown, base)


class _Trees:
    """The attributes of one TreeEnsemble: branches and leaves of all trees, each in one list."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self._feature: list[int] = []
        self._split: list[float] = []
        self._missing_left: list[int] = []
        self._children: dict[str, list[tuple[int, bool]]] = {"left": [], "right": []}
        self._leaves: list[float] = []

    def add(self, nodes: np.ndarray) -> None:
        """Add a tree: (nodes,) of scikit-learn's TreePredictor, the root first."""
        is_leaf = nodes["is_leaf"].astype(bool)
        if is_leaf[0]:
            # The operator wants a branch at the root: one that leads to the leaf either way.
            nodes = np.repeat(nodes, 2)
            nodes["is_leaf"][0] = 0
            nodes["left"][0] = nodes["right"][0] = 1
            is_leaf = np.array([False, True])
        place = np.empty(len(nodes), np.int64)
        place[~is_leaf] = len(self._feature) + np.arange((~is_leaf).sum())
        place[is_leaf] = len(self._leaves) + np.arange(is_leaf.sum())
        self.roots.append(int(place[0]))
        self._leaves += nodes["value"][is_leaf].tolist()
        branches = nodes[~is_leaf]
        self._feature += branches["feature_idx"].tolist()
        self._split += branches["num_threshold"].tolist()
        self._missing_left += branches["missing_go_to_left"].astype(int).tolist()
        for side, children in self._children.items():
            to = branches[side]
            children.extend(zip(place[to].tolist(), is_leaf[to].tolist(), strict=True))

    def attributes(self) -> dict[str, Any]:
        """As ai.onnx.ml 5 names them."""
        left, right = self._children["left"], self._children["right"]
        return {
            "n_targets": 1,
            "aggregate_function": _SUM,
            "post_transform": 0,
            "tree_roots": self.roots,
            "nodes_featureids": self._feature,
            "nodes_modes": _tensor([_LESS_OR_EQUAL] * len(self._feature), np.uint8),
            "nodes_splits": _tensor(self._split, np.float64),
            "nodes_missing_value_tracks_true": self._missing_left,
            "nodes_truenodeids": [child for child, _ in left],
            "nodes_trueleafs": [int(leaf) for _, leaf in left],
            "nodes_falsenodeids": [child for child, _ in right],
            "nodes_falseleafs": [int(leaf) for _, leaf in right],
            "leaf_targetids": [0] * len(self._leaves),
            "leaf_weights": _tensor(self._leaves, np.float64),
        }


def _tensor(values: list[Any], dtype: Any) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype))
