"""Moving whole rows of a structured array.

numpy copies such rows field by field; as opaque bytes they move many times faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def copy(array: np.ndarray) -> np.ndarray:
    """Return array.copy() of a (n,) structured array."""
    rows: np.ndarray = _opaque(array).copy().view(array.dtype)
    return rows


def take(array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return array[chosen] of a (n,) structured array, chosen by index or mask."""
    rows: np.ndarray = _opaque(array)[chosen].view(array.dtype)
    return rows


def put(array: np.ndarray, chosen: np.ndarray, rows: np.ndarray) -> None:
    """Do array[chosen] = rows, in place; both (n,) of one dtype."""
    _opaque(array)[chosen] = _opaque(rows)


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return (n,) structured arrays of one dtype, one behind the other; only one is not copied."""
    if len(arrays) == 1:
        return arrays[0]
    rows: np.ndarray = np.concatenate([_opaque(array) for array in arrays]).view(arrays[0].dtype)
    return rows


def _opaque(array: np.ndarray) -> np.ndarray:
    return array.view(np.dtype((np.void, array.dtype.itemsize)))
