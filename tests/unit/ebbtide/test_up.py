"""What `up` decides before anything runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import Misconfigured
from ebbtide import embedded
from ebbtide.commands import up
from ebbtide.guard import Guard


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No EBBTIDE_ variable of whoever runs the tests."""
    for name in up.UpSettings.model_fields:
        monkeypatch.delenv(f"EBBTIDE_{name.upper()}", raising=False)


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard with nothing to watch."""
    guard = Guard()
    yield guard
    guard.close()


def parsed(*words: str) -> argparse.Namespace:
    """Options as the command line gives them."""
    parser = argparse.ArgumentParser()
    up.add_parser(parser.add_subparsers())
    return parser.parse_args(["up", *words])


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An option beats its variable, a variable beats the default.
    """
    monkeypatch.setenv("EBBTIDE_KAFKA_PORT", "19092")
    monkeypatch.setenv("EBBTIDE_REDIS_PORT", "16379")

    settings = up.settings_of(parsed("--kafka-port", "29092"))

    assert (29092, 16379, 8000) == (settings.kafka_port, settings.redis_port, settings.port)


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_bad_port_is_named_with_its_option(port: str) -> None:
    """
    A value that cannot be is refused with the option and the variable that set it.
    """
    with pytest.raises(Misconfigured, match=r"--kafka-port \(EBBTIDE_KAFKA_PORT\): .*"):
        up.settings_of(parsed("--kafka-port", port))


def test_services_are_told_where_everything_is() -> None:
    """
    The services' environment holds the embedded servers' addresses, and what those cannot do.
    """
    settings = up.settings_of(parsed("--kafka-port", "19092", "--redis-port", "16379"))

    env = up.service_env(settings, {"PATH": "/bin", "EBBTIDE_KAFKA_IDEMPOTENCE": "true"})

    assert "/bin" == env["PATH"]
    assert "127.0.0.1:19092" == env["EBBTIDE_KAFKA_BOOTSTRAP_SERVERS"]
    assert "false" == env["EBBTIDE_KAFKA_IDEMPOTENCE"]
    assert "redis://127.0.0.1:16379/0" == env["EBBTIDE_REDIS_URL"]
    assert "3000" == env["EBBTIDE_SESSION_TIMEOUT_MS"]
    assert "20" == env["EBBTIDE_FETCH_WAIT_MS"]
    assert "wall" == env["EBBTIDE_CLOCK"]


def test_servers_of_ones_own_replace_the_embedded_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, guard: Guard
) -> None:
    """
    With addresses given nothing is embedded, and producers are as idempotent as configured.
    """
    monkeypatch.setenv("EBBTIDE_KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092,kafka-2:9092")
    monkeypatch.setenv("EBBTIDE_REDIS_URL", "redis://:secret@cache:6379/0")
    settings = up.settings_of(parsed("--data-dir", str(tmp_path)))

    env = up.service_env(settings, {})

    assert [] == up.make_parts(settings, guard=guard, demo=False).servers
    assert "kafka-1:9092,kafka-2:9092" == env["EBBTIDE_KAFKA_BOOTSTRAP_SERVERS"]
    embedded = ("KAFKA_IDEMPOTENCE", "SESSION_TIMEOUT_MS", "FETCH_WAIT_MS")
    assert not {f"EBBTIDE_{name}" for name in embedded} & set(env)
    assert "secret" not in up.welcome(settings, seconds=1)


def test_the_order_is_servers_services_visitors(tmp_path: Path, guard: Guard) -> None:
    """
    Readers of the log stop after its writers, in the order of the flow, and the servers last.
    """
    settings = up.settings_of(parsed("--data-dir", str(tmp_path), "--demo"))
    parts = up.make_parts(settings, guard=guard, demo=True)

    def names(stages: list[list[Any]]) -> list[list[str]]:
        return [[part.name for part in stage] for stage in stages]

    assert "stream" == settings.clock
    services = ["scorer", "alerts", "history", "gateway"]
    assert [["broker", "store"], services, ["simulator"]] == names(parts.start_order())
    readers = [["scorer"], ["alerts", "history"]]
    assert [["simulator"], ["gateway"], *readers, ["broker", "store"]] == names(parts.stop_order())


