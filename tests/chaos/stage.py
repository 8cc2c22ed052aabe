"""What a fault may touch: processes, servers, the network between them; and what a fault is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from contracts.topics import DEAD_LETTER_CONFIG, TOPIC_CONFIGS
from tests.chaos.fleet import Fleet, Kind
from tests.chaos.proxy import Proxy
from tests.servers import KafkaServer, RedisServer

ServerKind = Literal["kafka", "redis"]

SEGMENT_MS: Final = str(10**13)
"""A week of simulated time passes in seconds, and compaction would overtake the alerts worker."""


def topic_config(topic: str) -> dict[str, str]:
    """How a run creates a topic, at its beginning and after a fault that took it."""
    return TOPIC_CONFIGS.get(topic, DEAD_LETTER_CONFIG) | {"segment.ms": SEGMENT_MS}


@dataclass
class Servers:
    """The running servers. A fault that promotes another one puts it here."""

    kafka: KafkaServer
    redis: RedisServer
    has: frozenset[str]
    """What faults may ask for in `needs`: native-kafka, embedded-kafka, embedded-store, ..."""
    more: list[RedisServer] = field(default_factory=list)
    """Further Redis servers (replicas, nodes of a cluster) that the run has to stop at its end."""


@dataclass
class Stage:
    """What a fault may touch. Blocking methods of servers and proxies belong in a thread."""

    random: random.Random
    """Seeded; of this fault alone, so that overlapping faults do not disturb each other's."""
    workers: Fleet
    servers: Servers
    proxies: Mapping[tuple[Kind, ServerKind], Proxy]
    """Between all processes of a kind and a server. Driver, taps and oracle talk past them."""
    folder: Path
    log: Callable[[str], None]
    locks: dict[str, asyncio.Lock]
    new_log: Callable[[Collection[str]], AbstractAsyncContextManager[None]]
    """See `between_logs`."""
    env: Callable[[], Mapping[str, str]] = dict
    """Of a command of ours that talks to the servers past every proxy."""
    code: Path | None = None
    """The folder whose product runs; None: the one we run from."""

    @asynccontextmanager
    async def alone(self, *things: str) -> AsyncIterator[None]:
        """While inside, no other fault that says `alone` of one of these things strikes.

        Things are `redis`, `kafka`, `redis:2` (a node) or a worker's name; faults overlap
        otherwise. Names are taken in order, so that no two faults wait for each other.
        """
        async with AsyncExitStack() as held:
            for thing in sorted(set(things)):
                await held.enter_async_context(self.locks.setdefault(thing, asyncio.Lock()))
            yield

    def between_logs(self, *topics: str) -> AbstractAsyncContextManager[None]:
        """While inside, nobody produces, everything written is read and handled by all workers.

        Enter it to recreate `topics` or to lose a broker whose log is in memory: what the old
        logs held is in the taps by then, and on leaving the taps expect new logs of these topics.
        A log that ends otherwise takes accepted events with it, which no worker can prevent; so
        does one that ends while a fault brings back a Redis from before: be `alone` with it.
        """
        return self.new_log(topics)


class Fault(Protocol):
    """One thing that goes wrong, once."""

    @property
    def name(self) -> str:
        """The kind of fault, as the table of results says it."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """What of `Servers.has` it cannot do without."""
        ...

    async def strike(self, stage: Stage) -> None:
        """Inject, hold, heal; returns when the fault is over, not when the system has recovered.

        Must heal when cancelled, too.
        """
        ...
