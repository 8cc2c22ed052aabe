"""Whom an alert may have saved: what happened after one is no longer what would have happened.

A delivered alert is a treatment. A row whose horizon it falls into, or that lies within a horizon
after it, shows what the user did *and somebody did about it*; learning from it teaches that users
at risk stay. Such rows leave training and evaluation. Users held out as controls were alerted
about, but to nobody: their rows stay, and count for those that left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from contracts.alerts import AlertKind, Arm
from contracts.errors import BadRecord, Misconfigured
from contracts.scores import Moment
from contracts.times import to_ms
from model.dataset import Moments
from model.event_log import EventLog
from model.instants import Instants

ACTED_ON: Final = frozenset({"opened", "escalated", "churned"})
"""Kinds of alert that somebody may act on; `resolved` says that the user is back."""

_NOBODY: Final = np.empty(0, np.int64)


class _Alert(msgspec.Struct, frozen=True):
    """What of a `churn-alert` message, or of a line of the delivery log, matters here."""

    user_id: str
    kind: AlertKind
    occurred_at: Moment
    delivered: bool = True
    """What stood on `churn-alert` is taken to have reached somebody, unless it says otherwise."""
    arm: Arm = "treated"
    control: bool = False
    """The user was held out, which a message says by its arm: nobody was told."""


@dataclass(frozen=True)
class Treatments:
    """Alerts about users of a log, (n,) each: who, when (epoch ms), and whether held out."""

    user: np.ndarray
    at: np.ndarray
    control: np.ndarray

    @property
    def holdout_share(self) -> float | None:
        """Users held out among all users alerted about; None where nobody was held out."""
        held = len(np.unique(self.user[self.control]))
        return held / len(np.unique(self.user)) if held else None


NO_TREATMENTS: Final = Treatments(_NOBODY, _NOBODY, np.empty(0, bool))


@dataclass(frozen=True)
class Exposure:
    """What alerts make of moments: (n,) bool treated, and (n,) float weights of what stays."""

    treated: np.ndarray
    weight: np.ndarray


def read_alerts(path: Path, log: EventLog) -> Treatments:
    """Read alerts, one JSON object per line, as they travel on `churn-alert`.

    Left out: alerts about users the log does not know, `resolved` ones, and those that reached
    nobody, unless the user was held out. Raises BadRecord naming the line, Misconfigured for an
    unreadable file.
    """
    index = {name: i for i, name in enumerate(log.user_ids)}
    user, at, control = [], [], []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror or error}") from error
    decoder = msgspec.json.Decoder(_Alert)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            alert = decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise BadRecord(f"{path}, line {number}: not a churn alert: {error}") from None
        if alert.user_id not in index or alert.kind not in ACTED_ON:
            continue
        held_out = alert.control or alert.arm == "control"
        if not (alert.delivered or held_out):
            continue
        user.append(index[alert.user_id])
        at.append(to_ms(alert.occurred_at))
        control.append(held_out)
    return Treatments(np.array(user, np.int64), np.array(at, np.int64), np.array(control, bool))


def exposure(
    treatments: Treatments,
    user: np.ndarray,
    as_of: np.ndarray,
    horizon: int,
    holdout_share: float | None = None,
) -> Exposure:
    """Which of the moments (n,) an alert may have touched, and what the others count.

    Treated: an alert that was no control's lies in [as_of - horizon, as_of + horizon]. A moment
    near alerts of controls alone stands for those that were treated: it counts one over the
    holdout share (by default the share found in the alerts).
    """
    share = holdout_share if holdout_share is not None else treatments.holdout_share
    acted = _near(treatments, ~treatments.control, user, as_of, horizon)
    held = _near(treatments, treatments.control, user, as_of, horizon) & ~acted
    weight = np.where(held, 1.0 / share if share else 1.0, 1.0)
    return Exposure(acted, np.where(acted, 0.0, weight))


def _near(
    treatments: Treatments, chosen: np.ndarray, user: np.ndarray, as_of: np.ndarray, horizon: int
) -> np.ndarray:
    alerts = Instants(treatments.user[chosen], treatments.at[chosen])
    return np.asarray(alerts.next(user, as_of - horizon - 1) <= as_of + horizon)


def repeated(moments: Moments, weight: np.ndarray, seed: int) -> Moments:
    """Each moment as often as it counts; weight 0 leaves it out, a fraction is drawn for.

    Repeating, rather than weighting, lets everything that follows, figures included, count right
    without knowing; errors are by user, so repeats make nothing look more certain.
    """
    rng = np.random.default_rng(seed)
    whole = np.floor(weight).astype(np.int64)
    times = whole + (rng.random(len(weight)) < weight - whole)
    return moments[np.repeat(np.arange(len(moments)), times)]
