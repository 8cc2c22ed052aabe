"""What the alerts worker reads from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from alerts.rules import Policy, Rule
from contracts.default_rule import COOLDOWN_MS, LEAST_ACTIVE_DAYS
from contracts.times import DAY_MS
from runtime.settings import ServiceSettings, ThresholdSetting, stated


class AlertsSettings(ServiceSettings):
    """The policy file or the thresholds of the default rule, and where health is served."""

    alert_policy: Path | None = None
    """The policy file (`docs/alerts.md`); with one, the five thresholds below do not count."""

    alert_threshold: ThresholdSetting = "auto"
    """An episode opens at or above this churn probability; `auto`: at what the scores state, which
    is the threshold that the scorer was told or that its model was trained to."""

    alert_resolve_below: ThresholdSetting = "auto"
    """An open episode resolves below this, and not above the threshold; `auto`: below five sevenths
    of the threshold."""

    alert_escalation_step: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Rise in probability since the episode's last alert that causes another one."""

    alert_cooldown_days: Annotated[float, Field(ge=0, le=3650)] = COOLDOWN_MS / DAY_MS
    """Least time from a user's last alert to the next opening, and between two escalations."""

    alert_least_active_days: Annotated[int, Field(ge=0, le=28)] = LEAST_ACTIVE_DAYS
    """Active days a user must have had before an episode may open."""

    alerts_health_port: Annotated[int, Field(ge=0, le=65535)] = 8002
    """Port of /livez, /readyz and /metrics."""

    health_host: str = "127.0.0.1"
    """Address they listen on."""

    @model_validator(mode="after")
    def _ordered(self) -> AlertsSettings:
        below, threshold = stated(self.alert_resolve_below), stated(self.alert_threshold)
        if below is not None and threshold is not None and below > threshold:
            raise ValueError(
                f"EBBTIDE_ALERT_RESOLVE_BELOW ({below}) must not be above "
                f"EBBTIDE_ALERT_THRESHOLD ({threshold}), or an episode would resolve "
                "at the risk that opens it"
            )
        return self

    @property
    def rule(self) -> Rule:
        """The default rule under these thresholds."""
        return Rule(
            threshold=stated(self.alert_threshold),
            resolve_below=stated(self.alert_resolve_below),
            escalation_step=self.alert_escalation_step,
            cooldown_ms=round(self.alert_cooldown_days * DAY_MS),
            least_active_days=self.alert_least_active_days,
        )

    @property
    def policy(self) -> Policy:
        """What is in force without a policy file."""
        return Policy((self.rule,))
