"""Exit codes of a worker."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
import structlog

from contracts.errors import Misconfigured, StoreUnavailable
from runtime.health import Health
from runtime.progress import Stalled
from runtime.service import (
    RESTARTS,
    START_AGAIN,
    Prepare,
    Work,
    _Patience,
    _Stopped,
    run,
    work,
    work_together,
)
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


def test_a_stall_that_restarts_do_not_cure_is_75(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever started the process starts it anew; the reason is on stderr."""

    async def serve(settings: ServiceSettings, stop: asyncio.Event) -> None:
        raise Stalled("no progress for 31 s", got_on=False)

    assert START_AGAIN == run("test", ServiceSettings, serve)
    assert "no progress for 31 s" in capsys.readouterr().err


def test_a_stop_that_takes_too_long_is_given_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Within the time the settings grant, and still with 0: nothing is lost by it."""
    cancelled = []

    async def serve(_: ServiceSettings, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    def hasty() -> ServiceSettings:
        return ServiceSettings().model_copy(update={"stop_seconds": 0.01})

    assert 0 == run("test", hasty, serve)
    assert [True] == cancelled
    assert "stop_given_up" in capsys.readouterr().err


class Attempts:
    """Stands in for one connected run: ends as told, one time after the other."""

    def __init__(self, *ends: Stalled | None) -> None:
        self.ends = list(ends)
        self.count = 0

    async def __call__(self, *_: Any, **__: Any) -> None:
        self.count += 1
        end = self.ends.pop(0)
        if end is not None:
            raise end


async def worked(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.service._work_once", attempts)
    job = Work("things", "group", "rules", ("things",), "127.0.0.1", 0)

    @asynccontextmanager
    async def unserved(*_: object) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr("runtime.service.served", unserved)
    await work(ServiceSettings(), asyncio.Event(), job, cast("Prepare", None))


async def test_a_stalled_worker_starts_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as it takes, as long as it gets on in between."""
    attempts = Attempts(*[Stalled("again", got_on=True)] * 10, None)
    await worked(attempts, monkeypatch)
    assert 11 == attempts.count


async def test_a_worker_that_starts_again_in_vain_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process has to be started anew: what is broken is not in its clients."""
    attempts = Attempts(Stalled("first", got_on=True), *[Stalled("again", got_on=False)] * 10)
    with pytest.raises(Stalled):
        await worked(attempts, monkeypatch)
    assert 1 + RESTARTS == attempts.count


@asynccontextmanager
async def _unserved(*_: object) -> AsyncIterator[None]:
    yield


def _two_jobs() -> list[tuple[Work, Prepare]]:
    first = Work("things", "group", "rules", ("things",), "127.0.0.1", 0)
    return [(job, cast("Prepare", None)) for job in (first, replace(first, topic="others"))]


async def test_two_jobs_work_until_they_are_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same time, with one health that names what either of them waits for."""
    seen: dict[str, Health] = {}
    stop = asyncio.Event()

    async def works(_: object, over: asyncio.Event, job: Work, *__: object, **kept: Any) -> None:
        seen[job.topic] = kept["health"]
        kept["health"].waits("redis", job.topic)
        if len(seen) == 2:
            stop.set()
        await over.wait()

    monkeypatch.setattr("runtime.service._work_once", works)
    monkeypatch.setattr("runtime.service.served", _unserved)

    await work_together(ServiceSettings(), stop, _two_jobs())

    whole = seen["things"].reasons
    assert ("things", "others") == (whole["redis"], whole["others: redis"])


async def test_a_job_that_fails_stops_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which finishes what it has in hand; then the error is raised."""
    finished = []

    async def works(_: object, over: asyncio.Event, job: Work, *__: object, **___: object) -> None:
        if job.topic == "things":
            raise Misconfigured("buy a disk")
        await over.wait()
        finished.append(job.topic)

    monkeypatch.setattr("runtime.service._work_once", works)
    monkeypatch.setattr("runtime.service.served", _unserved)

    with pytest.raises(Misconfigured, match="buy a disk"):
        await work_together(ServiceSettings(), asyncio.Event(), _two_jobs())

    assert ["others"] == finished


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
