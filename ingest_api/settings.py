"""What the gateway reads from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ingest_api.admission import MIB, Limits
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

    max_in_flight: Annotated[int, Field(ge=1)] = Limits().in_flight
    """Requests under way of `/predict`, and once more of the rest; others get 503."""

    max_body_bytes: Annotated[int, Field(ge=MIB)] = Limits().body_bytes
    """Bytes the bodies of requests under way may come to; others get 503."""

    max_connections: Annotated[int, Field(ge=1)] = Limits().connections
    """Open connections; a request on another gets 503, and is the last on it."""

    shed_after_ms: Annotated[int, Field(ge=1, le=10_000)] = 20
    """With requests queueing for 0.1 s of work on end, those behind more than this get 503."""

    @property
    def limits(self) -> Limits:
        """What the gateway takes on."""
        return Limits(
            in_flight=self.max_in_flight,
            body_bytes=self.max_body_bytes,
            connections=self.max_connections,
            standing_wait=self.shed_after_ms / 1000,
        )
