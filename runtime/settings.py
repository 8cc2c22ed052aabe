"""What every service reads from its environment, once, in main()."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from contracts.activity import DEFAULT_PASSIVE_TYPES, FoldRules
from contracts.times import DAY_MS

ThresholdSetting = Literal["auto"] | Annotated[float, Field(gt=0, lt=1)]
"""A risk from which alerts open; `auto`: the model says."""


def stated(threshold: ThresholdSetting) -> float | None:
    """What somebody set; None leaves it to the model."""
    return None if threshold == "auto" else threshold


class ServiceSettings(BaseSettings):
    """Addresses and rules all services share; each service adds its own."""

    model_config = SettingsConfigDict(
        env_prefix="EBBTIDE_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    """Kafka addresses, `host:port` separated by commas."""

    kafka_idempotence: bool = True
    """Idempotent producers. Off only for the embedded broker, which cannot do it."""

    score_compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "snappy"
    """Of `churn-score`. Scores are much alike: they become six times smaller, in less time than
    sending them whole takes."""

    session_timeout_ms: Annotated[int, Field(ge=500, le=300_000)] = 10_000
    """A worker unheard of for this long loses its partitions to another.

    The embedded broker lets a group form only after half of it, so `ebbtide up` makes it short.
    """

    fetch_wait_ms: Annotated[int, Field(ge=5, le=5_000)] = 200
    """How long a broker may hold a fetch that finds nothing: how stale a partition's clock may be.

    Kafka answers when something comes; the embedded broker looks again only after half of it, so
    `ebbtide up` makes it short.
    """

    stall_seconds: Annotated[float, Field(ge=5, le=3_600)] = 30.0
    """A worker that gets nowhere with what lies unread for this long restarts itself."""

    stop_seconds: Annotated[float, Field(ge=1, le=600)] = 15.0
    """What a worker may take to stop; below what its supervisor grants before it kills."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """The record store; `redis+cluster://` names a cluster. `noeviction` is a must."""

    partitions: Annotated[int, Field(ge=1, le=4096)] = 8
    """Partition count of topics created when missing. Pinned in Redis: changing it is a rebuild."""

    replication_factor: Annotated[int, Field(ge=1, le=32)] = 1
    """Replicas of topics created when missing; 3 on a cluster, with `min.insync.replicas=2`."""

    clock: Literal["wall", "stream"] = "wall"
    """`wall`: silence timers fire as time passes. `stream`: time is what the log says (replay)."""

    passive_types: Annotated[tuple[str, ...], NoDecode] = DEFAULT_PASSIVE_TYPES
    """Event types (shell patterns, separated by commas) that do not count as activity."""

    retention_days: Annotated[int, Field(ge=1, le=8000)] = 730
    """An event later than last-seen plus this starts the user's facts anew."""

    log_retention_days: Annotated[int, Field(ge=1)] | None = None
    """How long Kafka keeps activity; bounds how long Redis must keep a record. None: for ever."""

    log_format: Literal["console", "json"] = "json"
    """How log lines look."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe line that is written."""

    @field_validator("passive_types", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def fold_rules(self) -> FoldRules:
        """The rules `fold` runs under."""
        return FoldRules(self.passive_types, self.retention_days * DAY_MS)

    @property
    def record_ttl_ms(self) -> int | None:
        """Lifetime of a record after its last write: garbage collection, never a fact."""
        if self.log_retention_days is None:
            return None
        return (self.retention_days + self.log_retention_days) * DAY_MS
