"""Real servers for the integration and end-to-end tests, from a source of your choice.

EBBTIDE_TEST_SERVERS says which:

* `embedded` (default): the Tansu broker and Valkey that come with Ebbtide.
* `native`: Apache Kafka (one KRaft node; needs Java 17 and Maven) and the redis-server on PATH.
* `containers`: both as containers, if a Docker engine runs. EBBTIDE_TEST_KAFKA_IMAGE and
  EBBTIDE_TEST_REDIS_IMAGE name the images; the first has java on its PATH and Kafka's jars in
  /opt/kafka/libs (as apache/kafka does), the second has redis-server on its PATH.
  tests/containers has what makes both from Debian where no image can be pulled.
* `external`: EBBTIDE_TEST_KAFKA (`host:port`) and EBBTIDE_TEST_REDIS_URL. EVERYTHING IN THEM IS
  DELETED between tests, and tests that stop or kill a server cannot run there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar, get_args
from urllib.parse import urlsplit

import redis
from aiokafka.admin import AIOKafkaAdminClient
from testcontainers.core.container import DockerContainer

from contracts.errors import Misconfigured
from ebbtide import embedded
from ebbtide.child import Child
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, require_free

Source = Literal["embedded", "native", "containers", "external"]

Answer = TypeVar("Answer")

READY_WITHIN_S: Final = 60.0


def source() -> Source:
    """Where servers come from in this run."""
    chosen = os.environ.get("EBBTIDE_TEST_SERVERS", "embedded")
    for known in get_args(Source):
        if chosen == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"EBBTIDE_TEST_SERVERS is {chosen!r}; one of {get_args(Source)} is meant")


def steady_port() -> int:
    """A free port that stays free while its server is down.

    The kernel gives outgoing connections ports from 32768 up: a client that tries to reach a killed
    server there may be given that very port, and the server cannot have it back.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with contextlib.suppress(Misconfigured):
            require_free(port, purpose="a test server", remedy="")
            return port


CONTAINER_ENV: Final = {
    "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
    "TC_HOST": LOOPBACK,
    "TESTCONTAINERS_RYUK_DISABLED": "true",
}
"""Testcontainers stays on loopback and starts no helper container of its own."""


