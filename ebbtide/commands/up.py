"""`ebbtide up`: the whole pipeline on this machine, from one command."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.errors import Misconfigured
from contracts.metrics import Metric
from ebbtide import embedded
from ebbtide.child import Child
from ebbtide.cli import COMMANDS
from ebbtide.guard import Guard
from ebbtide.ports import LOOPBACK, require_free
from ebbtide.supervisor import LOOK_EVERY_S, Supervisor, stopped_by_signals
from ingest_api.access import require_access

Port = Annotated[int, Field(ge=1, le=65_535)]


class UpSettings(BaseSettings):
    """What `up` reads from its environment; options on the command line come first."""

    model_config = SettingsConfigDict(
        env_prefix="EBBTIDE_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    data_dir: Path = Path(".ebbtide")
    """Everything kept here: records, model, logs."""

    host: str = LOOPBACK
    """Where the gateway listens. Other than loopback: only with `api_keys_file`."""

    api_keys_file: Path | None = None
    """The keys the gateway lets in; None: everybody on this machine is let in."""

    require_keys: bool = False
    """Refuse to start without `api_keys_file` on loopback, too."""

    port: Port = 8000
    """Port of the gateway."""

    kafka_port: Port = 9092
    """Port of the embedded broker."""

    redis_port: Port = 6379
    """Port of the embedded store."""

    scorer_health_port: Port = 8001
    """Port of the scorer's health and metrics."""

    alerts_health_port: Port = 8002
    """Port of the alerts worker's health and metrics."""

    delivery_health_port: Port = 8003
    """Port of the delivery worker's health and metrics."""

    history_health_port: Port = 8004
    """Port of the history worker's health and metrics."""

    alert_policy: Path | None = None
    """The policy file of alerts; one with channels also starts the delivery worker."""

    public_url: str = ""
    """Where people reach the gateway, for links in messages; empty: as it is reached from here."""

    kafka_bootstrap_servers: str | None = None
    """A Kafka of your own; None: the embedded broker."""

    redis_url: str | None = None
    """A Redis of your own; None: the embedded store."""

    model_dir: Path | None = None
    """The model to serve; None: `model` in the data folder, trained there if missing."""

    clock: Literal["wall", "stream"] = "wall"
    """`wall`: silence is noticed as time passes; `stream`: time is what the log says."""


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "up",
        help=COMMANDS["up"],
        description="Run everything on this machine until Ctrl-C. "
        "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS and EBBTIDE_REDIS_URL replace the embedded servers.",
    )
    option = parser.add_argument
    option("--data-dir", help="records, model and logs (default .ebbtide)")
    option("--host", help=f"where the gateway listens (default {LOOPBACK})")
    option("--port", help="port of the gateway (default 8000)")
    option("--kafka-port", help="port of the embedded broker (default 9092)")
    option("--redis-port", help="port of the embedded store (default 6379)")
    option("--scorer-health-port", help="port of the scorer's health and metrics (default 8001)")
    option("--alerts-health-port", help="port of the alerts worker's (default 8002)")
    option("--delivery-health-port", help="port of the delivery worker's (default 8003)")
    option("--history-health-port", help="port of the history worker's (default 8004)")
    option("--alert-policy", help="policy file of alerts (docs/alerts.md)")
    option("--model-dir", help="the model to serve (default: model in the data folder)")
    option("--clock", choices=("wall", "stream"), help="time is now, or what the log says")
    option("--demo", action="store_true", help="with a simulated population, on a stream clock")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run everything until stopped; the exit code."""
    began = time.monotonic()
    settings = settings_of(args)
    with embedded.lock_data_dir(settings.data_dir) as lock:
        require_keys(settings)
        require_ports(settings)
        require_model(settings)
        require_policy(settings)
        # Seconds to import: not before everything cheap has been checked.
        from ebbtide.demo_model import ensure  # noqa: PLC0415

        ensure(model_dir(settings))
        guard = Guard(keep_open=[lock.fileno()])
        parts = make_parts(settings, guard=guard, demo=args.demo)
        supervisor = Supervisor(
            start=parts.start_order(),
            stop=parts.stop_order(),
            say=partial(print, flush=True),
            now=time.monotonic,
            sleep=time.sleep,
        )
        with stopped_by_signals(supervisor):
            code = supervisor.run(
                when_ready=lambda: print(
                    welcome(settings, seconds=time.monotonic() - began), flush=True
                )
            )
        guard.close()
    print("stopped" if code == 0 else f"stopped; logs are in {settings.data_dir / 'logs'}")
    return code


def settings_of(args: argparse.Namespace) -> UpSettings:
    """Options over environment over defaults. Raises Misconfigured, naming the option."""
    given = {
        name: value
        for name, value in vars(args).items()
        if name in UpSettings.model_fields and value is not None
    }
    if args.demo:
        given.setdefault("clock", "stream")
    try:
        return UpSettings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]) or "settings"
        raise Misconfigured(
            f"--{name.replace('_', '-')} (EBBTIDE_{name.upper()}): {first['msg']}, "
            f"but is {first['input']!r}"
        ) from error


def require_keys(settings: UpSettings) -> None:
    """Raise Misconfigured where keys are needed and missing, or their file cannot be used."""
    require_access(settings.host, settings.api_keys_file, require_keys=settings.require_keys)
    if settings.api_keys_file is not None:
        from ingest_api.access_keys import KeysFile  # noqa: PLC0415  (most runs have none)

        KeysFile(settings.api_keys_file)


def require_model(settings: UpSettings) -> None:
    """Raise Misconfigured when the folder somebody named holds no model.

    Only the folder nobody named gets the demo model: a slip of the pen must not serve one.
    """
    if settings.model_dir is not None and not settings.model_dir.is_dir():
        raise Misconfigured(
            f"no folder {settings.model_dir} (--model-dir, EBBTIDE_MODEL_DIR): train a model into "
            f"it with `ebbtide train --events FILE... --out {settings.model_dir}`, or leave the "
            "option out to start with the demo model"
        )


def require_policy(settings: UpSettings) -> None:
    """Raise Misconfigured when the policy file cannot be used: here rather than in a log."""
    tells(settings)


def tells(settings: UpSettings) -> bool:
    """Whether there is anybody to tell: a policy file with channels."""
    if settings.alert_policy is None:
        return False
    from alerts.policy_file import read  # noqa: PLC0415  (most runs have none)

    return bool(read(settings.alert_policy).channels)


def model_dir(settings: UpSettings) -> Path:
    """Where the model is, or is to be."""
    return settings.model_dir or settings.data_dir / "model"


def require_ports(settings: UpSettings) -> None:
    """Raise Misconfigured for the first port that somebody else has."""

    def check(
        port: int, option: str, purpose: str, *, host: str = LOOPBACK, or_use: str = ""
    ) -> None:
        variable = f"EBBTIDE_{option.strip('-').replace('-', '_').upper()}"
        remedy = f"choose another with {option} ({variable})" + or_use
        require_free(port, host=host, purpose=purpose, remedy=remedy)

    if settings.kafka_bootstrap_servers is None:
        check(
            settings.kafka_port,
            "--kafka-port",
            "the embedded Kafka broker",
            or_use=", or, if a Kafka is there that you want to use, set "
            f"EBBTIDE_KAFKA_BOOTSTRAP_SERVERS={LOOPBACK}:{settings.kafka_port}",
        )
    if settings.redis_url is None:
        check(
            settings.redis_port,
            "--redis-port",
            "the embedded Redis store",
            or_use=", or, if a Redis is there that you want to use, set "
            f"EBBTIDE_REDIS_URL=redis://{LOOPBACK}:{settings.redis_port}/0",
        )
    check(settings.port, "--port", "the gateway", host=settings.host)
    check(settings.scorer_health_port, "--scorer-health-port", "the scorer's health")
    check(settings.alerts_health_port, "--alerts-health-port", "the alerts worker's health")
    check(settings.history_health_port, "--history-health-port", "the history worker's health")
    if tells(settings):
        check(settings.delivery_health_port, "--delivery-health-port", "the delivery's health")


def service_env(settings: UpSettings, outer: Mapping[str, str]) -> dict[str, str]:
    """The environment of the services: ours, with the addresses of what runs here."""
    env = dict(outer) | {
        "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": kafka_address(settings),
        "EBBTIDE_REDIS_URL": redis_address(settings),
        "EBBTIDE_HOST": settings.host,
        "EBBTIDE_PORT": str(settings.port),
        "EBBTIDE_SCORER_HEALTH_PORT": str(settings.scorer_health_port),
        "EBBTIDE_ALERTS_HEALTH_PORT": str(settings.alerts_health_port),
        "EBBTIDE_DELIVERY_HEALTH_PORT": str(settings.delivery_health_port),
        "EBBTIDE_HISTORY_HEALTH_PORT": str(settings.history_health_port),
        "EBBTIDE_PUBLIC_URL": settings.public_url or base_url(settings),
        "EBBTIDE_MODEL_DIR": str(model_dir(settings)),
        "EBBTIDE_CLOCK": settings.clock,
        "PYTHONUNBUFFERED": "1",
    }
    if settings.alert_policy is not None:
        env["EBBTIDE_ALERT_POLICY"] = str(settings.alert_policy.resolve())
    if settings.kafka_bootstrap_servers is None:
        # The embedded broker has no producer ids to give out.
        env["EBBTIDE_KAFKA_IDEMPOTENCE"] = "false"
        # It lets a group form only after half a session; with one worker each, a short one is safe.
        env.setdefault("EBBTIDE_SESSION_TIMEOUT_MS", "3000")
        env.setdefault("EBBTIDE_FETCH_WAIT_MS", "20")
        # Beside the scorer, the broker's work is less than the scorer's to compress.
        env.setdefault("EBBTIDE_SCORE_COMPRESSION", "none")
    return env


def kafka_address(settings: UpSettings) -> str:
    """`host:port` of the Kafka that is used."""
    return settings.kafka_bootstrap_servers or f"{LOOPBACK}:{settings.kafka_port}"


def redis_address(settings: UpSettings) -> str:
    """URL of the Redis that is used."""
    return settings.redis_url or f"redis://{LOOPBACK}:{settings.redis_port}/0"


@dataclass(frozen=True)
class Parts:
    """What runs, by role; what is not ours is not there."""

    servers: list[Child]
    gateway: Child
    scorer: Child
    alerts: Child
    history: Child
    delivery: list[Child]
    simulator: list[Child]

    def start_order(self) -> list[list[Child]]:
        """Servers first; the services load their libraries side by side; then the visitors."""
        services = [self.scorer, self.alerts, self.history, *self.delivery, self.gateway]
        return [self.servers, services, self.simulator]

    def stop_order(self) -> list[list[Child]]:
        """Whoever feeds the log, then its readers in the order of the flow, then the servers."""
        readers = [
            [self.scorer],
            [self.alerts, self.history],
            *([self.delivery] if self.delivery else []),
        ]
        return [self.simulator, [self.gateway], *readers, self.servers]


def make_parts(settings: UpSettings, *, guard: Guard, demo: bool) -> Parts:
    """All children, none started."""
    logs = (settings.data_dir / "logs").resolve()
    env = service_env(settings, os.environ)
    memory_log = settings.kafka_bootstrap_servers is None
    servers = []
    if memory_log:
        servers.append(embedded.broker(settings.kafka_port, folder=logs, guard=guard))
    if settings.redis_url is None:
        data = settings.data_dir / "valkey"
        servers.append(embedded.store(settings.redis_port, data=data, log_folder=logs, guard=guard))

    def service(name: str, *words: str, **more: Any) -> Child:
        return Child(
            name=name,
            argv=[sys.executable, "-m", "ebbtide", *words],
            log=logs / f"{name}.log",
            guard=guard,
            env=env,
            **more,
        )

    def worker(name: str, health_port: int) -> Child:
        base = f"http://{LOOPBACK}:{health_port}"
        drained: dict[str, Callable[[], bool]] = {}
        if memory_log:
            # What is unread when the broker stops is gone. A real Kafka keeps it.
            drained["is_drained"] = HasReadAll(f"{base}/metrics")
        return service(
            name, name, is_ready=partial(answers_ok, f"{base}/readyz"), grace_s=30.0, **drained
        )

    gateway_ready = f"{base_url(settings)}/readyz?need=events"
    simulate = ["simulate", "--kafka", kafka_address(settings)]
    simulate += ["--warm-up-days", "80", "--days", "90", "--speed-up", "1440"]
    return Parts(
        servers=servers,
        gateway=service("gateway", "api", is_ready=partial(answers_ok, gateway_ready)),
        scorer=worker("scorer", settings.scorer_health_port),
        alerts=worker("alerts", settings.alerts_health_port),
        history=worker("history", settings.history_health_port),
        delivery=[worker("delivery", settings.delivery_health_port)] if tells(settings) else [],
        simulator=[service("simulator", *simulate, may_finish=True)] if demo else [],
    )


def base_url(settings: UpSettings) -> str:
    """The gateway as seen from this machine."""
    host = {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{host}:{settings.port}"


def answers_ok(url: str) -> bool:
    """Whether a GET answers 200 within a second."""
    try:
        with _open(url) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass
class HasReadAll:
    """Whether a worker lags behind nothing, by its own figures; true if it tells none."""

    metrics_url: str
    looks: int = 0
    """How many times in a row it lagged behind nothing."""

    def __call__(self) -> bool:
        """Look once."""
        try:
            with _open(self.metrics_url) as answer:
                text = answer.read().decode()
        except OSError:
            return True
        self.looks = 0 if unread(text) else self.looks + 1
        # A figure is as old as the fetch before: up to half a second.
        return self.looks * LOOK_EVERY_S > 0.5


def unread(metrics: str) -> float:
    """Records a worker has yet to read, from its metrics in Prometheus' text format."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith(f"{Metric.CONSUMER_LAG}{{")
    )


