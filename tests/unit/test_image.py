"""The container image: what the Dockerfile copies is let in, and is all of the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_image_is_given_all_it_is_made_of() -> None:
    """Each file and folder that is copied passes .dockerignore, and each package is copied."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]

    assert copied == let_in
    assert {name.rstrip("*.") for name in found} <= copied