class Server(Protocol):
    """A server of the tests. `stop`, `kill` and `start` keep its address."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def restart(self) -> None: ...

    def is_running(self) -> bool: ...

    def wipe(self) -> None:
        """Delete what it holds: every topic, or every key."""


class KafkaServer(Server, Protocol):
    """A Kafka of the tests."""

    @property
    def bootstrap(self) -> str:
        """`host:port`"""

    @property
    def idempotence(self) -> bool:
        """Whether idempotent producers work; if not, nor does anything kept over a restart."""


class RedisServer(Server, Protocol):
    """A Redis of the tests. `stop`, `kill` and `start` keep its address and its data."""

    @property
    def url(self) -> str: ...

    @property
    def data(self) -> Path:
        """The folder with its append-only file; stop the server before touching it."""


class Runs:
    """The part of a server that is a child of the test run."""

    child: Child

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.child.start()
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.child.is_ready():
            ended = self.child.exit_code()
            if ended is not None or time.monotonic() > deadline:
                words = "\n".join(self.child.last_lines())
                state = "is not ready" if ended is None else f"ended with {ended}"
                raise RuntimeError(f"{self.child.name} {state}:\n{words}")
            time.sleep(0.01)

    def is_running(self) -> bool:
        return self.child.is_running()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self.child.stop()

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.child.kill()
        self.child.wait(10)

    def restart(self) -> None:
        """Stop and start at the same address."""
        self.stop()
        self.start()


@dataclass
class EmbeddedKafka(Runs):
    """Tansu. Its log is in memory: a restart is a new log."""

    folder: Path
    guard: Guard
    port: int = field(default_factory=steady_port)
    idempotence: bool = False

    def __post_init__(self) -> None:
        self.child = embedded.broker(self.port, folder=self.folder, guard=self.guard)

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def wipe(self) -> None:
        self.restart()


@dataclass
class NativeKafka(Runs):
    """One Apache Kafka node, broker and controller in one. Its log is on disk."""

    folder: Path
    guard: Guard
    port: int = field(default_factory=steady_port)
    controller_port: int = field(default_factory=steady_port)
    idempotence: bool = True

    def __post_init__(self) -> None:
        here = Path(__file__).parent / "native"
        jars = subprocess.run(
            [str(here / "get-kafka")], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.split()[-1]
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        properties.write_text(
            _kafka_properties(self.port, self.controller_port, log=self.folder / "log")
        )
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]
        subprocess.run(
            [
                *(*java, "kafka.tools.StorageTool", "format", "--config", str(properties)),
                # Any 16 bytes in base64.
                *("--cluster-id", "ebbtide-tests-cluster1"),
            ],
            check=True,
            capture_output=True,
        )
        self.child = Child(
            name="kafka",
            argv=[*java, "kafka.Kafka", str(properties)],
            log=self.folder / "kafka.log",
            guard=self.guard,
            env=dict(os.environ),
            folder=self.folder,
            is_ready=self._serves,
            grace_s=30,
        )

    def _serves(self) -> bool:
        # The socket answers before the broker is unfenced: ask for what a client needs.
        return embedded.answers_kafka(self.port) and _apart(_has_brokers(self.bootstrap))

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def wipe(self) -> None:
        _apart(_delete_topics(self.bootstrap))


def _kafka_properties(port: int, controller_port: int, *, log: Path, host: str = LOOPBACK) -> str:
    """Of one node that is broker and controller; `host` is where it listens."""
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": log,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())


@dataclass
class LocalRedis(Runs):
    """Valkey, or the redis-server at `binary`, with our settings."""

    folder: Path
    guard: Guard
    binary: str | None = None
    options: tuple[str, ...] = ()
    """Settings beyond ours, as `name value`."""
    port: int = field(default_factory=steady_port)

    def __post_init__(self) -> None:
        self.child = embedded.store(
            self.port,
            data=self.data,
            log_folder=self.folder,
            guard=self.guard,
            binary=self.binary,
        )
        words = [word for option in self.options for word in f"--{option}".split(" ", 1)]
        self.child.argv = [*self.child.argv, *words]

    def another(self, *options: str) -> LocalRedis:
        """A second one of its kind beside it, empty and not started."""
        folder = self.folder.with_name(f"redis-{uuid.uuid4().hex[:8]}")
        return LocalRedis(folder, self.guard, self.binary, options)

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def wipe(self) -> None:
        _flush(self.url)


@dataclass
class RedisCluster:
    """Three masters without replicas; each node is a LocalRedis that can fail alone."""

    folder: Path
    guard: Guard
    binary: str | None = None

    def __post_init__(self) -> None:
        self.nodes = [
            LocalRedis(self.folder / f"node-{node}", self.guard, self.binary, _cluster_options())
            for node in range(3)
        ]

    def start(self) -> None:
        """Start the nodes and wait until all of them serve every slot."""
        for node in self.nodes:
            if not node.is_running():
                node.start()
        deadline = time.monotonic() + READY_WITHIN_S
        while not all(self._serves(node) for node in self.nodes):
            if time.monotonic() > deadline:
                raise RuntimeError("the nodes of the Redis Cluster do not find together")
            self._introduce()
            time.sleep(0.1)

    def _introduce(self) -> None:
        """Slots to nodes that have none, and everybody's address to the first."""
        share = -(-CLUSTER_SLOTS // len(self.nodes))
        for at, node in enumerate(self.nodes):
            first, last = at * share, min((at + 1) * share, CLUSTER_SLOTS) - 1
            with redis.Redis.from_url(node.url) as client:
                if client.cluster("info")["cluster_slots_assigned"] in ("0", 0):
                    client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
                if int(client.cluster("info")["cluster_known_nodes"]) < len(self.nodes):
                    for other in self.nodes:
                        bus = dict(option.split() for option in other.options)["cluster-port"]
                        client.execute_command("CLUSTER MEET", LOOPBACK, other.port, bus)

    def _serves(self, node: LocalRedis) -> bool:
        with redis.Redis.from_url(node.url) as client:
            info = client.cluster("info")
        return info["cluster_state"] == "ok" and int(info["cluster_slots_ok"]) == CLUSTER_SLOTS

    @property
    def url(self) -> str:
        return f"redis+cluster://{LOOPBACK}:{self.nodes[0].port}"

    @property
    def data(self) -> Path:
        raise RuntimeError("each node of the cluster has data of its own")

    def is_running(self) -> bool:
        return all(node.is_running() for node in self.nodes)

    def stop(self) -> None:
        """SIGTERM to every node, and wait."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """SIGKILL to every node, and wait."""
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        """Stop and start at the same addresses."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        for node in self.nodes:
            node.wipe()


CLUSTER_SLOTS: Final = 16_384


def _cluster_options() -> tuple[str, ...]:
    return (
        "cluster-enabled yes",
        f"cluster-port {steady_port()}",
        "cluster-node-timeout 2000",
        # One shard's trouble is that shard's alone.
        "cluster-require-full-coverage no",
    )


@dataclass
class _Contained:
    """A server in a container. Port and data outlive it, so a restart keeps address and data."""

    folder: Path
    port: int = field(default_factory=steady_port)
    _container: DockerContainer | None = None

    def _described(self) -> DockerContainer:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        if self._container is None:
            os.environ.update(CONTAINER_ENV)
            self.data.mkdir(parents=True, exist_ok=True)
            self._container = self._described()
            # On loopback only: `with_bind_ports` would open the port to everybody.
            ports: dict[Any, Any] = self._container.ports
            ports[self.port] = (LOOPBACK, self.port)
            self._container.start()
        else:
            self._container.get_wrapped_container().start()
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            if time.monotonic() > deadline:
                said = self._container.get_wrapped_container().logs(tail=20).decode()
                raise RuntimeError(f"{type(self).__name__} is not ready:\n{said}")
            time.sleep(0.05)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def is_running(self) -> bool:
        if self._container is None:
            return False
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return str(wrapped.status) == "running"

    def stop(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().stop(timeout=30)

    def kill(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop it and leave nothing behind."""
        if self._container is not None:
            self._container.stop()
            self._container = None


@dataclass
class ContainedKafka(_Contained):
    """Apache Kafka in a container."""

    idempotence: bool = True

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def _described(self) -> DockerContainer:
        properties = _kafka_properties(
            self.port, steady_port(), log=Path("/data/log"), host="0.0.0.0"
        )
        (self.data / "server.properties").write_text(properties)
        java = "java -Xmx512m -XX:+UseSerialGC -cp '/opt/kafka/libs/*'"
        command = (
            f"{java} kafka.tools.StorageTool format -g -t ebbtide-tests-cluster1 "
            f"-c /data/server.properties && exec {java} kafka.Kafka /data/server.properties"
        )
        return (
            DockerContainer(os.environ.get("EBBTIDE_TEST_KAFKA_IMAGE", "apache/kafka:4.3.1"))
            .with_kwargs(entrypoint=["sh", "-c", command], user="0")
            .with_volume_mapping(str(self.data), "/data", "rw")
        )

    def _answers(self) -> bool:
        return embedded.answers_kafka(self.port) and _apart(_has_brokers(self.bootstrap))

    def wipe(self) -> None:
        _apart(_delete_topics(self.bootstrap))


@dataclass
class ContainedRedis(_Contained):
    """Redis in a container."""

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def _described(self) -> DockerContainer:
        command = (
            f"redis-server --port {self.port} --bind 0.0.0.0 --protected-mode no --dir /data "
            "--save '' --appendonly yes --appendfsync always --maxmemory-policy noeviction"
        )
        return (
            DockerContainer(os.environ.get("EBBTIDE_TEST_REDIS_IMAGE", "redis:7.4"))
            .with_kwargs(entrypoint=["sh", "-c", f"exec {command}"], user="0")
            .with_volume_mapping(str(self.data), "/data", "rw")
        )

    def _answers(self) -> bool:
        return embedded.answers_redis(self.port)

    def wipe(self) -> None:
        _flush(self.url)


class _NotOurs:
    """Servers somebody else runs."""

    def start(self) -> None:
        """They run."""

    def is_running(self) -> bool:
        return True

    def stop(self) -> None:
        raise RuntimeError("an external server cannot be stopped; use embedded or native ones")

    kill = restart = stop


@dataclass
class ExternalKafka(_NotOurs):
    """A Kafka named in EBBTIDE_TEST_KAFKA."""

    bootstrap: str
    idempotence: bool = True

    def wipe(self) -> None:
        _apart(_delete_topics(self.bootstrap))


@dataclass
class ExternalRedis(_NotOurs):
    """A Redis named in EBBTIDE_TEST_REDIS_URL."""

    url: str

    @property
    def data(self) -> Path:
        raise RuntimeError("the files of an external Redis are out of reach")

    def wipe(self) -> None:
        _flush(self.url)


def missing() -> str | None:
    """Why the chosen source cannot be had, in one line; None if it can."""
    match source():
        case "native":
            commands = [name for name in ("java", "mvn", "redis-server") if not shutil.which(name)]
            return f"not on PATH: {', '.join(commands)}" if commands else None
        case "containers":
            engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
            if not _listens(engine):
                return f"no Docker engine at {engine}; tests/containers/with-docker starts one"
        case "external":
            names = ("EBBTIDE_TEST_KAFKA", "EBBTIDE_TEST_REDIS_URL")
            unset = [name for name in names if name not in os.environ]
            return f"not set: {', '.join(unset)}" if unset else None
    return None


def _listens(url: str) -> bool:
    """Whether somebody does at `unix://path` or `tcp://host:port`."""
    parts = urlsplit(url)
    local = parts.scheme == "unix"
    with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as probe:
        where = parts.path if local else (parts.hostname or LOOPBACK, parts.port or 2375)
        return probe.connect_ex(where) == 0


def new_kafka(folder: Path, guard: Guard) -> KafkaServer:
    """A Kafka of the chosen source, not started; each has its own name for its folder."""
    match source():
        case "embedded":
            return EmbeddedKafka(folder / f"kafka-{uuid.uuid4().hex[:8]}", guard)
        case "native":
            return NativeKafka(folder / f"kafka-{uuid.uuid4().hex[:8]}", guard)
        case "containers":
            return ContainedKafka(folder / f"kafka-{uuid.uuid4().hex[:8]}")
        case "external":
            return ExternalKafka(os.environ["EBBTIDE_TEST_KAFKA"])


def new_redis(folder: Path, guard: Guard) -> RedisServer:
    """A Redis of the chosen source, not started."""
    match source():
        case "embedded":
            return LocalRedis(folder / f"redis-{uuid.uuid4().hex[:8]}", guard)
        case "native":
            binary = shutil.which("redis-server")
            if binary is None:
                raise RuntimeError("no redis-server on PATH (Debian: apt install redis-server)")
            return LocalRedis(folder / f"redis-{uuid.uuid4().hex[:8]}", guard, binary)
        case "containers":
            return ContainedRedis(folder / f"redis-{uuid.uuid4().hex[:8]}")
        case "external":
            return ExternalRedis(os.environ["EBBTIDE_TEST_REDIS_URL"])


def new_redis_cluster(folder: Path, guard: Guard) -> RedisCluster:
    """A Redis Cluster of the chosen source, not started; `embedded` and `native` have one."""
    like = new_redis(folder, guard)
    if not isinstance(like, LocalRedis):
        raise RuntimeError(f"no Redis Cluster from {source()} servers; use embedded or native ones")
    return RedisCluster(like.folder, guard, like.binary)


def end(server: KafkaServer | RedisServer) -> None:
    """Stop a server that is ours."""
    if isinstance(server, _Contained):
        server.remove()
    elif isinstance(server, Runs | RedisCluster):
        server.stop()


def described() -> str:
    """One line for the test report's header."""
    what: dict[Source, Callable[[], str]] = {
        "embedded": lambda: "Tansu and Valkey from wheels",
        "native": lambda: f"Apache Kafka and {shutil.which('redis-server')}",
        "containers": lambda: "Apache Kafka and Redis in Docker",
        "external": lambda: "as EBBTIDE_TEST_KAFKA and EBBTIDE_TEST_REDIS_URL say",
    }
    return f"servers: {source()} ({what[source()]()})"


def _apart(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run `work` on an event loop of its own, whether or not one runs here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def _has_brokers(bootstrap: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2_000)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except Exception:
        return False
    finally:
        await admin.close()


async def _delete_topics(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        deadline = time.monotonic() + 30
        while topics := [name for name in await admin.list_topics() if not name.startswith("__")]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"topics are not going away: {topics}")
            await admin.delete_topics(topics)
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


def _flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall()
