"""Prometheus instruments of the workers, named by `contracts.metrics`."""

from __future__ import annotations

from contextlib import suppress
from copy import copy

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from contracts.metrics import Metric

_FAST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_SLOW_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600, 3600)
_COUNT_BUCKETS = (1, 5, 10, 50, 100, 250, 500, 1000, 2000, 5000)


class WorkerMetrics:
    """Everything a consumer of one topic reports; one registry per process."""

    def __init__(self, registry: CollectorRegistry, topic: str) -> None:
        self.topic = topic
        self.registry = registry

        def counter(name: Metric, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self.records = counter(Metric.RECORDS, "Records read and folded.", "topic")
        self.parked = counter(Metric.RECORDS_PARKED, "Records sent to the dead letters.", "topic")
        self.skipped = counter(
            Metric.RECORDS_SKIPPED, "Records the history could not read.", "topic"
        )
        self.sent_home = counter(
            Metric.RECORDS_SENT_HOME, "Records another partitioner had put elsewhere.", "topic"
        )
        self.refused = counter(
            Metric.REFUSED_WRITES, "Saves refused because Redis held other marks.", "topic"
        )
        self.restarts = counter(
            Metric.RESTARTS, "Times the worker started itself again because it stood still."
        )
        self.scores = counter(Metric.SCORES, "Scores published.", "trigger")
        self.alerts = counter(Metric.ALERTS, "Alerts published.", "kind")
        self.batch_records = Histogram(
            Metric.BATCH_RECORDS, "Records in a batch.", ("topic",),
            registry=registry, buckets=_COUNT_BUCKETS,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            Metric.STAGE_SECONDS, "Time a batch spends in each stage.", ("stage",),
            registry=registry, buckets=_FAST_BUCKETS,
        )  # fmt: skip
        self.score_lag = Histogram(
            Metric.SCORE_LAG_SECONDS, "Oldest log time of a batch to its published scores.",
            registry=registry, buckets=_SLOW_BUCKETS,
        )  # fmt: skip
        self.lag_records = Gauge(
            Metric.CONSUMER_LAG, "Records not yet read.", ("topic", "partition"), registry=registry
        )
        self.lag_seconds = Gauge(
            Metric.CONSUMER_LAG_SECONDS, "Age of the last record read while others wait.",
            ("topic", "partition"), registry=registry,
        )  # fmt: skip
        self.oldest_timer = Gauge(
            Metric.OLDEST_TIMER_SECONDS, "How far the oldest due timer is behind the clock.",
            ("partition",), registry=registry,
        )  # fmt: skip

        self.policy_broken = Gauge(
            Metric.POLICY_BROKEN,
            "1 while the policy file cannot be read and the one before it is in force.",
            registry=registry,
        )

    def of(self, topic: str) -> WorkerMetrics:
        """The same instruments, for the consumer of another topic in this process."""
        other = copy(self)
        other.topic = topic
        return other

    def forget(self, partition: int) -> None:
        """Drop the gauges of a partition another process owns now."""
        for gauge in (self.lag_records, self.lag_seconds):
            with suppress(KeyError):
                gauge.remove(self.topic, str(partition))
        with suppress(KeyError):
            self.oldest_timer.remove(str(partition))
