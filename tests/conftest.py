"""Servers as fixtures; see tests/servers.py for where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from ebbtide.guard import Guard
from tests import servers
from tests.servers import KafkaServer, RedisServer

SERVERS = {"kafka", "redis_server", "clean_kafka", "clean_redis"}
"""The fixtures that start some."""

left_out: list[str] = []
"""Tests that the chosen servers cannot show."""

collected = 0
begun = 0
"""Tests that there are, and those that were set up: more than one process runs them."""

# What an example takes is the machine's affair: a busy one shows no fault of ours.
settings.register_profile("ebbtide", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ebbtide")


def pytest_configure() -> None:
    """Say so at once if nobody knows the servers that were asked for."""
    try:
        servers.source()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the chosen servers cannot show, and remember it for the summary."""
    needing_servers = [item for item in items if SERVERS & set(getattr(item, "fixturenames", ()))]
    if needing_servers and (why := servers.missing()):
        count = len(needing_servers)
        raise pytest.UsageError(f"{count} tests need {servers.source()} servers: {why}")
    if servers.source() != "embedded":
        return
    needing = [item for item in items if item.get_closest_marker("apache_kafka")]
    left_out.extend(item.name for item in needing)
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """A process that runs a part of the tests tells the one that counts what it knows of all."""
    global collected  # noqa: PLW0603 - pytest's hooks are functions
    collected = len(session.items)
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told.update(collected=collected, left_out=left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The other side of it."""
    global collected  # noqa: PLW0603
    told = getattr(node, "workeroutput", {})
    collected = max(collected, told.get("collected", 0))
    left_out[:] = told.get("left_out", left_out)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    global begun  # noqa: PLW0603
    begun += report.when == "setup"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that was dealt to nobody is a failure: `--dist loadfile` takes equal names for one."""
    if session.config.option.collectonly or hasattr(session.config, "workeroutput"):
        return
    if session.exitstatus == pytest.ExitCode.OK and begun < collected:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Nothing is left out in silence."""
    if begun < collected:
        terminalreporter.line(f"of {collected} tests only {begun} ran")
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
