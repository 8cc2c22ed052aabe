"""The gateway as a process."""

from __future__ import annotations

import gc
import resource
import signal
import socket
from functools import partial

import structlog
import uvicorn
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from pydantic import ValidationError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from contracts.errors import Misconfigured
from contracts.topics import ALERTS
from ingest_api.access_gate import Access
from ingest_api.access_keys import KeysFile
from ingest_api.alert_feed import AlertFeed
from ingest_api.app import Background, create_app
from ingest_api.audit import RedisAudit
from ingest_api.log import KafkaLog
from ingest_api.moments import StreamNow
from ingest_api.protocol import BoundedProtocol
from ingest_api.records import READ_SECONDS, RedisUsers
from ingest_api.sessions import RedisSessions
from ingest_api.settings import GatewaySettings
from ingest_api.system import Machine
from model.artefact import Model, load, load_beside, require_rules
from runtime import logs
from runtime.clock import wall_ms
from runtime.letter_box import LetterBox
from runtime.letter_log import LetterLog
from runtime.log_ends import LogEnds
from runtime.settings import stated
from runtime.store import connect
from runtime.tail import tail

logger = structlog.get_logger(__name__)

BACKLOG = 2048
ACCEPTED_AT_ONCE = 16
"""New connections in a round of the loop: uvloop takes one a listening socket, and then looks after
all others first, so that under load a new one would wait for as many rounds as there are before
it."""
GARBAGE = (10_000, 20, 20)
"""For the collector: a look after so many objects more, and a longer one after so many looks."""
OTHER_FILES = 512
"""Connections to Redis and Kafka among them: one to Redis for each request that reads it."""
DRAIN_SECONDS = 10
"""How long a stopping gateway lets requests under way finish."""


def main() -> int:
    """Serve until SIGTERM or SIGINT; the exit code.

    Raises Misconfigured, naming the remedy, for settings that do not fit, a model that is missing
    or not the trusted one, and a port that is taken.
    """
    settings = _settings()
    logs.configure(settings, "gateway")
    settings.require_access()
    key_file = None if settings.api_keys_file is None else KeysFile(settings.api_keys_file)
    model = load(settings.model_dir, trusted_sha256=settings.model_sha256)
    require_rules(model, settings.fold_rules)
    _make_room(settings.max_connections)
    with _listen(settings.host, settings.port) as listener:
        return _serve(settings, model, key_file, listener)


class Server(uvicorn.Server):
    """Ends the streams before it waits for the requests under way."""

    def __init__(self, feed: AlertFeed, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feed.close()
        await super().shutdown(sockets)


def _settings() -> GatewaySettings:
    try:
        return GatewaySettings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise Misconfigured(f"EBBTIDE_{name}: {first['msg']}, but is {first['input']!r}") from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Misconfigured(
            f"the gateway cannot listen on {host}:{port} ({error.strerror}): choose another with "
            "EBBTIDE_HOST and EBBTIDE_PORT"
        ) from error


def _make_room(connections: int) -> None:
    """Let the process open so many and some files, as far as the system grants it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft < wanted:
        granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
        if granted < wanted:
            logger.warning("few_files", granted=granted, wanted=wanted)


def _serve(
    settings: GatewaySettings, model: Model, key_file: KeysFile | None, listener: socket.socket
) -> int:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    redis = connect(settings.redis_url, timeout_seconds=READ_SECONDS)
    # A request waits for an answer: one fresh connection at once, then the caller hears of it.
    redis.set_retry(Retry(NoBackoff(), 1))
    reader = RedisUsers(redis)
    log = KafkaLog(settings)
    feed = AlertFeed(partial(tail, settings, ALERTS))
    stream_now = StreamNow(reader)
    ends = LogEnds(settings)
    background: list[Background] = [log.run, ends.run]
    if settings.clock == "stream":
        background.append(stream_now.run)
    failed = False

    def fail() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    app = create_app(
        model=model,
        log=log,
        reader=reader,
        clock=settings.clock,
        alert_threshold=stated(settings.alert_threshold),
        rules=settings.fold_rules,
        limits=settings.limits,
        now=stream_now if settings.clock == "stream" else wall_ms,
        wall=wall_ms,
        registry=registry,
        feed=feed,
        machine=Machine(redis, ends, LetterLog(settings), partial(LetterBox, settings)),
        told=load_beside(settings.model_dir, model.manifest),
        access=Access(
            keys=key_file,
            allowed_hosts=settings.allowed_hosts,
            cors_origins=settings.cors_origins,
            public_url=settings.public_url,
            session_hours=settings.session_hours,
            sessions=RedisSessions(redis),
            audit=RedisAudit(redis),
        ),
        background=background,
        on_failure=fail,
    )
    server = Server(
        feed,
        uvicorn.Config(
            app,
            loop="runtime.event_loop:Loop",
            http=BoundedProtocol,
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            # Behind `QuickPredict`, which has no use for it.
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        ),
    )
    # uvicorn raises the signal once more after it has stopped; by then there is nothing to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    host, port = listener.getsockname()[:2]
    logger.info("listening", host=host, port=port, model=model.version)
    # What was made so far stays: a full collection need not look at all of it while requests wait.
    gc.freeze()
    # A request leaves some dozens of objects behind, most of them in no cycle: looking for those
    # after every 700 objects costs a third of what a request does.
    gc.set_threshold(*GARBAGE)
    server.run(sockets=[listener, *(listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1))])
    return 1 if failed or not server.started else 0
