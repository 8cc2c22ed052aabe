"""Real servers for the integration and end-to-end tests, from a source of your choice.

EBBTIDE_TEST_SERVERS says which:

* `embedded` (default): the Tansu broker and Valkey that come with Ebbtide.
* `native`: Apache Kafka (one KRaft node; needs Java 17 and Maven) and the redis-server on PATH.
* `containers`: both as containers, if a Docker engine runs. EBBTIDE_TEST_KAFKA_IMAGE and
  EBBTIDE_TEST_REDIS_IMAGE name the images; the first has java on its PATH and Kafka's jars in
  /opt/kafka/libs (as apache/kafka does), the second has redis-server on its PATH.
* `external`: EBBTIDE_TEST_KAFKA (`host:port`) and EBBTIDE_TEST_REDIS_URL. EVERYTHING IN THEM IS
  DELETED between tests, and tests that stop or kill a server cannot run there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar, get_args

import redis
from aiokafka.admin import AIOKafkaAdminClient
from testcontainers.core.container import DockerContainer

from ebbtide import embedded
from ebbtide.child import Child
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, free_port

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
    port: int = field(default_factory=free_port)
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
    port: int = field(default_factory=free_port)
    controller_port: int = field(default_factory=free_port)
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
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.child = embedded.store(
            self.port,
            data=self.data,
            log_folder=self.folder,
            guard=self.guard,
            binary=self.binary,
        )

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def wipe(self) -> None:
        _flush(self.url)


@dataclass
class _Contained:
    """A server in a container. Port and data outlive it, so a restart keeps address and data."""

    folder: Path
    port: int = field(default_factory=free_port)
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
            self._container.ports[self.port] = (LOOPBACK, self.port)
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
            self.port, free_port(), log=Path("/data/log"), host="0.0.0.0"
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
            "redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --dir /data --save ''"
        )
        command += " --appendonly yes --appendfsync always --maxmemory-policy noeviction"
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


def end(server: KafkaServer | RedisServer) -> None:
    """Stop a server that is ours."""
    if isinstance(server, _Contained):
        server.remove()
    elif isinstance(server, Runs):
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
