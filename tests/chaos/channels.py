"""The policy of a run, and the receivers its two channels are aimed at."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Final
from zlib import crc32

from alerts.delivery.channels_config import FOR_MACHINES, FOR_PEOPLE
from contracts.alerts import AlertKind
from tests.receivers import Taken

WEBHOOK: Final = "crm"
SLACK: Final = "team"
KINDS: Final[dict[str, tuple[AlertKind, ...]]] = {WEBHOOK: FOR_MACHINES, SLACK: FOR_PEOPLE}
"""What each channel is told, by its name, which is also the receiver's path."""
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLIC_URL: Final = "https://churn.example"
REFUSED: Final = 40
"""One in so many messages is refused once."""


def policy(url: str) -> str:
    """A policy file; JSON is YAML, too.

    Thresholds are low, since a small model is seldom sure of anything and there shall be many
    alerts to compare. Nothing is capped or held: every alert of the treated half is due at once.
    """
    common = {
        "allow_private": True,
        "allow_demo_model": True,
        "rate_per_minute": 6_000,
        "timeout_seconds": 5,
    }
    return json.dumps(
        {
            "rules": [
                {
                    "name": "default",
                    "threshold": 0.3,
                    "resolve_below": 0.2,
                    "escalation": {"step": 0.08},
                    "cooldown": "2d",
                    "active_days": {"at_least": 2},
                    "channels": [WEBHOOK, SLACK],
                }
            ],
            "channels": [
                {
                    "name": WEBHOOK,
                    "kind": "webhook",
                    "url": f"{url}/{WEBHOOK}",
                    "secrets": [SECRET],
                    **common,
                },
                {"name": SLACK, "kind": "slack", "url": f"{url}/{SLACK}", **common},
            ],
            "storm": {"share": 1, "least_users": 1_000_000},
            "holdout": {"share": 0.5, "epoch": "chaos"},
        }
    )


def refused_once(body: bytes) -> bool:
    """Whether a message is answered with 503 when it comes for the first time."""
    return crc32(body) % REFUSED == 0


def refuses_some() -> Callable[[Taken], int]:
    """An answer that refuses some messages once."""
    seen: set[tuple[str, bytes]] = set()
    lock = threading.Lock()

    def answer(taken: Taken) -> int:
        with lock:
            first = (taken.path, taken.body) not in seen
            seen.add((taken.path, taken.body))
        return 503 if first and refused_once(taken.body) else 204

    return answer
