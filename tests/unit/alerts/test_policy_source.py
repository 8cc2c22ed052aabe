"""The policy file while the worker runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alerts.policy_source import CHECK_MS, PolicySource
from alerts.rules import DEFAULT
from contracts.errors import Misconfigured

LOUD = "rules:\n  - name: loud\n    threshold: 0.55\n"
QUIET = "rules:\n  - name: quiet\n    threshold: 0.9\n"


def write(path: Path, text: str, moment: int) -> None:
    """The file at a moment of its own: clocks of file systems are coarse."""
    path.write_text(text)
    os.utime(path, ns=(moment, moment))


def test_without_a_file_the_settings_hold() -> None:
    """And nobody looks at any disk."""
    assert DEFAULT is PolicySource(None, DEFAULT).current(0)


def test_a_changed_file_is_in_force_within_seconds(tmp_path: Path) -> None:
    """Between two looks the policy stays."""
    path = tmp_path / "policy.yaml"
    write(path, LOUD, 1)
    source = PolicySource(path, DEFAULT)
    assert "loud" == source.current(0).rules[0].name
    write(path, QUIET, 2)

    assert "loud" == source.current(CHECK_MS - 1).rules[0].name
    assert "quiet" == source.current(CHECK_MS).rules[0].name


@pytest.mark.parametrize("broken", ["rules: [", "rules: []", None])
def test_a_broken_file_leaves_the_policy_before_it(tmp_path: Path, broken: str | None) -> None:
    """It is told, and the next good one is taken."""
    path = tmp_path / "policy.yaml"
    write(path, LOUD, 1)
    source = PolicySource(path, DEFAULT)
    told: list[bool] = []
    source.tell_broken = told.append
    if broken is None:
        path.unlink()
    else:
        write(path, broken, 2)

    assert "loud" == source.current(CHECK_MS).rules[0].name
    assert "loud" == source.current(2 * CHECK_MS).rules[0].name
    write(path, QUIET, 3)
    assert "quiet" == source.current(3 * CHECK_MS).rules[0].name
    assert [True, False] == told


def test_a_file_that_is_broken_to_begin_with_is_refused(tmp_path: Path) -> None:
    """There is no policy before it."""
    with pytest.raises(Misconfigured, match="cannot read"):
        PolicySource(tmp_path / "none", DEFAULT)
