"""What the alerts worker reads from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from alerts.rules import Policy, Rule
from contracts.times import DAY_MS
from runtime.settings import ServiceSettings

Probability = Annotated[float, Field(gt=0, lt=1)]


class AlertsSettings(ServiceSettings):
    """The policy file or the thresholds of the default rule, and where health is served."""

    alert_policy: Path | None = None
    """The policy file (`docs/alerts.md`); with one, the five thresholds below do not count."""

    alert_threshold: Probability = 0.7
    """An episode opens at or above this churn probability."""

    alert_resolve_below: Probability = 0.5
    """An open episode resolves below this; not above the threshold."""

    alert_escalation_step: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Rise in probability since the episode's last alert that causes another one."""

    alert_cooldown_days: Annotated[float, Field(ge=0, le=3650)] = 7
    """Least time from a user's last alert to the next opening, and between two escalations."""

    alert_least_active_days: Annotated[int, Field(ge=0, le=28)] = 3
    """Active days a user must have had before an episode may open."""

    alerts_health_port: Annotated[int, Field(ge=0, le=65535)] = 8002
    """Port of /livez, /readyz and /metrics."""

    health_host: str = "127.0.0.1"
    """Address they listen on."""

    @model_validator(mode="after")
    def _ordered(self) -> AlertsSettings:
        if self.alert_resolve_below > self.alert_threshold:
            raise ValueError(
                f"EBBTIDE_ALERT_RESOLVE_BELOW ({self.alert_resolve_below}) must not be above "
                f"EBBTIDE_ALERT_THRESHOLD ({self.alert_threshold}), or an episode would resolve "
                "at the risk that opens it"
            )
        return self

    @property
    def rule(self) -> Rule:
        """The default rule under these thresholds."""
        return Rule(
            threshold=self.alert_threshold,
            resolve_below=self.alert_resolve_below,
            escalation_step=self.alert_escalation_step,
            cooldown_ms=round(self.alert_cooldown_days * DAY_MS),
            least_active_days=self.alert_least_active_days,
        )

    @property
    def policy(self) -> Policy:
        """What is in force without a policy file."""
        return Policy((self.rule,))
