"""The gateway put together: routes over their collaborators, which the caller makes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import structlog
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from contracts.activity import FoldRules
from contracts.default_rule import first_stated
from ingest_api import (
    alert_commands,
    alert_effect,
    alert_list,
    alert_stream,
    alert_verdicts,
    app_assets,
    audit,
    dead_letters,
    deliveries,
    docs_page,
    drift,
    events,
    health,
    metrics,
    model_page,
    moments,
    openapi,
    policy,
    population,
    predict,
    problems,
    replay,
    session_routes,
    storm,
    system,
    user_alerts,
    user_events,
    user_export,
    user_history,
    user_list,
)
from ingest_api import users as user_pages
from ingest_api.access_gate import Access, Gate, across_origins
from ingest_api.admission import Limits
from ingest_api.alert_feed import AlertFeed
from ingest_api.audit import Trail
from ingest_api.background import beside
from ingest_api.guards import Guarded
from ingest_api.head import Head
from ingest_api.log import ActivityLog
from ingest_api.predictions import Predictor
from ingest_api.publishing import EventWriter
from ingest_api.quick import QuickPredict
from ingest_api.quick_events import QuickEvents
from ingest_api.records import UserReader
from ingest_api.shedding import Shedding
from ingest_api.snapshots import Snapshots
from ingest_api.system import Machine
from ingest_api.turns import Turns
from model.artefact import Beside, Model
from model.reasons import Explainer
from runtime.clock import wall_ms

logger = structlog.get_logger(__name__)

Background = Callable[[], Coroutine[Any, Any, None]]
"""Something that runs as long as the app does."""

_DESCRIPTION = """Scores churn while it happens: activity in, scores and alerts out, also for users
who fall silent. Errors are problem details (RFC 9457)."""


class Gateway(FastAPI):
    """The framework's application, behind what is asked before any of it."""

    front: Shedding
    turns: Turns
    quick: QuickPredict
    quick_events: QuickEvents
    """Asked by the server before `front` is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.front(scope, receive, send)

    async def routes_only(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application as the framework has it."""
        await super().__call__(scope, receive, send)


