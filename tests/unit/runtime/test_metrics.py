"""Gauges of partitions that come and go."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from contracts.metrics import Metric
from runtime.metrics import WorkerMetrics


def test_a_partition_that_left_is_no_longer_reported() -> None:
    """A dashboard must not show the lag of a partition another worker owns now."""
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry, "things")
    for partition in ("3", "33"):
        metrics.lag_records.labels("things", partition).set(5)
        metrics.lag_seconds.labels("things", partition).set(5)
        metrics.oldest_timer.labels(partition).set(5)

    metrics.forget(3)
    metrics.forget(3)

    text = generate_latest(registry).decode()
    assert 'partition="3"' not in text
    assert 3 == text.count('partition="33"')


def test_every_instrument_has_a_public_name() -> None:
    """Nothing is exported that is not in the list of names."""
    names = {
        family.name for family in WorkerMetrics(CollectorRegistry(), "things").registry.collect()
    }
    assert names <= {metric.value.removesuffix("_total") for metric in Metric}
