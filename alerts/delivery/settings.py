"""What the delivery worker reads from its environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from alerts.settings import AlertsSettings


class DeliverySettings(AlertsSettings):
    """The policy file, where people reach the gateway, and where health is served."""

    public_url: str = ""
    """Where people reach the gateway, such as https://churn.example.com; empty: no links."""

    delivery_health_port: Annotated[int, Field(ge=0, le=65535)] = 8003
    """Port of /livez, /readyz and /metrics."""

    delivery_lease_seconds: Annotated[float, Field(ge=0.5, le=300)] = 5.0
    """Of several delivery workers one sends; unheard of for this long, another one does."""

    @field_validator("public_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value