def create_app(
    *,
    model: Model,
    log: ActivityLog,
    reader: UserReader,
    clock: Literal["wall", "stream"] = "wall",
    alert_threshold: float | None = None,
    rules: FoldRules = FoldRules(),  # noqa: B008 - a frozen value
    now: Callable[[], int] = wall_ms,
    wall: Callable[[], int] | None = None,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    registry: CollectorRegistry | None = None,
    feed: AlertFeed | None = None,
    machine: Machine | None = None,
    told: Beside = Beside(),  # noqa: B008 - a frozen value
    access: Access = Access(),  # noqa: B008 - a frozen value
    background: Sequence[Background] = (),
    on_failure: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application over a loaded model, Kafka and Redis, which need not be there yet.

    now: epoch ms, the time of what states none. feed: what `/alerts/stream` follows; without one,
    that route is not there. Its listeners stay until it is closed: do so before the server waits
    for its requests. machine: what `/system`, `/dead-letters` and `/model/drift` look at; without
    one, those are not there. told: what lies beside the model. background: run from start to end
    of the app; when one fails, `on_failure` is called, for a gateway must not live on half-working.
    access: who may ask; by default everybody on this machine. alert_threshold: what somebody set;
    None leaves it to the model. wall: epoch ms, the time of people and of deliveries, whatever the
    data's is; None: the same.
    """
    threshold = first_stated(alert_threshold, model.alert_threshold)
    measures = metrics.GatewayMetrics(registry or CollectorRegistry())
    writer = EventWriter(clock)
    snapshots = Snapshots(log, writer, measures, now)
    trail = Trail(access.audit)
    explainer = Explainer(model)
    predictor = Predictor(model, explainer)
    moments_of = _moments(clock, reader, now)
    users = user_pages.Users(
        model=model,
        reader=reader,
        moments=moments_of,
        alert_threshold=threshold,
        explainer=explainer,
        rules=rules,
    )

    listing = user_list.UserList(
        model=model,
        reader=reader,
        moments=users.moments,
        alert_threshold=threshold,
        explainer=explainer,
        rules=rules,
        now=now,
    )

    async def prepare() -> None:
        # Beside the first requests, so that no question for reasons waits for it.
        await beside(explainer.prepare)

    followed = [] if feed is None else [feed.run]
    running = [*background, snapshots.run, trail.run, prepare, *followed]
    if access.keys is not None:
        running.append(access.keys.watch)
    app = Gateway(
        title="Ebbtide",
        version=version("ebbtide"),
        description=_DESCRIPTION,
        lifespan=_beside_it(running, on_failure),
        # It loads its parts from another host; ours loads nothing.
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    app.add_middleware(metrics.Measured, metrics=measures)
    app.add_middleware(Head)
    # Here and not in the server, for what comes first has no use for it; the variable is uvicorn's.
    trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=trusted)
    gate = Gate(Guarded(app.routes_only), access, measures, trail)
    running.append(gate.run)
    app.front = Shedding(across_origins(gate, access), measures, limits)
    app.turns = Turns(app.front)
    app.quick = QuickPredict(predictor, snapshots, measures, gate.may_write)
    app.quick_events = QuickEvents(
        log, writer, now, measures, takes=app.front.takes, may=gate.may_write
    )
    app.include_router(
        predict.router(predictor=predictor, snapshots=snapshots, score_record=users.score_record)
    )
    app.include_router(events.router(log=log, writer=writer, now=now, metrics=measures))
    # Before the user's page: its path takes whatever comes behind a slash.
    for part in (user_events, user_history, user_alerts):
        app.include_router(part.router(users=users))
    app.include_router(user_list.router(users=listing))
    app.include_router(user_export.router(users=listing))
    app.include_router(user_pages.router(users=users, log=log, now=now))
    app.include_router(alert_commands.router(reader=reader, log=log, now=now, metrics=measures))
    if feed is not None:
        app.include_router(alert_stream.router(feed=feed, metrics=measures))
    for of_desk in (
        alert_verdicts.router(desk=reader.desk),
        alert_effect.router(desk=reader.desk, now=now),
        # Behind the others: its path for one alert takes any name.
        alert_list.router(desk=reader.desk, now=now),
        deliveries.router(desk=reader.desk, now=wall or now),
        storm.router(desk=reader.desk, now=wall or now),
        policy.router(desk=reader.desk),
    ):
        app.include_router(of_desk)
    app.include_router(model_page.router(model=model, beside=told, alert_threshold=threshold))
    if machine is not None:
        app.include_router(population.router(redis=machine.redis))
        for routes in _operation(
            machine,
            model,
            told,
            log=log,
            reader=reader,
            moments=moments_of,
            clock=clock,
            rules=rules,
            now=now,
        ):
            app.include_router(routes)
    app.include_router(
        health.router(
            model_version=model.version,
            kafka=health.Dependency(log.ping),
            redis=health.Dependency(reader.ping),
            registry=measures.registry,
            now=now,
        )
    )

    app.include_router(session_routes.router(access=access, sessions=gate.sessions, trail=trail))
    app.include_router(audit.router(access.audit))
    app.include_router(app_assets.router())

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/app/")

    openapi.install(app, needs_key=access.keys is not None)
    app.include_router(docs_page.router(app.openapi))
    return app


def _beside_it(
    running: Sequence[Background], on_failure: Callable[[], None]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """What runs from the start to the end of the app."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(run()) for run in running]
        for task in tasks:
            task.add_done_callback(lambda done: _notice(done, on_failure))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError, Exception):  # already noticed
                    await task

    return lifespan


def _operation(
    machine: Machine,
    model: Model,
    told: Beside,
    *,
    log: ActivityLog,
    reader: UserReader,
    moments: Callable[[np.ndarray], Awaitable[np.ndarray]],
    clock: Literal["wall", "stream"],
    rules: FoldRules,
    now: Callable[[], int],
) -> list[APIRouter]:
    """What those who look after the machine and the model ask for."""
    look = system.Look(machine, ping_kafka=log.ping, clock=clock, model_version=model.version)
    live = drift.Drift(
        model, told.quality, machine.redis, load=reader.load, moments=moments, now=machine.now
    )
    letters = dead_letters.LetterLook(machine.letters, machine.ends)
    replays = replay.Replays(
        boxes=machine.boxes,
        redis=machine.redis,
        ends=machine.ends,
        load=reader.load,
        rules=rules,
        now=now,
        done=letters.forget,
    )
    return [
        system.router(look=look),
        dead_letters.router(look=letters),
        replay.router(replays=replays),
        drift.router(drift=live),
    ]


def _moments(
    clock: Literal["wall", "stream"], reader: UserReader, now: Callable[[], int]
) -> Callable[[np.ndarray], Awaitable[np.ndarray]]:
    """What is now for each of (n,) RECORD."""

    async def wall(records: np.ndarray) -> np.ndarray:
        return np.full(len(records), now(), np.int64)

    async def stream(records: np.ndarray) -> np.ndarray:
        return moments.of_users(records, await reader.clocks())

    return wall if clock == "wall" else stream


def _notice(task: asyncio.Task[None], on_failure: Callable[[], None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("background_failed", exc_info=task.exception())
        on_failure()
