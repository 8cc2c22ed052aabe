"""Exit codes of a worker."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator

import pytest
import structlog

from contracts.errors import Misconfigured, StoreUnavailable
from runtime.health import Health
from runtime.service import _Patience, _Stopped, run
from runtime.settings import ServiceSettings


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """`run` sets up the logging of a whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    aiokafka = logging.getLogger("aiokafka").level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("aiokafka").setLevel(aiokafka)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_clean_end_is_0() -> None:
    """Also after SIGTERM, which only sets the event."""

    async def serve(_: ServiceSettings, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()

    assert 0 == run("test", ServiceSettings, serve)


def test_what_a_person_has_to_look_at_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason on stderr."""

    async def serve(settings: ServiceSettings, stop: asyncio.Event) -> None:
        raise Misconfigured("buy a disk")

    assert 2 == run("test", ServiceSettings, serve)
    assert "buy a disk" in capsys.readouterr().err


def test_settings_that_make_no_sense_are_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is connected, naming the variable."""
    monkeypatch.setenv("EBBTIDE_PARTITIONS", "none")

    async def serve(settings: ServiceSettings, stop: asyncio.Event) -> None:
        raise AssertionError

    assert 2 == run("test", ServiceSettings, serve)
    assert "EBBTIDE_PARTITIONS" in capsys.readouterr().err


def test_a_bug_raises() -> None:
    """A traceback and another exit code: nobody mistakes it for a setting."""

    async def serve(settings: ServiceSettings, stop: asyncio.Event) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        run("test", ServiceSettings, serve)


async def test_patience_tries_until_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The health names the reason meanwhile and forgets it afterwards."""
    monkeypatch.setattr("runtime.service.RETRY_SECONDS", (0.0,))
    health, told = Health(), []

    async def third_time() -> int:
        told.append(health.reasons.get("redis"))
        if len(told) < 3:
            raise StoreUnavailable("away")
        return 7

    assert 7 == await _Patience(health, asyncio.Event()).for_("redis", third_time)
    assert [None, "away", "away"] == told
    assert "redis" not in health.reasons


async def test_patience_ends_when_told_to_stop() -> None:
    """In the middle of an attempt that would last for ever, which is cancelled."""
    stop, cancelled = asyncio.Event(), []

    async def hangs() -> None:
        stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    with pytest.raises(_Stopped):
        await _Patience(Health(), stop).for_("kafka", hangs)
    assert [True] == cancelled
