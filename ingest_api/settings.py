"""What the gateway reads from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from ingest_api.access import SESSION_HOURS, require_access
from ingest_api.admission import MIB, Limits
from runtime.settings import ServiceSettings, ThresholdSetting


class GatewaySettings(ServiceSettings):
    """Read once, in main()."""

    host: str = "127.0.0.1"
    """Where the gateway listens. Other than loopback: only with `api_keys_file`."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """Port of the gateway; 0 picks a free one."""

    model_dir: Path = Path(".ebbtide/model")
    """Folder with model.pkl and manifest.json."""

    model_sha256: str | None = None
    """Digest of model.pkl this deployment trusts; None trusts the manifest."""

    alert_threshold: ThresholdSetting = "auto"
    """The risk `at_risk_at` is about, as the scorer's; `auto`: the model's."""

    max_in_flight: Annotated[int, Field(ge=1)] = Limits().in_flight
    """Requests under way of `/predict`, and once more of the rest; others get 503. Single events
    are not counted: there is one a connection."""

    max_body_bytes: Annotated[int, Field(ge=MIB)] = Limits().body_bytes
    """Bytes the bodies of requests under way may come to; others get 503."""

    max_connections: Annotated[int, Field(ge=1)] = Limits().connections
    """Open connections; a request on another gets 503, and is the last on it."""

    shed_after_ms: Annotated[int, Field(ge=1, le=10_000)] = 20
    """With requests queueing for 0.1 s of work on end, those behind more than this get 503."""

    api_keys_file: Path | None = None
    """The keys that are let in (`ebbtide keys new`); None: everybody on this machine is."""

    require_keys: bool = False
    """Refuse to start without `api_keys_file` on loopback, too: for a gateway behind a proxy."""

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names the gateway is called by, separated by commas, besides those of this machine."""

    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may ask, with a key, separated by commas: `https://crm.example`."""

    public_url: str = ""
    """Where people reach the gateway; the delivery worker puts it into links."""

    session_hours: Annotated[float, Field(ge=0.1, le=24 * 31)] = SESSION_HOURS
    """How long a login of the dashboard lasts."""

    @field_validator("allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name or set(name) & set("/:*@ "):
                raise ValueError(f"{name!r} is no host's name: leave scheme and port out")
        return names

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError(f"{origin!r} is no origin: one is like https://crm.example")
        return origins

    def require_access(self) -> None:
        """Raise Misconfigured where others than this machine could ask without a key."""
        require_access(self.host, self.api_keys_file, require_keys=self.require_keys)

    @property
    def limits(self) -> Limits:
        """What the gateway takes on."""
        return Limits(
            in_flight=self.max_in_flight,
            body_bytes=self.max_body_bytes,
            connections=self.max_connections,
            standing_wait=self.shed_after_ms / 1000,
        )
