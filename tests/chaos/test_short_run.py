"""Half a minute of chaos on the servers of EBBTIDE_TEST_SERVERS; `make chaos` brings more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import servers

ROOT = Path(__file__).parents[2]
WITHIN_S = 420


def test_nothing_is_lost_and_nothing_counts_twice(tmp_path: Path) -> None:
    """12,000 events under 6 faults end without a difference."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.chaos", "--servers", servers.source()),
            *("--seed", "53", "--events", "12000", "--faults", "6", "--minutes", "0.35"),
            *("--folder", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=WITHIN_S,
    )

    assert 0 == ended.returncode, ended.stderr[-20_000:] + ended.stdout
