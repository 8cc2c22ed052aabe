"""The gateway put together: routes over their collaborators, which the caller makes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from contracts.activity import FoldRules
from ingest_api import (
    alert_commands,
    alert_stream,
    app_assets,
    events,
    health,
    metrics,
    model_page,
    moments,
    openapi,
    predict,
    problems,
)
from ingest_api import users as user_pages
from ingest_api.admission import Limits
from ingest_api.alert_feed import AlertFeed
from ingest_api.background import beside
from ingest_api.head import Head
from ingest_api.log import ActivityLog
from ingest_api.predictions import Predictor
from ingest_api.publishing import EventWriter
from ingest_api.quick import QuickPredict
from ingest_api.records import UserReader
from ingest_api.shedding import Shedding
from ingest_api.snapshots import Snapshots
from model.artefact import Model
from model.reasons import Explainer
from runtime.clock import wall_ms

logger = structlog.get_logger(__name__)

Background = Callable[[], Coroutine[Any, Any, None]]
"""Something that runs as long as the app does."""

_DESCRIPTION = """Scores churn while it happens: activity in, scores and alerts out, also for users
who fall silent. Errors are problem details (RFC 9457)."""


class Gateway(FastAPI):
    """The framework's application, behind what is asked before any of it."""

    front: ASGIApp

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
    alert_threshold: float = 0.7,
    rules: FoldRules = FoldRules(),  # noqa: B008 - a frozen value
    now: Callable[[], int] = wall_ms,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    registry: CollectorRegistry | None = None,
    feed: AlertFeed | None = None,
    background: Sequence[Background] = (),
    on_failure: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application over a loaded model, Kafka and Redis, which need not be there yet.

    now: epoch ms, the time of what states none. feed: what `/alerts/stream` follows; without one,
    that route is not there. Its listeners stay until it is closed: do so before the server waits
    for its requests. background: run from start to end of the app; when one fails, `on_failure` is
    called, for a gateway must not live on half-working.
    """
    measures = metrics.GatewayMetrics(registry or CollectorRegistry())
    writer = EventWriter(clock)
    snapshots = Snapshots(log, writer, measures, now)
    explainer = Explainer(model)
    predictor = Predictor(model, explainer)
    users = user_pages.Users(
        model=model,
        reader=reader,
        moments=_moments(clock, reader, now),
        alert_threshold=alert_threshold,
        explainer=explainer,
        rules=rules,
    )

    async def prepare() -> None:
        # Beside the first requests, so that no question for reasons waits for it.
        await beside(explainer.prepare)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = [*background, snapshots.run, prepare]
        if feed is not None:
            running.append(feed.run)
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

    app = Gateway(
        title="Ebbtide",
        version=version("ebbtide"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url="/docs",
        redoc_url=None,
    )
    problems.install(app)
    app.add_middleware(metrics.Measured, metrics=measures)
    app.add_middleware(Head)
    # Here and not in the server, for what comes first has no use for it; the variable is uvicorn's.
    trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=trusted)
    quick = QuickPredict(app.routes_only, predictor, snapshots, measures)
    app.front = Shedding(quick, measures, limits)
    app.include_router(
        predict.router(predictor=predictor, snapshots=snapshots, score_record=users.score_record)
    )
    app.include_router(events.router(log=log, writer=writer, now=now, metrics=measures))
    app.include_router(user_pages.router(users=users, log=log, now=now))
    app.include_router(alert_commands.router(reader=reader, log=log, now=now, metrics=measures))
    if feed is not None:
        app.include_router(alert_stream.router(feed=feed, metrics=measures))
    app.include_router(model_page.router(model=model))
    app.include_router(
        health.router(
            model_version=model.version,
            kafka=health.Dependency(log.ping),
            redis=health.Dependency(reader.ping),
            registry=measures.registry,
        )
    )

    app.include_router(app_assets.router())

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/docs")

    openapi.install(app)
    return app


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
