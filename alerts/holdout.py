"""Who is held out of an experiment: decided once per user and epoch, by nobody's choice."""

from __future__ import annotations

from hashlib import sha256

from contracts.alerts import Arm

_WHOLE = float(2**64)


def arm(user_id: str, epoch: str, share: float) -> Arm:
    """Return the user's arm: `control` for about `share` (0 to 1) of all users.

    A hash of epoch and user decides, so it needs no memory, is the same for every rule and every
    worker, and a larger share only adds users. Another epoch draws anew.
    """
    drawn = sha256(f"{len(epoch)}:{epoch}:{user_id}".encode()).digest()
    return "control" if int.from_bytes(drawn[:8]) / _WHOLE < share else "treated"
