"""What estimators learned, read from their pickle without scikit-learn.

Importing it takes seconds of processor time and a hundred megabytes, in a process that may never
call it: where the compiled form scores, reasons need the coefficients or the trees, and those are
arrays.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Container
from typing import Any


class Learned:
    """An object as its pickle describes it: its class's name and its attributes, no methods."""

    def __init__(self, *_: object) -> None:
        """Whatever its own class is made with."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def learned(content: bytes, allowed: Container[tuple[str, str]]) -> Any:
    """What `content`, a pickle, holds; raises UnpicklingError for names that are not `allowed`."""
    return _Unpickler(io.BytesIO(content), allowed).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, allowed: Container[tuple[str, str]]) -> None:
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a model")
        if module == "numpy" or module.startswith("numpy._core."):
            return super().find_class(module, name)
        return type(name, (Learned,), {})
