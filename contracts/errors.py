"""Everything we raise on purpose, grouped by what the caller does about it.

ChurnError
├── BadRecord           never going to work: park it (Kafka) or refuse it (HTTP), carry on
├── Unavailable         not right now: retry, or let the process restart and replay
│   ├── StoreUnavailable
│   └── LogUnavailable
├── Refused             the store holds something else than we believed: reload and seek
└── Misconfigured       a person has to look: refuse to start, naming the remedy
    ├── ArtefactMismatch
    └── LogMismatch
"""

from __future__ import annotations


class ChurnError(Exception):
    """Base of everything Ebbtide raises on purpose."""


class BadRecord(ChurnError):
    """A record or request that can never be processed; the message says which field and why."""

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


class Unavailable(ChurnError):
    """A dependency does not answer; the same call may work later."""


class StoreUnavailable(Unavailable):
    """Redis did not answer, or answered that it cannot serve."""


class LogUnavailable(Unavailable):
    """Kafka did not answer, or did not acknowledge in time."""


class Refused(ChurnError):
    """The watermark in Redis is not the one this worker expected: nothing was written.

    Redis was rolled back, or another owner was here. Drop what is in memory and start again
    from what is stored.
    """


class Misconfigured(ChurnError):
    """Going on would do damage; a person has to look. The message names the remedy."""


class ArtefactMismatch(Misconfigured):
    """The model on disk is not the one this deployment trusts, or does not fit this build."""


class LogMismatch(Misconfigured):
    """Kafka's log does not fit what Redis holds (partition count, retention, activity types)."""