def _open(url: str) -> Any:
    # No proxy: these are our own children.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(url, timeout=1.0)


def welcome(settings: UpSettings, *, seconds: float) -> str:
    """What runs where, what to try, how to stop."""
    base = base_url(settings)
    rows = [
        ("gateway", base, "the dashboard; documentation at /docs"),
        ("scorer", f"http://{LOOPBACK}:{settings.scorer_health_port}", "/readyz, /metrics"),
        ("alerts", f"http://{LOOPBACK}:{settings.alerts_health_port}", "/readyz, /metrics"),
    ]
    history = f"http://{LOOPBACK}:{settings.history_health_port}"
    rows.append(("history", history, "/readyz, /metrics"))
    if tells(settings):
        delivery = f"http://{LOOPBACK}:{settings.delivery_health_port}"
        rows.append(("delivery", delivery, "/readyz, /metrics"))
    if settings.kafka_bootstrap_servers is None:
        rows.append(("Kafka", kafka_address(settings), "embedded; its log lives in memory"))
    else:
        rows.append(("Kafka", kafka_address(settings), "yours"))
    if settings.redis_url is None:
        where = settings.data_dir / "valkey"
        rows.append(("Redis", redis_address(settings), f"embedded; keeps its data in {where}"))
    else:
        rows.append(("Redis", _without_password(redis_address(settings)), "yours"))
    rows.append(("logs", str(settings.data_dir / "logs"), ""))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    table = "\n".join(
        f"  {name:<{widths[0]}}  {where:<{widths[1]}}  {note}".rstrip()
        for name, where, note in rows
    )
    predict = {
        "pages_visited": 12,
        "time_spent": 180.5,
        "days_since_signup": 10,
        "is_logged_in": True,
    }
    event = {"user_id": "ada", "type": "page_view", "pages_visited": 3, "time_spent": 4.5}
    keys = settings.api_keys_file
    needs = "" if keys is None else f", with -H 'authorization: Bearer ...' and a key of {keys}"
    return f"""
Ebbtide is up after {seconds:.1f} s.

{table}

Try{needs}:
  {_curl(f"{base}/predict", predict)}
  {_curl(f"{base}/events", event)}
  curl -s {base}/users/ada
  curl -s '{base}/users?order=risk&limit=5'

Ctrl-C stops everything in order; a second one at once.
"""


def _curl(url: str, body: Mapping[str, object]) -> str:
    return f"curl -s {url} -H 'content-type: application/json' -d '{json.dumps(body)}'"


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
