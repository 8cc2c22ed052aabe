"""The lock files: complete, hashed, and silent about where packages come from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock"]


def pinned(lock: str) -> dict[str, str]:
    """Version by package name."""
    lines = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


def wanted(*groups: str) -> list[Requirement]:
    """The requirements of pyproject.toml, with those of some dependency groups."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = list(project["project"]["dependencies"])
    for group in groups:
        lines += project["dependency-groups"][group]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(("lock", "groups"), [(LOCKS[0], ["build"]), (LOCKS[1], ["build", "dev"])])
def test_a_lock_satisfies_the_project(lock: str, groups: list[str]) -> None:
    """
    Every requirement of pyproject.toml is pinned, to a version it accepts.
    """
    versions = pinned(lock)

    unmet = [
        str(requirement)
        for requirement in wanted(*groups)
        if versions.get(canonicalize_name(requirement.name), "") not in requirement.specifier
    ]

    assert [] == unmet


def test_developers_have_the_versions_users_have() -> None:
    """
    The developers' lock adds packages and changes none.
    """
    assert pinned(LOCKS[0]).items() <= pinned(LOCKS[1]).items()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host(lock: str) -> None:
    """
    A lock holds names, versions and hashes, and no address, so that it works with any index.
    """
    text = (ROOT / lock).read_text()

    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]

    assert [] == re.findall(r"\S*://\S*|^--.*", text, re.MULTILINE)
    assert [] == [entry for entry in entries if "--hash=sha256:" not in entry]
