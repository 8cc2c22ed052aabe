"""Faults of our own processes: killed, frozen, added, removed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from tests.chaos.fleet import Kind, Worker
from tests.chaos.stage import Fault, Stage

SESSION_S = 1.0
"""EBBTIDE_SESSION_TIMEOUT_MS of a run on embedded servers; native Kafka's least is 6 s."""


WORKERS: Final[tuple[Kind, ...]] = ("scorer", "alerts", "delivery", "history")


@dataclass(frozen=True)
class Killed:
    """kill -9 of a worker, which comes back a moment later."""

    kind: Kind
    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.kind} killed"

    async def strike(self, stage: Stage) -> None:
        worker = _one_of(stage, self.kind)
        async with stage.alone(worker.name):
            worker.kill()
            try:
                await asyncio.sleep(stage.random.choice((0.0, 0.3, 1.0, 3.0)))
            finally:
                worker.start()


@dataclass(frozen=True)
class Zombie:
    """A worker that freezes past its session timeout and goes on as if nothing had happened."""

    kind: Kind
    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.kind} frozen, then a zombie"

    async def strike(self, stage: Stage) -> None:
        worker = _one_of(stage, self.kind)
        async with stage.alone(worker.name):
            worker.pause()
            try:
                session = 6.0 if "native-kafka" in stage.servers.has else SESSION_S
                await asyncio.sleep(session * stage.random.uniform(1.2, 3.0))
            finally:
                worker.resume()


@dataclass(frozen=True)
class Stutter:
    """A worker that freezes and goes on again and again, each time within its session timeout."""

    kind: Kind
    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.kind} stutters"

    async def strike(self, stage: Stage) -> None:
        worker = _one_of(stage, self.kind)
        async with stage.alone(worker.name):
            for _ in range(stage.random.randint(3, 8)):
                worker.pause()
                try:
                    await asyncio.sleep(stage.random.uniform(0.05, 0.6))
                finally:
                    worker.resume()
                await asyncio.sleep(stage.random.uniform(0.05, 0.3))


@dataclass(frozen=True)
class Added:
    """One more worker joins for a while and leaves in order."""

    kind: Kind
    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.kind} added, then removed"

    async def strike(self, stage: Stage) -> None:
        worker = stage.workers.add(self.kind)
        try:
            await asyncio.sleep(stage.random.uniform(3.0, 8.0))
        finally:
            await stage.workers.remove(worker)


@dataclass(frozen=True)
class Restarted:
    """A worker is told to stop and started again, as a deployment does."""

    kind: Kind
    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.kind} restarted in order"

    async def strike(self, stage: Stage) -> None:
        worker = _one_of(stage, self.kind)
        async with stage.alone(worker.name):
            try:
                await worker.stop()
            finally:
                worker.start()


@dataclass(frozen=True)
class AllKilled:
    """kill -9 of every worker of every kind in the same moment."""

    name: str = "every worker killed"
    needs: frozenset[str] = frozenset()

    async def strike(self, stage: Stage) -> None:
        workers = [one for kind in WORKERS for one in stage.workers.of(kind)]
        async with stage.alone(*(worker.name for worker in workers)):
            for worker in workers:
                worker.kill()
            await asyncio.sleep(stage.random.uniform(0.0, 2.0))
            for worker in workers:
                worker.start()


@dataclass(frozen=True)
class KilledPublishing:
    """kill -9 of every scorer while what it publishes is on its way, and never arrives."""

    name: str = "every scorer killed as it publishes"
    needs: frozenset[str] = frozenset()

    async def strike(self, stage: Stage) -> None:
        proxy = stage.proxies["scorer", "kafka"]
        workers = stage.workers.of("scorer")
        async with stage.alone(proxy.name, *(worker.name for worker in workers)):
            proxy.stall("there")
            try:
                # Fetches on their way are still answered, and what they bring is handled.
                await asyncio.sleep(stage.random.uniform(0.3, 0.9))
                for worker in workers:
                    worker.kill()
            finally:
                proxy.reset()
                proxy.heal()
                for worker in workers:
                    worker.start()


@dataclass(frozen=True)
class FrozenPublishing:
    """A scorer that freezes between publishing and saving, and saves when others went further."""

    name: str = "scorer frozen as it publishes, then a zombie"
    needs: frozenset[str] = frozenset()

    async def strike(self, stage: Stage) -> None:
        proxy = stage.proxies["scorer", "kafka"]
        worker = _one_of(stage, "scorer")
        async with stage.alone(proxy.name, worker.name):
            proxy.stall("there")
            try:
                await asyncio.sleep(stage.random.uniform(0.3, 0.9))
                worker.pause()
                proxy.heal()
                session = 6.0 if "native-kafka" in stage.servers.has else SESSION_S
                await asyncio.sleep(session * stage.random.uniform(2.0, 4.0))
            finally:
                proxy.heal()
                worker.resume()


def _one_of(stage: Stage, kind: Kind) -> Worker:
    return stage.random.choice(stage.workers.of(kind))


FAULTS: tuple[Fault, ...] = (
    Killed("scorer"),
    Killed("alerts"),
    Killed("delivery"),
    Killed("history"),
    Killed("gateway"),
    Zombie("scorer"),
    Zombie("alerts"),
    Zombie("delivery"),
    Zombie("history"),
    Stutter("scorer"),
    Added("scorer"),
    Added("alerts"),
    Added("delivery"),
    Added("history"),
    Restarted("scorer"),
    AllKilled(),
    KilledPublishing(),
    FrozenPublishing(),
)
