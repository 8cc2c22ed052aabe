"""The benchmark's model in the forms that peers read: scikit-learn's trees, and the same compiled.

Without Ebbtide's own steps around the trees, whose classes a peer's environment does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import joblib

from bench.serving import model as bench_model
from model.compiling import compiled


@dataclass(frozen=True)
class Files:
    """Where each form lies."""

    ebbtide: Path
    """The model folder for Ebbtide."""
    inputs: Path
    """`/predict`'s estimator of four inputs; with_suffix(".onnx") is its compiled form."""
    full: Path
    """The scorer's estimator of all features; likewise."""


def write(folder: Path) -> Files:
    """Fit the model of bench.serving and write it in every form into `folder`."""
    files = Files(folder / "model", folder / "inputs.joblib", folder / "full.joblib")
    made = bench_model.write(files.ebbtide)
    for pipeline, path in ((made.inputs, files.inputs), (made.full, files.full)):
        trees = pipeline.steps[-1][1]
        joblib.dump(trees, path)
        content = compiled(trees)
        assert content is not None
        path.with_suffix(".onnx").write_bytes(content)
    return files
