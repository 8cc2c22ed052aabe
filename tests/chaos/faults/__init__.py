"""Everything that can go wrong. Each module lists its kinds as FAULTS."""

from __future__ import annotations

import importlib
import pkgutil

from tests.chaos.stage import Fault


def faults() -> tuple[Fault, ...]:
    """All kinds of all modules here, in a fixed order."""
    found: list[Fault] = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        there = importlib.import_module(f"{__name__}.{module.name}")
        found += getattr(there, "FAULTS", ())
    return tuple(found)
