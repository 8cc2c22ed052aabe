"""Servers as fixtures; see tests/servers.py for where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbtide.guard import Guard
from tests import servers
from tests.servers import KafkaServer, RedisServer

left_out: list[str] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the chosen servers cannot show, and remember it for the summary."""
    if servers.source() != "embedded":
        return
    needing = [item for item in items if item.get_closest_marker("apache_kafka")]
    left_out.extend(item.name for item in needing)
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Nothing is left out in silence."""
    if left_out:
        terminalreporter.line(
            f"{len(left_out)} tests need Apache Kafka (EBBTIDE_TEST_SERVERS=native): "
            + ", ".join(left_out)
        )


def pytest_report_header() -> str:
    """Say which servers the figures below were made with."""
    return servers.described()


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    """Stops the servers should the test run be killed."""
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, guard: Guard) -> Iterator[KafkaServer]:
    """A Kafka shared by the whole run; whatever earlier tests left is still in it."""
    server = servers.new_kafka(tmp_path_factory.mktemp("servers"), guard)
    server.start()
    yield server
    servers.end(server)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory, guard: Guard) -> Iterator[RedisServer]:
    """A Redis shared by the whole run; whatever earlier tests left is still in it."""
    server = servers.new_redis(tmp_path_factory.mktemp("servers"), guard)
    server.start()
    yield server
    servers.end(server)


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model a fresh installation starts with; trained once, in some seconds."""
    from ebbtide.demo_model import ensure  # noqa: PLC0415  (heavy, and few tests need it)

    folder = tmp_path_factory.mktemp("model")
    ensure(folder)
    return folder


@pytest.fixture
def clean_kafka(request: pytest.FixtureRequest) -> KafkaServer:
    """A running Kafka without topics; the test may stop, kill and restart it."""
    server: KafkaServer = request.getfixturevalue("kafka")
    _revive(server)
    server.wipe()
    return server


@pytest.fixture
def clean_redis(request: pytest.FixtureRequest) -> RedisServer:
    """A running Redis without keys; the test may stop, kill and restart it."""
    server: RedisServer = request.getfixturevalue("redis_server")
    _revive(server)
    server.wipe()
    return server


def _revive(server: KafkaServer | RedisServer) -> None:
    """Start what the test before left dead."""
    if not server.is_running():
        server.start()