def test_a_policy_with_channels_brings_the_delivery_worker(tmp_path: Path, guard: Guard) -> None:
    """
    Whoever is to be told is told by a worker of its own, which stops after the alerts worker.
    """
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "rules: [{name: all, channels: [team]}]\n"
        "channels: [{name: team, kind: slack, url: 'https://hooks.example/x'}]\n"
    )
    settings = up.settings_of(parsed("--data-dir", str(tmp_path), "--alert-policy", str(policy)))
    parts = up.make_parts(settings, guard=guard, demo=False)

    assert ["scorer", "alerts", "history", "delivery", "gateway"] == [
        part.name for part in parts.start_order()[1]
    ]
    assert ["delivery"] == [part.name for part in parts.stop_order()[4]]
    env = up.service_env(settings, {})
    assert str(policy) == env["EBBTIDE_ALERT_POLICY"]
    assert "http://127.0.0.1:8000" == env["EBBTIDE_PUBLIC_URL"]
    assert "delivery" in up.welcome(settings, seconds=1)


def test_a_policy_that_cannot_be_read_stops_at_once(tmp_path: Path) -> None:
    """
    A mistake in the policy file is told on the console, not in a worker's log.
    """
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: [{name: all, channels: [nobody]}]\n")

    with pytest.raises(Misconfigured, match="nobody"):
        up.require_policy(up.settings_of(parsed("--alert-policy", str(policy))))


def test_the_welcome_says_where_and_how(tmp_path: Path) -> None:
    """
    Whoever started it sees every address and lines to try; all interfaces are reached by loopback.
    """
    settings = up.settings_of(
        parsed("--data-dir", str(tmp_path), "--host", "0.0.0.0", "--port", "8123")
    )

    told = up.welcome(settings, seconds=3.21)

    assert "Ebbtide is up after 3.2 s." in told
    assert "curl -s http://127.0.0.1:8123/predict -H" in told
    assert "curl -s http://127.0.0.1:8123/events -H" in told
    assert "127.0.0.1:9092" in told
    assert "redis://127.0.0.1:6379/0" in told
    assert "Ctrl-C" in told


def test_off_loopback_it_asks_for_keys_before_anything_starts(tmp_path: Path) -> None:
    """
    Without a file, and with one that cannot be read, the remedy is told on the console.
    """
    away = ("--host", "0.0.0.0")
    broken = tmp_path / "keys.yaml"
    broken.write_text("- {name: a")

    up.require_keys(up.settings_of(parsed()))
    with pytest.raises(Misconfigured, match=r"EBBTIDE_API_KEYS_FILE.*keys new"):
        up.require_keys(up.settings_of(parsed(*away)))
    settings = up.settings_of(parsed(*away)).model_copy(update={"api_keys_file": broken})
    with pytest.raises(Misconfigured, match="not YAML"):
        up.require_keys(settings)
    assert f"a key of {broken}" in up.welcome(settings, seconds=1)


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    """
    Data that cannot be kept is a matter of configuration, told in one line.
    """
    (tmp_path / "lock").mkdir()  # opening it fails for root too

    with pytest.raises(Misconfigured, match=r"cannot write to .*; choose .* --data-dir"):
        embedded.lock_data_dir(tmp_path)


def test_what_is_unread_is_added_up_over_partitions() -> None:
    """
    The records a worker has yet to read are those of all its partitions, and of no other figure.
    """
    metrics = """
# TYPE ebbtide_consumer_lag_records gauge
ebbtide_consumer_lag_records{partition="0",topic="activity-event"} 3.0
ebbtide_consumer_lag_records{partition="1",topic="activity-event"} 4.0
ebbtide_consumer_lag_seconds{partition="1",topic="activity-event"} 100.0
"""

    assert 7 == up.unread(metrics)
    assert 0 == up.unread("")


def test_a_named_model_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    """Only the folder nobody named gets the demo model."""
    missing = up.settings_of(parsed("--model-dir", str(tmp_path / "mdoel")))
    unnamed = up.settings_of(parsed("--data-dir", str(tmp_path / "new")))

    with pytest.raises(Misconfigured, match=r"mdoel.*ebbtide train"):
        up.require_model(missing)
    up.require_model(unnamed)
