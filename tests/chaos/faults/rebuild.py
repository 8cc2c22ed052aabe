"""`ebbtide rebuild` under load, and one that dies half way."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import suppress
from dataclasses import dataclass

from tests.chaos.stage import Fault, Stage

ATTEMPTS = 20
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Rebuild:
    """Every record anew from the log while the scorers run.

    One that is killed is run again, as its messages tell an operator. One that refuses because the
    log was recreated leaves everything as it was, and that is checked as everything is.
    """

    killed: bool
    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return "rebuild killed, then run again" if self.killed else "rebuild"

    async def strike(self, stage: Stage) -> None:
        # A log that is recreated meanwhile would be a rebuild of nothing.
        async with stage.alone("kafka", "rebuild"):
            if self.killed:
                await self._kill_one(stage)
            for attempt in range(ATTEMPTS):
                said, code = await _finished(await _started(stage))
                if code == 0 or "--accept-truncated" in said:
                    stage.log(f"rebuild, attempt {attempt + 1}: {said.splitlines()[-1]}")
                    return
                await asyncio.sleep(RETRY_SECONDS)
            raise RuntimeError(f"no rebuild in {ATTEMPTS} attempts: {said[-2_000:]}")

    async def _kill_one(self, stage: Stage) -> None:
        process = await _started(stage)
        ending = asyncio.ensure_future(_finished(process))
        await asyncio.wait({ending}, timeout=stage.random.uniform(0.5, 4.0))
        with suppress(ProcessLookupError):
            process.kill()
        _, code = await ending
        stage.log("rebuild was killed" if code < 0 else "rebuild was faster than its killer")


async def _started(stage: Stage) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ebbtide", "rebuild"),
        env=stage.env(),
        cwd=stage.code,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )


async def _finished(process: Process) -> tuple[str, int]:
    """What it said, and its exit code; killed when we are cancelled."""
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said.decode(errors="replace"), process.returncode or 0


FAULTS: tuple[Fault, ...] = (Rebuild(killed=False), Rebuild(killed=True))
