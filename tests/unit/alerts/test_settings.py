"""What may be set for the alerts worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from alerts.main import jobs
from alerts.rules import Policy, Rule
from alerts.settings import AlertsSettings
from contracts.errors import Misconfigured
from contracts.times import DAY_MS


def test_the_defaults_are_the_policys() -> None:
    """Without any setting the default rule holds."""
    assert (Rule(), Policy()) == (AlertsSettings().rule, AlertsSettings().policy)


def test_thresholds_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each threshold has a variable; the cooldown is stated in days."""
    for name, value in {
        "THRESHOLD": "0.8",
        "RESOLVE_BELOW": "0.4",
        "ESCALATION_STEP": "0.1",
        "COOLDOWN_DAYS": "0.5",
        "LEAST_ACTIVE_DAYS": "1",
    }.items():
        monkeypatch.setenv(f"EBBTIDE_ALERT_{name}", value)

    assert Rule("default", 0.8, 0.4, 0.1, DAY_MS // 2, 1) == AlertsSettings().rule


@pytest.mark.parametrize("value", ["auto", "0.6"])
def test_a_threshold_may_be_left_to_the_model(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """As `auto`, which is what holds unless a number is given."""
    monkeypatch.setenv("EBBTIDE_ALERT_THRESHOLD", value)

    assert (None if value == "auto" else 0.6) == AlertsSettings().rule.threshold


def test_resolving_above_the_threshold_is_refused() -> None:
    """The message names both variables and their values."""
    with pytest.raises(ValidationError) as refusal:
        AlertsSettings(alert_threshold=0.4, alert_resolve_below=0.6)

    message = str(refusal.value)
    assert "EBBTIDE_ALERT_RESOLVE_BELOW (0.6)" in message
    assert "EBBTIDE_ALERT_THRESHOLD (0.4)" in message


@pytest.mark.parametrize(
    "values",
    [
        {"alert_threshold": 1.0},
        {"alert_threshold": "automatic"},
        {"alert_resolve_below": 0.0},
        {"alert_escalation_step": 0.0},
        {"alert_cooldown_days": -1},
        {"alert_least_active_days": -1},
        {"alerts_health_port": 70_000},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, float | str]) -> None:
    """A probability of 0 or 1, a negative time or count, an impossible port."""
    with pytest.raises(ValidationError):
        AlertsSettings.model_validate(values)


def test_a_policy_file_of_no_use_stops_the_start(tmp_path: Path) -> None:
    """Before anything is connected."""
    with pytest.raises(Misconfigured, match="cannot read"):
        jobs(AlertsSettings(alert_policy=tmp_path / "none.yaml"))


def test_the_worker_reads_scores_and_commands() -> None:
    """In groups of their own, behind one health port."""
    (scores, _), (commands, _) = jobs(AlertsSettings())

    assert ("churn-score", "alert-command") == (scores.topic, commands.topic)
    assert scores.group != commands.group
    assert "alert-command" in scores.topics
