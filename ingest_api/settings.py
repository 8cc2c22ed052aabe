"""What the gateway reads from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from runtime.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """Read once, in main()."""

    host: str = "127.0.0.1"
    """Where the gateway listens. Other than loopback: think of who can reach it."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """Port of the gateway; 0 picks a free one."""

    model_dir: Path = Path(".ebbtide/model")
    """Folder with model.pkl and manifest.json."""

    model_sha256: str | None = None
    """Digest of model.pkl this deployment trusts; None trusts the manifest."""

    alert_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """The probability `at_risk_at` is about; the alerts worker reads the same variable."""
