"""The guide to the features is the one their descriptions make."""

from __future__ import annotations

from pathlib import Path

from model.feature_guide import guide
from model.features import FEATURES, PREDICT_INPUTS


def test_the_committed_guide_is_current() -> None:
    """docs/features.md says what the code says of every feature, in the order of the columns."""
    written = (Path(__file__).parents[3] / "docs" / "features.md").read_text()

    assert guide() == written
    lines = [line.split("`")[1] for line in written.splitlines() if line.startswith("| `")]
    assert [feature.name for feature in (*FEATURES, *PREDICT_INPUTS)] == lines
