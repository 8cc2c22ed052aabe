"""The policy in force: a file that may change while the worker runs, or what the settings say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from alerts import policy_file
from alerts.rules import Policy
from contracts.errors import Misconfigured
from contracts.times import SECOND_MS

logger = structlog.get_logger(__name__)

CHECK_MS: Final = 2 * SECOND_MS
"""How often somebody looks whether the file has changed."""

_Stamp = tuple[int, int, int]


class PolicySource:
    """Hands out the policy, and reads the file again when it has changed.

    A file that cannot be read leaves the policy before it in force, and says so.
    """

    def __init__(self, path: Path | None, default: Policy) -> None:
        """Raises Misconfigured when the file is of no use to begin with."""
        self.tell_broken: Callable[[bool], None] = lambda broken: None
        """Told whether the file that lies there is of no use, each time it has changed."""
        self._path = path
        self._looked_at: int | None = None
        self._stamp = None if path is None else _stamp(path)
        self._policy = default if path is None else policy_file.read(path)
        logger.info("policy_in_force", policy=self._policy.digest, file=path and str(path))

    def current(self, now_ms: int) -> Policy:
        """The policy in force; looks at the file now and then."""
        if self._path is None:
            return self._policy
        if self._looked_at is None or not 0 <= now_ms - self._looked_at < CHECK_MS:
            self._looked_at = now_ms
            self._look(self._path)
        return self._policy

    def _look(self, path: Path) -> None:
        stamp = _stamp(path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            policy = policy_file.read(path)
        except Misconfigured as error:
            self.tell_broken(True)
            logger.error("policy_not_taken", reason=str(error), policy=self._policy.digest)
            return
        self.tell_broken(False)
        if policy.digest != self._policy.digest:
            logger.info("policy_in_force", policy=policy.digest, before=self._policy.digest)
        self._policy = policy


def _stamp(path: Path) -> _Stamp | None:
    """What changes when somebody writes the file or puts another in its place; None: it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
