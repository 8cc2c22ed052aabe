"""Faults of the network between the services of a kind and a server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from tests.chaos.fleet import KINDS
from tests.chaos.stage import Fault, ServerKind, Stage

How = Literal["reset", "refused", "stalled", "answers lost", "slow"]


@dataclass(frozen=True)
class Cut:
    """Between one kind of service and one server, 0.2 to 15 s long.

    reset: connections break, again and again; refused: they break and none can be made;
    stalled: nothing passes and nobody is told; answers lost: requests arrive, their answers never
    do and the connection breaks at the end; slow: every piece takes 20 to 300 ms longer.
    """

    how: How
    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"network {self.how}"

    async def strike(self, stage: Stage) -> None:
        servers: list[ServerKind] = ["kafka"]
        if "single-redis" in stage.servers.has:  # clients of a cluster go past proxies
            servers.append("redis")
        proxy = stage.proxies[stage.random.choice(KINDS), stage.random.choice(servers)]
        # As often below 1.7 s as above.
        seconds = 0.2 * 75 ** stage.random.random()
        async with stage.alone(proxy.name):
            stage.log(f"{proxy.name}: {self.how} for {seconds:.1f} s")
            try:
                match self.how:
                    case "refused":
                        proxy.refuse()
                    case "stalled":
                        proxy.stall()
                    case "answers lost":
                        proxy.stall("back")
                    case "slow":
                        proxy.delay(stage.random.uniform(0.02, 0.3))
                    case "reset":
                        for _ in range(stage.random.randint(0, 5)):
                            proxy.reset()
                            await asyncio.sleep(min(seconds / 5, 0.5))
                        proxy.reset()
                        return
                await asyncio.sleep(seconds)
                if self.how == "answers lost":
                    proxy.reset()
            finally:
                proxy.heal()


FAULTS: tuple[Fault, ...] = (
    Cut("reset"),
    Cut("refused"),
    Cut("stalled"),
    Cut("answers lost"),
    Cut("slow"),
)
