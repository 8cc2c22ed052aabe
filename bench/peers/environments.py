"""A virtual environment for each peer, made when it is first needed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
INSIDE: Final = HERE / "inside"
_STAMP: Final = ".complete"


class Unavailable(Exception):
    """A peer cannot be measured here; the message is one line."""


def folder(name: str) -> Path:
    """The peer's environment, made if it is missing or its requirements changed.

    Raises Unavailable when pip cannot install it.
    """
    requirements = HERE / "requirements" / f"{name}.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    place = _cache() / name
    stamp = place / _STAMP
    if stamp.exists() and stamp.read_text() == wanted:
        return place
    print(f"installing {name} into {place}", file=sys.stderr)
    shutil.rmtree(place, ignore_errors=True)
    _run(name, [sys.executable, "-m", "venv", str(place)])
    pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _run(name, [*pip, "install", "--quiet", "--requirement", str(requirements)])
    stamp.write_text(wanted)
    return place


def version(name: str, distribution: str) -> str:
    """As pinned in the peer's requirements; raises Unavailable when it is not there."""
    text = (HERE / "requirements" / f"{name}.txt").read_text()
    pin = re.search(rf"^{re.escape(distribution)}(?:\[.*\])?==(\S+)", text, re.MULTILINE)
    if pin is None:
        raise Unavailable(f"{name}: {distribution} is not pinned")
    return pin[1]


def _cache() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ebbtide-peers"


def _run(name: str, argv: list[str]) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Unavailable(f"{name} cannot be installed: {lines[-1] if lines else argv[0]}")
