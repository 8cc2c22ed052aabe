"""Faults of Redis: killed, rolled back, a stale replica promoted, out of memory.

On a Redis Cluster they strike one shard alone.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.chaos.faults.steps import whole
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Fault, Stage
from tests.servers import LocalRedis, RedisCluster, RedisServer

APPEND_ONLY = "appendonlydir"
COPY_AGE_S = 1.0
"""How old the copy is that a rollback restores, and how far behind a replica is."""


@dataclass(frozen=True)
class _OnRedis:
    """A fault of the one Redis, or of one shard of a cluster."""

    shard: int | None = None

    what = ""

    @property
    def name(self) -> str:
        return f"redis {self.what}" if self.shard is None else f"redis shard {self.what}"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"single-redis" if self.shard is None else "redis-cluster"})

    async def strike(self, stage: Stage) -> None:
        server = stage.servers.redis
        if self.shard is None:
            async with stage.alone("redis"):
                # Read inside: a fault before us may have promoted another.
                await self.strike_server(stage, stage.servers.redis)
        else:
            assert isinstance(server, RedisCluster)
            async with stage.alone(f"redis:{self.shard}"):
                await self.strike_server(stage, server.nodes[self.shard])

    async def strike_server(self, stage: Stage, server: RedisServer) -> None:
        raise NotImplementedError


class Killed(_OnRedis):
    """kill -9, and a start on the same data."""

    what = "killed"

    async def strike_server(self, stage: Stage, server: RedisServer) -> None:
        try:
            await whole(server.kill)
            await asyncio.sleep(stage.random.choice((0.0, 0.3, 1.0, 3.0)))
        finally:
            await whole(server.start)


class RolledBack(_OnRedis):
    """kill -9, and a start on a copy of the data made a second before: a power cut, a backup.

    Whatever it acknowledged in that second is gone.
    """

    what = "rolled back a second"

    async def strike_server(self, stage: Stage, server: RedisServer) -> None:
        copy = server.data.with_name("a-second-ago")
        await whole(copy_log, server, copy)
        await asyncio.sleep(COPY_AGE_S)
        try:
            await whole(server.kill)
            await whole(restore_log, server, copy)
        finally:
            await whole(server.start)


class OutOfMemory(_OnRedis):
    """Every write is answered with OOM for some seconds; reads go on."""

    what = "out of memory"

    async def strike_server(self, stage: Stage, server: RedisServer) -> None:
        with redis.Redis.from_url(server.url) as client:
            before = client.config_get("maxmemory")["maxmemory"]
            client.config_set("maxmemory", 1)
            try:
                await asyncio.sleep(stage.random.uniform(0.5, 6.0))
            finally:
                client.config_set("maxmemory", before)


@dataclass(frozen=True)
class StaleReplicaPromoted:
    """The primary dies, and a replica that is a second behind takes its place."""

    name: str = "redis replica promoted, a second behind"
    needs: frozenset[str] = frozenset({"single-redis", "local-redis"})

    async def strike(self, stage: Stage) -> None:
        async with stage.alone("redis"):
            primary = stage.servers.redis
            assert isinstance(primary, LocalRedis)
            wire = Proxy("replica-redis", primary.port)
            replica = primary.another()
            stage.servers.more.append(replica)
            wire.start()
            try:
                await whole(_follow, primary, replica, wire.port)
                wire.stall()
                await asyncio.sleep(COPY_AGE_S)
                await whole(_promote, stage, primary, replica)
            finally:
                wire.close()
                if stage.servers.redis is not replica:
                    await whole(replica.stop)


def _promote(stage: Stage, primary: LocalRedis, replica: LocalRedis) -> None:
    primary.kill()
    with redis.Redis.from_url(replica.url) as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
    stage.servers.redis = replica
    for (_, server), proxy in stage.proxies.items():
        if server == "redis":
            proxy.point_at(replica.port)


def _follow(primary: LocalRedis, replica: LocalRedis, port: int) -> None:
    """Make it a replica through `port`; returns once it is up to date."""
    replica.start()
    with redis.Redis.from_url(primary.url) as client:
        client.config_set("repl-diskless-sync-delay", 0)
    with redis.Redis.from_url(replica.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", port)
        deadline = time.monotonic() + 30
        while client.info("replication")["master_link_status"] != "up":
            if time.monotonic() > deadline:
                raise RuntimeError("the replica does not come up")
            time.sleep(0.02)


def copy_log(server: RedisServer, copy: Path) -> None:
    """Copy its append-only files while it writes to them: their end may be cut, no more."""
    with redis.Redis.from_url(server.url) as client:
        # A rewrite in the middle would take files away under the copy.
        before = client.config_get("auto-aof-rewrite-percentage")["auto-aof-rewrite-percentage"]
        client.config_set("auto-aof-rewrite-percentage", 0)
        try:
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.02)
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(server.data / APPEND_ONLY, copy)
        finally:
            client.config_set("auto-aof-rewrite-percentage", before)


def restore_log(server: RedisServer, copy: Path) -> None:
    """Put a copy of its append-only files in the place of those of a stopped server."""
    shutil.rmtree(server.data / APPEND_ONLY)
    copy.rename(server.data / APPEND_ONLY)


SHARDS = (None, 0, 1, 2)
FAULTS: tuple[Fault, ...] = (
    *(kind(shard) for kind in (Killed, RolledBack, OutOfMemory) for shard in SHARDS),
    StaleReplicaPromoted(),
)
