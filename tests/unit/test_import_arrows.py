"""Which folder may import which: the arrows of docs/architecture.md, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAY_IMPORT = {
    "contracts": set(),
    "model": {"contracts"},
    "runtime": {"contracts"},
    "ingest_api": {"contracts", "model", "runtime"},
    "scorer": {"contracts", "model", "runtime"},
    "alerts": {"contracts", "runtime"},
    "history": {"contracts", "runtime"},
    "ebbtide": {"contracts", "model", "runtime", "ingest_api", "scorer", "alerts", "history"},
}


def imported_roots(source: str) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every absolute import, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


def wrong_imports(folder: str, source: str) -> list[str]:
    """Imports of our folders that `folder` may not make, as `line N: name`."""
    forbidden = (MAY_IMPORT.keys() | {"tests", "bench"}) - MAY_IMPORT[folder] - {folder}
    return [f"line {line}: {root}" for line, root in imported_roots(source) if root in forbidden]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    """
    Every module of a folder imports our folders along the arrows only.
    """
    modules = sorted((ROOT / folder).rglob("*.py"))
    assert modules

    wrong = {
        str(path.relative_to(ROOT)): lines
        for path in modules
        if (lines := wrong_imports(folder, path.read_text()))
    }

    assert {} == wrong


def test_every_package_is_under_the_rule() -> None:
    """
    A new top-level package needs a line in the table above.
    """
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert MAY_IMPORT.keys() == packages - {"tests", "bench"}


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("contracts", "import numpy\nfrom runtime.settings import ServiceSettings"),
        ("model", "def late():\n    import runtime.store"),
        ("scorer", "from alerts import policy"),
        ("alerts", "from model.artefact import load"),
        ("runtime", "import tests.servers"),
    ],
)
def test_an_import_against_the_arrows_is_seen(folder: str, source: str) -> None:
    """
    The check finds an import against the arrows, wherever in a module it stands.
    """
    assert 1 == len(wrong_imports(folder, source))
