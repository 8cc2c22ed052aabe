"""Scorers restarted one after the other, under load."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.rolling_restart import environment, measure
from contracts.topics import ACTIVITY, SCORES
from runtime.kafka import ensure_topics
from runtime.settings import ServiceSettings
from tests.servers import KafkaServer, RedisServer

PARTITIONS = 4


@pytest.mark.apache_kafka
async def test_a_rolling_restart_repeats_nothing_and_delays_little(
    clean_kafka: KafkaServer, clean_redis: RedisServer, demo_model: Path, tmp_path: Path
) -> None:
    """Each event has its score once; nobody waits a second longer than in calm."""
    settings = ServiceSettings(kafka_bootstrap_servers=clean_kafka.bootstrap, partitions=PARTITIONS)
    await ensure_topics(settings, (ACTIVITY, SCORES))
    env = environment(
        clean_kafka.bootstrap, clean_kafka.idempotence, clean_redis.url, demo_model, PARTITIONS
    )

    figures = await measure(
        clean_kafka.bootstrap,
        os.environ | env,
        tmp_path,
        partitions=PARTITIONS,
        rate=50,
        calm_seconds=3,
    )

    told = "\n".join(figures.lines())
    assert (0, 0) == (figures.repeats, figures.missing), told
    assert [0, 0] == figures.codes, told
    assert figures.lag < figures.calm_lag + 1.0, told
