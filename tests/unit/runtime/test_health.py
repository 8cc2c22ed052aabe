"""Reasons why a worker is not ready."""

from __future__ import annotations

from runtime.health import Health


def test_a_worker_is_ready_when_no_reason_is_left() -> None:
    """It starts unready; a later reason of a name replaces the earlier one."""
    health = Health()
    assert ["start"] == list(health.reasons)

    health.waits("redis", "away")
    health.waits("redis", "still away")
    health.goes_on("start")
    assert {"redis": "still away"} == health.reasons

    health.goes_on("redis")
    health.goes_on("redis")
    assert {} == health.reasons


def test_reasons_are_a_copy() -> None:
    """Who reads them cannot make a worker ready."""
    health = Health()
    health.reasons.clear()
    assert health.reasons


def test_a_part_waits_for_the_whole() -> None:
    """Its reasons stand in the whole under its name, and go without touching the others."""
    whole = Health()
    part = whole.part("commands")
    whole.waits("partition 1", "kafka")
    part.waits("partition 1", "redis")

    assert {"start": "starting", "partition 1": "redis"} == part.reasons
    for health in (whole, part):
        health.goes_on("start")
    part.goes_on("partition 1")

    assert ({}, {"partition 1": "kafka"}) == (part.reasons, whole.reasons)
