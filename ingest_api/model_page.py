"""`GET /model`: what the served model is, and what its numbers mean."""

from __future__ import annotations

from typing import Final

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from contracts.events import MAX_TENURE_DAYS, MAX_TOTAL_MINUTES, MAX_TOTAL_PAGES
from ingest_api import openapi
from model.artefact import Model, Period
from model.features import FEATURES, PREDICT_INPUTS, Feature
from model.figures import Figures

# What the request may state is narrower than what a record may come to.
_ACCEPTED: Final = {
    "pages_visited": MAX_TOTAL_PAGES,
    "time_spent": MAX_TOTAL_MINUTES,
    "days_since_signup": MAX_TENURE_DAYS,
    "is_logged_in": 1,
}


class DescribedFeature(msgspec.Struct, frozen=True):
    """One number a model reads, or `/users/{user_id}` shows."""

    name: str
    unit: str
    low: float
    high: float
    kind: str
    """What silence does to it: `frozen`, `fading` (never rises), `recency` (never falls)."""
    direction: int
    """+1: more means more risk; -1: less; 0: not known beforehand."""
    definition: str
    why: str


class ModelPage(msgspec.Struct, frozen=True):
    """The model behind every score."""

    version: str
    origin: str
    """What it learned from."""
    horizon_days: int
    """A user who does nothing for this long has churned."""
    active_days: int
    candidate: str
    chosen_because: str
    class_cutoff: float
    """Probability from which `prediction` is "1"."""
    levels: tuple[float, ...]
    """Rungs of the risk ladder; alert thresholds snap upward to them."""
    silence_grid_days: float
    """No score beyond this much silence."""
    trained: Period
    validated_from: str
    rows: dict[str, int]
    metrics: Figures | None
    """Of the full estimator on the validation period."""
    predict_metrics: Figures
    """Of the four-input estimator behind `/predict`."""
    features: tuple[DescribedFeature, ...]
    predict_inputs: tuple[DescribedFeature, ...]


def model_page(model: Model) -> ModelPage:
    """The page of a loaded model."""
    manifest = model.manifest
    chosen = manifest.candidates.get(manifest.candidate)
    return ModelPage(
        version=model.version,
        origin=model.origin,
        horizon_days=model.horizon_days,
        active_days=manifest.active_days,
        candidate=manifest.candidate,
        chosen_because=manifest.chosen_because,
        class_cutoff=model.class_cutoff,
        levels=manifest.levels,
        silence_grid_days=round(manifest.grid_hours[-1] / 24, 2),
        trained=manifest.training,
        validated_from=manifest.validated_from,
        rows=manifest.rows,
        metrics=None if chosen is None else chosen.overall,
        predict_metrics=manifest.predict,
        features=tuple(_described(feature, feature.high) for feature in FEATURES),
        predict_inputs=tuple(
            _described(feature, _ACCEPTED[feature.name]) for feature in PREDICT_INPUTS
        ),
    )


def _described(feature: Feature, high: float) -> DescribedFeature:
    return DescribedFeature(
        name=feature.name,
        unit=feature.unit,
        low=feature.low,
        high=high,
        kind=feature.kind,
        direction=feature.direction,
        definition=feature.definition,
        why=feature.why,
    )


def router(*, model: Model) -> APIRouter:
    """The route of a loaded model."""
    routes = APIRouter(tags=["model"])
    page = model_page(model)

    @routes.get(
        "/model",
        summary="The model behind the scores",
        responses=openapi.responses({200: openapi.of(ModelPage, "What the model is.")}, 503),
    )
    async def get_model() -> Response:
        return openapi.reply(page)

    return routes
