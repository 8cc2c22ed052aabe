"""What a policy says, as values: whom it watches, when it speaks, and through what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from pydantic import BaseModel, SecretStr

from alerts.delivery.channels_config import Channel, QuietHours, Storm
from contracts.alerts import Severity
from contracts.default_rule import COOLDOWN_MS, LEAST_ACTIVE_DAYS, RESOLVE_SHARE, first_stated
from contracts.ids import digest
from contracts.scores import DECIMALS, Attributes, ChurnScore

Attribute = Literal["location", "referral_source", "device_type", "plan", "value"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Users by one attribute: among some names, or a number of at least so much."""

    attribute: Attribute
    among: tuple[str, ...] = ()
    at_least: float | None = None

    def holds(self, attributes: Attributes) -> bool:
        """Whether the user has it; what is not known of a user selects nobody."""
        value = getattr(attributes, self.attribute)
        if value is None:
            return False
        if self.at_least is not None:
            return bool(value >= self.at_least)
        return str(value) in self.among


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert rule: the defaults are the default rule's."""

    name: str = "default"
    threshold: float | None = None
    """An episode opens at or above this probability, snapped to the model's ladder; None: at the
    threshold that the score states."""
    resolve_below: float | None = None
    """None: below RESOLVE_SHARE of the threshold. Never above the threshold, which may move."""
    escalation_step: float = 0.15
    """Rise over the episode's last alert that is worth another one."""
    cooldown_ms: int = COOLDOWN_MS
    """Least time from a user's last alert to the next opening, and between two escalations."""
    least_active_days: int = LEAST_ACTIVE_DAYS
    """Active days behind a score before it may open an episode."""
    most_active_days: int | None = None
    """Only users with no more than these: newcomers."""
    top: float | None = None
    """Openings a day over all users, instead of a threshold; `threshold` serves the first day."""
    for_ms: int = 0
    """How long the risk must have been there before an episode opens."""
    severity: Severity = "warning"
    escalated_severity: Severity | None = None
    """Severity from the first escalation on; None leaves it."""
    where: tuple[Selection, ...] = ()
    """All of them must hold."""
    looks_again: bool = False
    """Whether somebody held back by the cooldown is looked at when it ends, without a new score."""
    channels: tuple[str, ...] = ()
    quiet_hours: QuietHours | None = None
    max_per_hour: int | None = None
    """Alerts of the rule told one by one within an hour; the others come as a digest."""
    words: str = ""
    """A sentence of its own that goes with every alert."""

    def opens_at(self, score: ChurnScore) -> float:
        """The rung from which the score opens an episode: silence is scored at rungs only."""
        wanted = first_stated(self.threshold, score.alert_threshold)
        rungs = [crossing.level for crossing in score.crossings]
        return min(rungs, key=lambda rung: abs(rung - wanted), default=wanted)

    def resolves_below(self, score: ChurnScore) -> float:
        """The risk below which the score resolves an open episode."""
        threshold = self.opens_at(score)
        if self.resolve_below is None:
            return round(RESOLVE_SHARE * threshold, DECIMALS)
        moves = self.threshold is None and self.top is None
        # Another model may open episodes lower than anybody thought of.
        return min(self.resolve_below, threshold) if moves else self.resolve_below

    def selects(self, score: ChurnScore) -> bool:
        """Whether the rule is for this user at all, however likely they are to leave."""
        newcomers = self.most_active_days
        return (newcomers is None or score.evidence.active_days <= newcomers) and all(
            selection.holds(score.attributes) for selection in self.where
        )


@dataclass(frozen=True, slots=True)
class Holdout:
    """The share of users who are alerted about to nobody, and the name of the experiment."""

    share: float = 0.0
    epoch: str = "1"
    """Another name draws anew."""


@dataclass(frozen=True)
class Policy:
    """Rules in order, and what concerns all of them."""

    rules: tuple[Rule, ...] = (Rule(),)
    channels: tuple[Channel, ...] = ()
    storm: Storm = field(default_factory=Storm)
    holdout: Holdout = Holdout()

    @cached_property
    def digest(self) -> str:
        """Names what the policy says: comments, order of fields and defaults aside."""
        said = json.dumps(asdict(self), sort_keys=True, default=_plain)
        return digest(said)[:16]

    def rule(self, name: str) -> Rule:
        """The rule of this name, the first where there is none (any more)."""
        return next((rule for rule in self.rules if rule.name == name), self.rules[0])

    @cached_property
    def tops(self) -> Sequence[Rule]:
        """The rules that ask for so many a day."""
        return tuple(rule for rule in self.rules if rule.top is not None)


def _plain(value: object) -> Any:
    if isinstance(value, SecretStr):
        return digest(value.get_secret_value())
    if isinstance(value, BaseModel):
        return dict(value)
    raise TypeError(type(value).__name__)  # not reached: a policy holds nothing else


DEFAULT: Final = Policy()
"""In force where there is no file and no setting."""
