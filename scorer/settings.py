"""What the scorer reads from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from contracts.default_rule import LEAST_ACTIVE_DAYS
from runtime.settings import ServiceSettings, ThresholdSetting


class ScorerSettings(ServiceSettings):
    """Read once, in main()."""

    model_dir: Path = Path(".ebbtide/model")
    """Folder with model.pkl and manifest.json."""

    model_sha256: str | None = None
    """Digest of model.pkl this deployment trusts; None trusts the manifest."""

    alert_threshold: ThresholdSetting = "auto"
    """The risk `at_risk_at` is about, and which scores state for the alerts worker; `auto`: the
    model's."""

    alert_least_active_days: Annotated[int, Field(ge=0, le=28)] = LEAST_ACTIVE_DAYS
    """Active days an alert needs: below it scores carry no reasons. The alerts worker's, too."""

    model_spread_minutes: Annotated[float, Field(ge=0)] = 10.0
    """A new model rescores everybody with a timer, spread evenly over this time."""

    health_host: str = "127.0.0.1"
    """Where the health and metrics port listens."""

    scorer_health_port: Annotated[int, Field(ge=0, le=65535)] = 8001
    """Port of /livez, /readyz and /metrics."""
