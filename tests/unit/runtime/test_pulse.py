"""The thread that watches the event loop."""

from __future__ import annotations

import asyncio
import threading
import time

from structlog.testing import capture_logs

from runtime.pulse import EXIT_FACTOR, Pulse


async def test_a_loop_that_turns_is_left_alone() -> None:
    """However many beats pass."""
    left: list[int] = []
    beats: list[int] = []
    with Pulse(
        asyncio.get_running_loop(), limit=0.002, exit_code=7, leave=left.append, beat_seconds=0.001
    ) as pulse:
        turned = pulse._turned

        def noted() -> None:
            beats.append(1)
            turned()

        pulse._turned = noted  # type: ignore[method-assign]
        while len(beats) < 20:  # noqa: ASYNC110 - the loop has to turn
            await asyncio.sleep(0)

    assert [] == left


async def test_a_loop_that_computes_for_ever_is_told_of_and_ended() -> None:
    """The log says where it is; the exit code asks for a new start."""
    ended = threading.Event()
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()

    with capture_logs() as logs, Pulse(
        asyncio.get_running_loop(), limit=0.01, exit_code=75, leave=leave, beat_seconds=0.005
    ):  # fmt: skip
        _computes_until(ended)

    assert [75] == codes
    assert ["event_loop_stands_still", "event_loop_given_up"] == [line["event"] for line in logs]
    assert "_computes_until" in logs[0]["where"]
    assert EXIT_FACTOR * logs[0]["seconds"] == logs[1]["seconds"]


def _computes_until(ended: threading.Event) -> None:
    deadline = time.monotonic() + 5
    while not ended.is_set() and time.monotonic() < deadline:
        pass
