"""Prometheus instruments of the gateway, and the middleware that feeds them."""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.metrics import Metric

_BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
)  # fmt: skip
UNMATCHED: Final = "unmatched"


class GatewayMetrics:
    """Everything the gateway reports; one registry per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            Metric.REQUESTS, "Requests answered.", ("route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            Metric.REQUEST_SECONDS, "Time to answer.", ("route",),
            registry=registry, buckets=_BUCKETS,
        )  # fmt: skip
        self.shed = Counter(
            Metric.REQUESTS_SHED, "Requests told to come again, and not counted as answered.",
            ("route", "reason"), registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            Metric.REQUESTS_REFUSED, "Requests of those who may not, not counted as answered.",
            ("reason",), registry=registry,
        )  # fmt: skip
        self.events_accepted = Counter(
            Metric.EVENTS_ACCEPTED, "Events Kafka acknowledged.", registry=registry
        )
        self.events_rejected = Counter(
            Metric.EVENTS_REJECTED, "Events refused with a reason.", registry=registry
        )
        self.snapshots_dropped = Counter(
            Metric.SNAPSHOTS_DROPPED, "Snapshots of /predict that did not reach Kafka.",
            registry=registry,
        )  # fmt: skip
        self.commands = Counter(
            Metric.COMMANDS, "What was said of alerts and Kafka acknowledged.", ("kind",),
            registry=registry,
        )  # fmt: skip
        self.listeners = Gauge(
            Metric.LISTENERS, "Clients that follow the alerts.", registry=registry
        )
        self.listeners_dropped = Counter(
            Metric.LISTENERS_DROPPED, "Clients that followed the alerts too slowly.",
            registry=registry,
        )  # fmt: skip


class Measured:
    """ASGI middleware: counts and times requests by route template, never by path."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        began = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path_format", UNMATCHED)
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - began)
