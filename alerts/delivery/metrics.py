"""Prometheus instruments of deliveries, named by `contracts.metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from contracts.metrics import Metric


class DeliveryMetrics:
    """What the delivery worker reports besides what every worker does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.outcomes = Counter(
            Metric.DELIVERIES, "Deliveries by what became of them.", ("channel", "outcome"),
            registry=registry,
        )  # fmt: skip
        self.attempts = Counter(
            Metric.DELIVERY_ATTEMPTS, "Attempts, failed ones included.", ("channel",),
            registry=registry,
        )  # fmt: skip
        self.repeats = Counter(
            Metric.DELIVERY_REPEATS,
            "Attempts made although it is unknown what became of the one before.", ("channel",),
            registry=registry,
        )  # fmt: skip
        self.known = Counter(
            Metric.DELIVERY_KNOWN, "Alerts that came again under an id that is known.",
            registry=registry,
        )  # fmt: skip
        self.held = Gauge(
            Metric.DELIVERIES_HELD, "Alerts held by the storm guard.", registry=registry
        )
