"""How much each feature of a row moves a boosted ensemble's raw prediction: exact TreeSHAP.

Shapley values of the path-dependent game of Lundberg, Erion and Lee 2018 (arXiv 1802.03888;
Nature Machine Intelligence 2, 2020, algorithm 2): a feature outside the coalition is averaged over,
by the share of training rows that went either way.

That game is a sum over leaves, and a leaf's is a product: a feature on its path contributes o if it
is in the coalition (1 when the row agrees with the path, 0 when not), else z, the share of training
rows that agree.
A Shapley weight is an integral, |S|! (m - |S| - 1)! / m! = int t^|S| (1 - t)^(m - |S| - 1) dt over
[0, 1], so the sum over coalitions becomes the integral of prod_j (t o_j + (1 - t) z_j): a
polynomial of degree m - 1, for which Gauss-Legendre quadrature with m / 2 points is exact.
Leaves are laid side by side as in Mitchell, Frank and Holmes 2022 (GPUTreeShap, PeerJ CS 8:e880).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

_TABLED: Final = 9
"""Paths with so many features at most have their answers looked up, not computed."""

_CELLS: Final = 1 << 15
"""Rows are taken in blocks of about so many (row, leaf) pairs: what stays in the cache is fast."""


@dataclass(frozen=True, slots=True)
class _Leaves:
    """(L,) leaves with m different features on their path, and (L, m) what it says of each."""

    value: np.ndarray
    feature: np.ndarray
    above: np.ndarray  # the row agrees when above < x <= up_to ...
    up_to: np.ndarray
    missing: np.ndarray  # ... or x is NaN and the path lets NaN pass
    share: np.ndarray  # of training rows that agree
    table: np.ndarray | None  # (2**m, L, m) answers for whatever a row may agree to


class TreeShap:
    """The trees of a scikit-learn HistGradientBoosting ensemble, as leaves."""

    def __init__(self, trees: Sequence[np.ndarray], n_features: int) -> None:
        """`trees`: the nodes of each TreePredictor. Raises ValueError for categorical splits."""
        by_length: dict[int, list[_Path]] = defaultdict(list)
        constant = 0.0
        for nodes in trees:
            if (nodes["is_categorical"] & ~nodes["is_leaf"]).any():
                raise ValueError("categorical splits are not supported")
            for path in _paths(nodes):
                if path.splits:
                    by_length[len(path.splits)].append(path)
                else:
                    constant += path.value
        self._groups = [_side_by_side(by_length[length]) for length in sorted(by_length)]
        self._features = n_features
        self.expected = constant + sum(
            float((leaves.value * leaves.share.prod(axis=1)).sum()) for leaves in self._groups
        )
        """The ensemble's mean over the training rows, as the shares tell it."""

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) float64 contributions to the raw prediction of (n, d) rows, NaN for missing.

        expected + values.sum(axis=1) is the sum of the trees.
        """
        told = np.zeros((len(rows), self._features))
        for leaves in self._groups:
            block = max(1, _CELLS // leaves.feature.size)
            for start in range(0, len(rows), block):
                part = slice(start, start + block)
                told[part] += _values(leaves, rows[part])
        return told


@dataclass(frozen=True, slots=True)
class _Split:
    above: float
    up_to: float
    missing: bool
    share: float


@dataclass(frozen=True, slots=True)
class _Path:
    value: float
    splits: dict[int, _Split]


def _paths(nodes: np.ndarray) -> Iterator[_Path]:
    """Every leaf with what its path says, splits on the same feature merged."""
    # Plain numbers: reading a structured array cell by cell takes ten times as long.
    columns: dict[str, list[Any]] = {name: nodes[name].tolist() for name in nodes.dtype.names or ()}
    pending: list[tuple[int, dict[int, _Split]]] = [(0, {})]
    while pending:
        node, splits = pending.pop()
        if columns["is_leaf"][node]:
            yield _Path(columns["value"][node], splits)
            continue
        feature, threshold = columns["feature_idx"][node], columns["num_threshold"][node]
        missing_left = bool(columns["missing_go_to_left"][node])
        whole = _Split(-np.inf, np.inf, True, 1.0)
        before = splits.get(feature, whole)
        for child, left in ((columns["left"][node], True), (columns["right"][node], False)):
            after = _Split(
                above=before.above if left else max(before.above, threshold),
                up_to=min(before.up_to, threshold) if left else before.up_to,
                missing=before.missing and missing_left == left,
                share=before.share * columns["count"][child] / columns["count"][node],
            )
            pending.append((child, splits | {feature: after}))


def _side_by_side(paths: list[_Path]) -> _Leaves:
    splits = [list(path.splits.values()) for path in paths]
    value = np.array([path.value for path in paths])
    share = np.array([[split.share for split in row] for row in splits])
    length = share.shape[1]
    table = None
    if length <= _TABLED:
        every = (np.arange(1 << length)[:, None] >> np.arange(length)) & 1
        table = _game(value, share, every[:, None, :])
    return _Leaves(
        value=value,
        feature=np.array([list(path.splits) for path in paths]),
        above=np.array([[split.above for split in row] for row in splits]),
        up_to=np.array([[split.up_to for split in row] for row in splits]),
        missing=np.array([[split.missing for split in row] for row in splits]),
        share=share,
        table=table,
    )


def _values(leaves: _Leaves, rows: np.ndarray) -> np.ndarray:
    """(n, d) what these leaves contribute."""
    x = rows[:, leaves.feature]
    agrees = ((x > leaves.above) & (x <= leaves.up_to)) | (np.isnan(x) & leaves.missing)
    if leaves.table is None:
        moved = _game(leaves.value, leaves.share, agrees)
    else:
        which = agrees @ (1 << np.arange(leaves.feature.shape[1]))
        moved = leaves.table[which, np.arange(len(leaves.value))]
    n, d = rows.shape
    cell = np.arange(n)[:, None, None] * d + leaves.feature
    return np.bincount(cell.ravel(), moved.ravel(), minlength=n * d).reshape(n, d)


def _game(value: np.ndarray, share: np.ndarray, agrees: np.ndarray) -> np.ndarray:
    """(n, L, m) Shapley values in (L,) leaves of rows that agree, (n, L or 1, m), or do not."""
    points, weights = _quadrature((share.shape[1] + 1) // 2)
    sums = np.zeros((len(agrees), *share.shape))
    for point, weight in zip(points, weights, strict=True):
        # Positive: no leaf is empty of training rows, and no point is 1.
        factors = point * agrees + (1 - point) * share
        sums += weight * factors.prod(axis=2, keepdims=True) / factors
    return np.asarray(value[:, None] * (agrees - share) * sums)


@lru_cache(maxsize=64)
def _quadrature(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return (nodes + 1) / 2, weights / 2
