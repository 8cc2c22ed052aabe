"""`GET /model/drift`: whether the users of now look like those the model learned from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
from fastapi import APIRouter
from redis.asyncio import Redis
from starlette.responses import Response

from contracts.times import DAY_MS, NEVER, from_ms
from ingest_api import openapi
from ingest_api.background import beside
from ingest_api.kept import Kept
from ingest_api.system import freshness
from model.artefact import Model
from model.drift import (
    SHIFTED,
    SOME,
    Spread,
    Verdict,
    by_chance,
    counted,
    stability_index,
    verdict,
)
from model.features import FEATURES
from model.quality import Quality
from runtime import heartbeat
from runtime.clock import wall_ms
from runtime.user_sample import draw

SAMPLE: Final = 3_000
KEPT_SECONDS: Final = 60.0
FEWEST: Final = 200
"""Users; with fewer, chance alone comes near what the rule of thumb calls a drift."""
RULE: Final = (
    "Below 0.1 stable, from 0.25 shifted: a rule of thumb (Siddiqi, Credit Risk Scorecards, 2006)."
)

Users = Callable[[list[str]], Awaitable[np.ndarray]]
"""User ids to (n,) RECORD."""
Moments = Callable[[np.ndarray], Awaitable[np.ndarray]]
"""(n,) RECORD to (n,) epoch ms: what is now for each."""


class DriftRow(msgspec.Struct, frozen=True):
    """One column, in training and now."""

    name: str
    """Of a feature, or `score`."""
    index: float
    """Population stability index; 0: the same."""
    by_chance: float
    """Two samples of one population stay below it 19 times of 20, rows taken as independent."""
    verdict: Verdict
    """By the rule of thumb."""
    training: Spread
    live: Spread


class DriftPage(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of users as they stand now against the active users of the training."""

    as_of: datetime
    """When the sample was drawn, by the gateway's clock."""
    age_seconds: float
    """How long ago that was."""
    model_version: str
    population: int
    """Users with a score."""
    drawn: int
    """Of them, at random."""
    compared: int
    """Of those, seen within `active_days`: such the model learned from."""
    active_days: int
    is_enough: bool
    """Whether so few say anything."""
    some: float = SOME
    shifted: float = SHIFTED
    rule: str = RULE
    score: DriftRow | None
    """null: nobody to compare, or the model does not carry what it learned from."""
    features: tuple[DriftRow, ...]
    """The largest index first."""
    newest_event: datetime | None
    """Log time of the newest event folded, by the word of the scorers."""
    newest_score: datetime | None


class Drift:
    """Draws, compares and remembers for KEPT_SECONDS, for all who ask."""

    def __init__(
        self,
        model: Model,
        quality: Quality | None,
        redis: Redis,
        *,
        load: Users,
        moments: Moments,
        now: Callable[[], int] = wall_ms,
    ) -> None:
        self._model = model
        self._quality = quality
        self._redis = redis
        self._load = load
        self._moments = moments
        self._now = now
        self._rng = np.random.default_rng()
        self._kept = Kept(self._draw, KEPT_SECONDS)

    async def page(self) -> DriftPage:
        """Raises StoreUnavailable."""
        page, age = await self._kept.with_age()
        events, scores = freshness(await heartbeat.read(self._redis))
        return msgspec.structs.replace(
            page, age_seconds=round(age, 1), newest_event=events, newest_score=scores
        )

    async def _draw(self) -> DriftPage:
        as_of = from_ms(self._now())
        drawn = await draw(self._redis, SAMPLE, self._rng)
        records = await self._load(list(drawn.user_ids))
        moments = await self._moments(records)
        rows, compared = await beside(lambda: self._compare(records, moments))
        score = next((row for row in rows if row.name == SCORE), None)
        features = [row for row in rows if row.name != SCORE]
        return DriftPage(
            as_of=as_of,
            age_seconds=0.0,
            model_version=self._model.version,
            population=drawn.population,
            drawn=len(drawn.user_ids),
            compared=compared,
            active_days=self._model.manifest.active_days,
            is_enough=compared >= FEWEST,
            score=score,
            features=tuple(sorted(features, key=lambda row: -row.index)),
            newest_event=None,
            newest_score=None,
        )

    def _compare(self, records: np.ndarray, moments: np.ndarray) -> tuple[list[DriftRow], int]:
        facts = records["facts"]
        seen = facts["last_seen"] != NEVER
        silent = moments - np.where(seen, facts["last_seen"], 0)
        active = seen & (silent <= self._model.manifest.active_days * DAY_MS)
        quality, compared = self._quality, int(active.sum())
        if quality is None or not compared:
            return [], compared
        values = self._model.view(facts[active], moments[active])
        names = [feature.name for feature in FEATURES]
        rows = [
            drifted(effect.name, effect.spread, values[:, names.index(effect.name)])
            for effect in quality.features
        ]
        return [*rows, drifted(SCORE, quality.scores, self._model.score_view(values))], compared


SCORE: Final = "score"


def drifted(name: str, training: Spread, values: np.ndarray) -> DriftRow:
    """(n,) live values, n > 0, against how they were spread in training."""
    live = counted(values, training.cuts)
    index = round(stability_index(training, live), 4)
    return DriftRow(
        name, index, round(by_chance(training, live), 4), verdict(index), training, live
    )


def router(*, drift: Drift) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["model"])

    @routes.get(
        "/model/drift",
        summary="Whether users look like those the model learned from",
        responses=openapi.responses(
            {200: openapi.of(DriftPage, "Of a random sample, at most a minute old.")}, 503
        ),
    )
    async def get_drift() -> Response:
        return openapi.reply(await drift.page())

    return routes
